"""Watching a prefix in etcd: nothing is lost, nothing comes twice, whatever becomes of single members.

A watch lives on the member that the requests go to. It resumes after the last revision it has seen, on the next member when
that one fails; where etcd no longer keeps that revision, or is another etcd than before, it begins anew with a Snapshot.

A member may die without a word, be stopped, or be cut off from its peers while it still talks to us: then a watch is only
silent. So after a second of silence the member must answer a linearizable read, which needs a quorum.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import aiohttp

from wefted.errors import Unreachable
from wefted.model.records import Item, Snapshot

from .etcd_client import EtcdClient
from .etcd_errors import Compacted, MemberFailed, Refused, TokenRejected, classify_body, network_failure
from .etcd_wire import Codec, Json, revision_of

SILENCE = 1.0
"""Seconds without a word until the member must show that it lives."""

_PAUSE = (0.02, 0.3)
"""The first and the longest pause before another attempt, in seconds."""

_log = logging.getLogger(__name__)

Read = Callable[[str], Awaitable[Snapshot]]


class EtcdWatch:
    """One watch of the keys under `prefix`; `read` is the store's own."""

    def __init__(self, client: EtcdClient, codec: Codec, read: Read, prefix: str) -> None:
        self._client = client
        self._codec = codec
        self._read = read
        self._prefix = prefix
        self._seen: int | None = None

    async def run(self) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        """Yield a Snapshot, then changes in order, until the client is closed. Raises `UsageError` when we are not let in."""
        pause = _PAUSE[0]
        while not self._client.closed.is_set():
            endpoint = self._client.endpoint
            try:
                async with aclosing(self._news(endpoint)) as arriving:
                    async for news in arriving:
                        pause = _PAUSE[0]
                        yield news
            except Compacted:
                self._seen = None
            except Refused as refused:
                raise self._client.explain(refused) from refused
            except (MemberFailed, TokenRejected, Unreachable) as failed:
                _log.debug("watch of %r at %s: %s", self._prefix, endpoint, failed)
                if isinstance(failed, TokenRejected):
                    self._client.forget_token()
                self._client.leave(endpoint)
                await self._client.pause(pause)
                pause = min(2 * pause, _PAUSE[1])

    async def _news(self, endpoint: str) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        if self._seen is None:
            snapshot = await self._read(self._prefix)
            self._seen = snapshot.revision
            yield snapshot
            endpoint = self._client.endpoint
        async with self._client.stream(endpoint, "/watch", self._request(self._seen + 1)) as response:
            async for message in self._messages(endpoint, response):
                items = await self._receive(message)
                if items:
                    yield items

    def _request(self, revision: int) -> Json:
        span = self._codec.span(self._prefix)
        return {"create_request": {**span, "start_revision": str(revision), "progress_notify": True}}

    async def _receive(self, message: Json) -> tuple[Item, ...]:
        """Return the changes that a message tells, and remember how far we are."""
        if message.get("canceled"):
            await self._cancelled(message)
        if message.get("created"):
            await self._compare_history(revision_of(message))
            return ()
        events = message.get("events", ())
        last = int(events[-1]["kv"]["mod_revision"]) if events else revision_of(message)
        self._seen = max(self._seen or 0, last)
        return self._codec.events(events)

    async def _cancelled(self, message: Json) -> None:
        if int(message.get("compact_revision", 0)):
            raise Compacted(str(message["compact_revision"]))
        reason = str(message.get("cancel_reason") or "cancelled")
        # The same words stand for a token that the member does not know and for a missing permission; the next read tells.
        self._client.forget_token()
        await self._read(self._prefix)
        raise MemberFailed(reason)

    async def _compare_history(self, revision: int) -> None:
        """Raise `Compacted` for an etcd that is behind us and not merely late: it was wiped, or restored from a backup."""
        if revision < (self._seen or 0) and (await self._read(self._codec.marks)).revision < (self._seen or 0):
            raise Compacted("this etcd has another history")

    async def _messages(self, endpoint: str, response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
        """Yield the messages of a stream, one a line; they may be as long as they like."""
        parts: list[bytes] = []
        while chunk := await self._chunk(endpoint, response):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                yield _message(b"".join((*parts, line)))
                parts.clear()
            parts.append(rest)
        raise MemberFailed("it ended the watch")

    async def _chunk(self, endpoint: str, response: aiohttp.ClientResponse) -> bytes:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    return await response.content.readany()
            except TimeoutError:
                await self._check_life(endpoint)
            except (aiohttp.ClientError, OSError) as error:
                raise network_failure(error) from error
            except RuntimeError as error:  # what aiohttp says of a connection that we have closed ourselves
                if not self._client.closed.is_set():
                    raise
                raise MemberFailed(str(error)) from error

    async def _check_life(self, endpoint: str) -> None:
        await self._client.ask(endpoint, "/kv/range", {"key": self._codec.encode(self._codec.marks), "count_only": True})


def _message(line: bytes) -> Json:
    if not line.strip():
        return {}
    body = json.loads(line)
    problem = classify_body(200, body)
    if problem is not None:
        raise problem
    result: Json = body["result"]
    return result
