"""RemoteEngine: the agent over its unix socket, with the standard library alone, because the command line must start fast.

It blocks: a command does one thing and has nothing else to do while it waits. So its coroutines never suspend, and `complete`
runs them without an event loop (importing asyncio costs as much as the rest of a command together).
"""

from __future__ import annotations

import json
import socket

from wefted import errors
from wefted.errors import Unreachable, WeftedError

TYPE_CHECKING = False  # as typing's, which takes as long to import as all of this

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine suspended")


class RemoteEngine:
    """Implements `Engine`. One connection, kept open; a timeout in seconds for each answer."""

    def __init__(self, path: str, timeout: float = 120.0) -> None:
        self._path = path
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._buffer = b""

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        body = json.dumps(parameters).encode()
        head = f"POST /v1/{operation} HTTP/1.1\r\nHost: wefted\r\nContent-Length: {len(body)}\r\n\r\n"
        answered = False
        try:
            connection = self._connected()
            connection.sendall(head.encode() + body)
            status, answer = self._answer(connection)
            answered = True
        except OSError as error:
            raise Unreachable(f"the agent does not answer on {self._path}: {error}", "start it: wefted up") from None
        finally:
            if not answered:
                self._drop()  # also when interrupted: an answer that comes late must not be taken for the next one
        try:
            value = json.loads(answer)
        except ValueError:
            raise Unreachable(f"the agent gave an answer that is not JSON (status {status})", "see its log") from None
        if status != 200:
            raise failure(value, status)
        return value

    async def close(self) -> None:
        self._drop()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(self._timeout)
            self._socket.connect(self._path)
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more(connection)
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", "0"))
        while len(rest) < length:
            rest += self._more(connection)
        self._buffer = rest[length:]
        if fields.get("connection", "").lower() == "close":
            self._drop()
        return int(lines[0].split()[1]), rest[:length]

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        data = connection.recv(262144)
        if not data:
            raise ConnectionResetError("it closed the connection")
        return data


def failure(value: Any, status: int) -> WeftedError:
    """Rebuild the error that the agent met from its answer, with its class and so its exit code."""
    body = value.get("error", {}) if isinstance(value, dict) else {}
    kind = getattr(errors, str(body.get("kind", "")), WeftedError)
    message = str(body.get("message", f"the agent answered with status {status}"))
    if not (isinstance(kind, type) and issubclass(kind, WeftedError)):
        kind = WeftedError
    return kind(message, str(body.get("hint", "")))
