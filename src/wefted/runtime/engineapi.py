"""A small client of the Docker Engine API on a unix socket; podman's service speaks it too.

One connection for each request: HTTP/1.1 with `Connection: close`, so that nothing has to be kept in order between calls. The
version is negotiated: the newest that both sides know, and never less than the engine still accepts (Docker 20.10 speaks
1.12 to 1.41, Docker 29 speaks 1.44 to 1.52; docs.docker.com/reference/api/engine/#versioned-api-and-sdk).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

from wefted.errors import NotFound, Unreachable, WeftedError

NEWEST = (1, 52)
"""The newest version whose answers this client has been written for."""
PATIENCE = 5.0
"""Seconds until an engine that does not answer is given up."""
MOST_HEADERS = 64
LIMIT = 1 << 24
"""Bytes of one answer, or of one event."""

Json = dict[str, Any]


class EngineApi:
    """Talks to one socket. Every call raises `Unreachable` when nobody answers there, in a message that names the engine."""

    def __init__(self, engine: str, path: str) -> None:
        self.path = path
        self._engine = engine
        self._version = ""
        self._hopeless_until = 0.0
        """Until then nobody waits again for an engine that has not answered in time: many may ask, one after the other."""

    def require(self) -> None:
        """Raise `NotFound` where there is no socket: then there is no engine, or it does not run."""
        if not os.path.exists(self.path):
            raise NotFound(f"no {self._engine} engine runs on this host: there is no {self.path}", "start it, then try again")

    async def get(self, resource: str, **query: Any) -> Any:
        """Return the JSON of a resource. Raises `NotFound`, `Unreachable`, `WeftedError`."""
        async with self._deadline():
            try:
                return await self._got(resource, query)
            except _OtherVersion:  # another engine listens there than when the version was agreed upon
                return await self._got(resource, query)

    async def _got(self, resource: str, query: Mapping[str, Any]) -> Any:
        version = await self._negotiated()
        async with self._answer(f"/v{version}{resource}", query) as body:
            return json.loads(await body.whole())

    @contextlib.asynccontextmanager
    async def events(self, **query: Any) -> AsyncIterator[AsyncIterator[Json]]:
        """Open the stream of events; from here on the engine keeps what happens until it is read."""
        async with contextlib.AsyncExitStack() as stack:
            async with self._deadline():
                self._version = ""  # it may be another engine than before
                version = await self._negotiated()
                body = await stack.enter_async_context(self._answer(f"/v{version}/events", query))
            yield self._documents(body)

    async def _documents(self, body: _Body) -> AsyncIterator[Json]:
        """Yield each document of an endless body: they are on a line each."""
        rest = b""
        try:
            while piece := await body.piece():
                *lines, rest = (rest + piece).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    yield json.loads(line)
        except (OSError, EOFError, ValueError) as error:
            raise self._silent(error) from None

    async def _negotiated(self) -> str:
        """Return the version to speak. The question itself needs none."""
        if not self._version:
            async with self._answer("/version", {}) as body:
                told = json.loads(await body.whole())
            self._version = chosen_version(told.get("ApiVersion", ""), told.get("MinAPIVersion", ""))
        return self._version

    @contextlib.asynccontextmanager
    async def _answer(self, resource: str, query: Mapping[str, Any]) -> AsyncIterator[_Body]:
        try:
            reader, writer = await asyncio.open_unix_connection(self.path, limit=LIMIT)
        except OSError as error:
            raise self._silent(error) from None
        try:
            writer.write(_request(resource, query))
            status, headers = await _head(reader)
            body = _Body(reader, headers)
            if status != 200:
                raise self._refusal(status, await body.whole())
            yield body
        except (OSError, EOFError, ValueError) as error:
            raise self._silent(error) from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        why = f"no answer in {PATIENCE:g} s"
        if time.monotonic() < self._hopeless_until:
            raise self._silent(why)
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        except TimeoutError:
            self._hopeless_until = time.monotonic() + PATIENCE
            raise self._silent(why) from None

    def _silent(self, why: object) -> Unreachable:
        self._version = ""
        return Unreachable(f"{self._engine} does not answer on {self.path}: {why}", f"see whether it runs: {self._engine} ps")

    def _refusal(self, status: int, body: bytes) -> WeftedError:
        self._version = ""
        try:
            said = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError):
            said = body[:200].decode(errors="replace")
        kind = NotFound if status == 404 else _OtherVersion if status == 400 and "API version" in said else WeftedError
        return kind(f"{self._engine} refuses: {said}")


class _OtherVersion(WeftedError):
    """The engine does not speak the version that it was asked in: it says which one is the least, or the most."""


class _Body:
    """The body of an answer: in chunks, of a known length, or up to the end of the connection (RFC 9112, 6.3)."""

    def __init__(self, reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
        self._reader = reader
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = int(headers["content-length"]) if "content-length" in headers else -1

    async def whole(self) -> bytes:
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
            if sum(map(len, pieces)) > LIMIT:
                raise ValueError("its answer is too long")
        return b"".join(pieces)

    async def piece(self) -> bytes:
        """Return what has come; nothing at the end."""
        if self._chunked:
            return await self._chunk()
        if self._left == 0:
            return b""
        data = await self._reader.read(65536 if self._left < 0 else min(self._left, 65536))
        if self._left > 0:
            self._left -= len(data)
            if not data:
                raise EOFError("its answer is cut off")
        return data

    async def _chunk(self) -> bytes:
        size = int((await self._reader.readline()).split(b";")[0] or b"0", 16)
        if size > LIMIT:
            raise ValueError("its answer is too long")
        data = await self._reader.readexactly(size)
        await self._reader.readline()
        return data


def chosen_version(newest: str, oldest: str) -> str:
    """Return the version to speak with an engine that knows `oldest` to `newest`. Raises `ValueError` for no versions."""
    return ".".join(map(str, max(min(_numbers(newest), NEWEST), _numbers(oldest or "1.12"))))


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _request(resource: str, query: Mapping[str, Any]) -> bytes:
    words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
    target = f"{resource}?{urlencode(words)}" if words else resource
    return f"GET {target} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Return status and headers, their names in lower case."""
    words = (await reader.readline()).split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise ValueError("its answer is not HTTP")
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        name, colon, value = (await reader.readline()).decode("latin-1").partition(":")
        if not colon:
            break
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers
