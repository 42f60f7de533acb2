"""Watching a directory of etcd's API v2: nothing is lost, nothing comes twice, whatever becomes of single members.

Each change is asked for by a request of its own, which begins where the last one ended. etcd keeps the last 1,000 changes of
all keys: whoever asks for an older one is told so, and begins anew with a Snapshot, as with another etcd than before, and
when a whole directory has gone.

After a second of silence the member must answer a read that needs a quorum, as in `etcd_watch`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import aiohttp

from wefted.errors import Unreachable
from wefted.model.records import EPOCH, Item, Snapshot

from . import etcd2_wire as wire
from .etcd2_client import KeysClient, index_of
from .etcd2_wire import KeysError, NotServed
from .etcd_errors import Compacted, MemberFailed, network_failure

_PAUSE = (0.02, 0.3)
"""The first and the longest pause before another attempt, in seconds."""

_log = logging.getLogger(__name__)

Read = Callable[[str], Awaitable[Snapshot]]


class KeysWatch:
    """One watch of the keys under `prefix`; `read` is the store's own."""

    def __init__(self, client: KeysClient, read: Read, prefix: str) -> None:
        self._client = client
        self._read = read
        self._prefix = prefix
        self._seen: int | None = None
        """The index up to which everything was told."""

    async def run(self) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        """Yield a Snapshot, then changes in order, until the client is closed. Raises `UsageError` when we are not let in."""
        pause = _PAUSE[0]
        while not self._client.closed.is_set():
            endpoint = self._client.endpoint
            try:
                async with aclosing(self._news()) as arriving:
                    async for news in arriving:
                        pause = _PAUSE[0]
                        yield news
            except Compacted as lost:
                _log.debug("watch of %r begins anew: %s", self._prefix, lost)
                self._seen = None
            except (KeysError, NotServed) as refused:
                raise self._client.explain(refused) from refused
            except (MemberFailed, Unreachable) as failed:
                _log.debug("watch of %r at %s: %s", self._prefix, endpoint, failed)
                self._client.leave(endpoint)
                await self._client.pause(pause)
                pause = min(2 * pause, _PAUSE[1])

    async def _news(self) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        if self._seen is None:
            snapshot = await self._read(self._prefix)
            self._seen = snapshot.revision - EPOCH
            yield snapshot
        while True:
            item = await self._next(self._client.endpoint, self._seen)
            if item is None:
                continue
            self._seen = item.revision - EPOCH
            if item.key.startswith(self._prefix):
                yield (item,)

    async def _next(self, endpoint: str, seen: int) -> Item | None:
        """Return the first change after index `seen`, None when the member grew tired of waiting."""
        async with self._client.stream(endpoint, wire.wait(self._prefix, seen + 1)) as response:
            await self._compare_history(index_of(response), seen)
            data = await self._answer(endpoint, response)
        return wire.event(wire.decode(response.status, data)) if data.strip() else None

    async def _compare_history(self, index: int, seen: int) -> None:
        """Raise `Compacted` for an etcd that is behind us and not merely late: it was wiped, or restored from a backup."""
        if index < seen and (await self._read(self._prefix)).revision - EPOCH < seen:
            raise Compacted("this etcd has another history")

    async def _answer(self, endpoint: str, response: aiohttp.ClientResponse) -> bytes:
        """Return the body, which has an end as soon as something has happened."""
        parts: list[bytes] = []
        while True:
            try:
                async with asyncio.timeout(self._client.silence):
                    chunk = await response.content.readany()
            except TimeoutError:
                await self._check_life(endpoint)
                continue
            except (aiohttp.ClientError, OSError) as error:
                raise network_failure(error) from error
            except RuntimeError as error:  # what aiohttp says of a connection that we have closed ourselves
                if not self._client.closed.is_set():
                    raise
                raise MemberFailed(str(error)) from error
            if not chunk:
                return b"".join(parts)
            parts.append(chunk)

    async def _check_life(self, endpoint: str) -> None:
        with suppress(KeysError):
            await self._client.ask(endpoint, wire.look(self._prefix))
