"""A fake agent that answers as it is told, on a real unix socket, and the command line as a person types it."""

from __future__ import annotations

import gc
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wefted.cli.root import root

Run = Callable[..., Result]


class FakeAgent:
    """Answers each operation with what `answers` holds for it, and keeps what was asked."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def fail(self, operation: str, kind: str, message: str, hint: str = "") -> None:
        self.answers[operation] = (500, {"error": {"kind": kind, "message": message, "hint": hint}})

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                self._answer(stream)

    def _answer(self, stream: Any) -> None:
        words = stream.readline().split()
        if not words:
            return
        length = 0
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        operation = words[1].decode().removeprefix("/v1/")
        self.asked.append((operation, json.loads(stream.read(length))))
        answer = self.answers[operation]
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        body = json.dumps(value).encode()
        stream.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        stream.flush()


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """A command owns its process, and so the garbage collector; here it must give it back."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directories of their own, short enough for a socket; and no settings of the machine."""
    path = Path(tempfile.mkdtemp(prefix="wf"))
    for name in ("STATE_DIR", "RUNTIME_DIR"):
        monkeypatch.setenv(f"WEFTED_{name}", str(path / name.lower()))
    (path / "runtime_dir").mkdir()
    monkeypatch.setenv("WEFTED_CONFIG", str(path / "wefted.toml"))
    for name in ("COLUMNS", "NO_COLOR", "WEFTED_JSON", "WEFTED_STORE", "WEFTED_NAME", "WEFTED_ADVERTISE"):
        monkeypatch.delenv(name, raising=False)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sock(places: Path) -> Path:
    return places / "runtime_dir" / "wefted.sock"


@pytest.fixture
def agent(sock: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(sock)
    yield fake
    fake.close()


@pytest.fixture
def run(places: Path) -> Run:
    def run(*words: str, stdin: str | None = None, **variables: str) -> Result:
        return CliRunner().invoke(root, words, input=stdin, env=variables, prog_name="wefted")

    return run


@pytest.fixture
def status() -> dict[str, Any]:
    """What an agent says of itself."""
    return {
        "version": "0.1.0",
        "agent": {"running": True, "pid": 7, "uptime": 7260.0},
        "node": {"id": "u", "name": "h1", "underlay": ["192.168.50.1/24"], "device": "eth0", "mtu": 1500},
        "store": {"kind": "cluster", "url": "etcd://e:2379", "reachable": True, "error": ""},
        "networks": 2,
        "endpoints": 3,
        "kernel": {"missing": {"ipvlan": "not in this kernel"}},
        "reconcile": {"changes": 0, "failures": [], "at": 0},
    }
