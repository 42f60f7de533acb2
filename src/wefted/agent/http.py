"""HTTP/1.1 (RFC 9112), as much as a JSON API needs: one request after the other on a connection.

A general server costs an attach 0.3 ms and the agent's start 0.15 s (docs/adr/0011-own-http-on-the-socket.md).
Bodies come with a Content-Length; what is malformed or too large gets an answer, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

LARGEST_HEAD = 32 * 1024
LARGEST_BODY = 16 * 1024 * 1024
"""Bytes."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `path` without its query; the names of `fields` in lower case."""

    method: str
    path: str
    body: bytes
    query: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"


Handler = Callable[[Request], Awaitable[Response]]
Refusal = Callable[[int, str], Response]
"""Makes the answer to what is not a request: status and reason."""


class Malformed(Exception):
    """What came is not a request that is understood here."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Connection(asyncio.Protocol):
    """One client. A request that has begun is finished even if its client goes away: half an attach helps nobody.

    With `leaving` it ends with its client: for requests that wait for something to happen.
    """

    def __init__(self, handler: Handler, refusal: Refusal, running: set[asyncio.Task[None]], *, leaving: bool = False) -> None:
        self._handler = handler
        self._refusal = refusal
        self._running = running
        self._leaving = leaving
        self._task: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._busy = False
        self._ended = False
        """Whether the client has closed its side; it may still read."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._leaving and self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._busy:
            if self._transport is not None and len(self._buffer) > LARGEST_HEAD:
                self._transport.pause_reading()
        else:
            self._advance()

    def eof_received(self) -> bool:
        """Keep the connection for the answer to a request that has begun."""
        self._ended = True
        return self._busy and not self._leaving

    def _advance(self) -> None:
        """Start on the next request if it is complete."""
        try:
            found = parse(self._buffer)
        except Malformed as error:
            self._answer(self._refusal(error.status, str(error)), closing=True)
            return
        if found is None:
            if self._ended and self._transport is not None:
                self._transport.close()
            self._continue()
            return
        request, length, closing = found
        del self._buffer[:length]
        self._busy = True
        task = self._task = asyncio.get_running_loop().create_task(self._serve(request, closing))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, request: Request, closing: bool) -> None:
        response = await self._handler(request)
        closing = closing or (self._ended and not self._buffer)
        self._answer(response, closing)
        self._busy = False
        if self._transport is not None and not closing:
            self._transport.resume_reading()
            if self._buffer:
                self._advance()

    def _answer(self, response: Response, closing: bool) -> None:
        if self._transport is None:
            return
        head = (
            f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}\r\n"
            f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
            f"{'Connection: close' + chr(13) + chr(10) if closing else ''}\r\n"
        )
        self._transport.write(head.encode() + response.body)
        if closing:
            self._transport.close()

    def _continue(self) -> None:
        """A client with a large body may wait to be asked for it (RFC 9110, section 10.1.1)."""
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if end and not body and b"100-continue" in head.lower() and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def parse(data: bytes | bytearray) -> tuple[Request, int, bool] | None:
    """Return the first request, its length, and whether it is the last on its connection; None when it is not complete.

    Raises `Malformed`.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LARGEST_HEAD:
            raise Malformed(431, f"a head of more than {LARGEST_HEAD} bytes")
        return None
    try:
        first, *rest = bytes(data[:end]).decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise Malformed(400, "the head is not ASCII") from None
    words = first.split(" ")
    if len(words) != 3 or words[0] not in _METHODS or not words[2].startswith("HTTP/1."):
        raise Malformed(400, f"this is no HTTP request: {first[:80]!r}")
    fields = _fields(rest)
    start, length = end + 4, _length(fields)
    if len(data) - start < length:
        return None
    closing = fields.get("connection", "").lower() == "close" or (words[2] == "HTTP/1.0")
    path, _, query = words[1].partition("?")
    return Request(words[0], path, bytes(data[start : start + length]), query, fields), start + length, closing


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed(400, f"this is no header field: {line[:80]!r}")
        fields[name.lower()] = value.strip()
    return fields


def _length(fields: dict[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise Malformed(411, "send the body with a Content-Length")
    text = fields.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Malformed(400, f"Content-Length is {text[:20]!r}")
    if len(text) > 12 or int(text) > LARGEST_BODY:
        raise Malformed(413, f"a body of more than {LARGEST_BODY} bytes")
    return int(text)
