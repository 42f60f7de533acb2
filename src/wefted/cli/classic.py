"""A classic command as a process of its own: the shortest way from its words to the agent, without the parser of `wefted`.

Whether an agent runs is found out by asking it. Where none does, or where a settings file says something, the usual door is
taken, with all that it imports. On the short way `socket` and `json` would cost as much as everything else together.
"""

from __future__ import annotations

import gc
import os
import sys

from wefted.compat import CLASSICS
from wefted.compat.plainjson import encode
from wefted.errors import Unreachable

try:
    import _socket as socket  # what `socket` is made of, without its enumerations
except ImportError:  # an interpreter that is not CPython
    import socket  # type: ignore[no-redef]

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SETTINGS = "/etc/wefted/wefted.toml"
RUNTIME_DIR = "/run/wefted"
"""`wefted.config.FILE`, and the default of its `runtime_dir`."""
TIMEOUT = 120.0
"""Seconds for an answer, as `RemoteEngine` has them."""


def run(name: str, words: Sequence[str] | None = None) -> int:
    """Run a classic and return its exit code; its settings come from the file and from WEFTED_* variables."""
    # what a command makes lives as long as the command
    gc.disable()
    program = __import__(f"wefted.compat.{CLASSICS[name]}", fromlist=["main"])
    try:
        code: int = program.main(sys.argv[1:] if words is None else list(words), ask)
    except KeyboardInterrupt:
        code = 130
    return code


def leave(code: int) -> None:
    """End the process at once: taking an interpreter apart takes a tenth of a short command."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def ask(operation: str, parameters: dict[str, Any], wanted: bool = True) -> Any:
    """Do one operation: by the agent at once, or by the usual door. Raises `WeftedError`.

    Where the answer is not `wanted`, it is decoded only if something in it has failed.
    """
    path = _socket_path()
    answer = _exchange(path, operation, encode(parameters)) if path else None
    if answer is None:
        return _by_the_usual_door(operation, parameters)
    status, body = answer
    if status == 200 and not wanted and b'"failed"' not in body:
        return None
    return _decoded(status, body)


def _socket_path() -> str:
    """Return the agent's socket where that can be told without reading settings, else nothing."""
    if os.path.exists(os.environ.get("WEFTED_CONFIG", SETTINGS)):
        return ""
    path = f"{os.environ.get('WEFTED_RUNTIME_DIR') or RUNTIME_DIR}/wefted.sock"
    return path if os.path.exists(path) else ""


def _exchange(path: str, operation: str, body: str) -> tuple[int, bytes] | None:
    """Return status and body of the agent's answer, or None where nobody answers (see `wefted.agent.http`)."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    try:
        length = len(body)
        head = f"POST /v1/{operation} HTTP/1.1\r\nHost: wefted\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall((head + body).encode())
        return _answer(connection)
    except OSError as error:
        raise Unreachable(f"the agent does not answer on {path}: {error}", "see its log, or start it: wefted up") from None
    finally:
        connection.close()


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    while piece := connection.recv(65536):
        data += piece
        head, end, rest = data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if end and len(rest) >= int(length or 0):
            return int(head.split()[1]), rest
    raise ConnectionResetError("it closed the connection")


def _decoded(status: int, body: bytes) -> Any:
    from json import loads

    value = loads(body)
    if status != 200:
        from wefted.client import failure

        raise failure(value, status)
    return value


def _by_the_usual_door(operation: str, parameters: dict[str, Any]) -> Any:
    from wefted.compat.launched import bring_in_site_packages

    bring_in_site_packages()
    from wefted.config import load

    from .call import perform

    return perform(load(), operation, parameters)
