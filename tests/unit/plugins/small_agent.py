"""What the tests of the programs in C share: the compiler, and an agent that answers with any bytes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g")
CHECKED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compiled(source: Path, program: Path, *, checked: bool) -> Path:
    """Compile a program; skip where there is no compiler, or none that checks."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    extra = CHECKED if checked else ()
    done = subprocess.run([compiler, *FLAGS, *extra, "-o", program, source], capture_output=True, text=True)
    if done.returncode and extra and ("asan" in done.stderr or "ubsan" in done.stderr):
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return program


class Agent:
    """Takes connections on a socket and does with each what it is told."""

    def __init__(self, folder: Path, behave: Callable[[socket.socket, bytes], None]) -> None:
        self.requests: list[bytes] = []
        self._behave = behave
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "wefted.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._behave(connection, self._read(connection))

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return body

    def close(self) -> None:
        self._listener.close()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
