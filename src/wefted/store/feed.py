"""The watch loop of the stores that keep their own history: what a watcher has seen, and what is new since then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from wefted.errors import Unreachable
from wefted.model.records import Item, Snapshot

_RETRY = 0.2


class Changes(NamedTuple):
    """What happened up to `revision`, in order."""

    revision: int
    items: tuple[Item, ...]


News = Snapshot | Changes
Since = Callable[[str, int | None], Awaitable[News]]
"""Answers (prefix, last revision seen) with the changes since then, or with a Snapshot where there is no such history."""


class Bell:
    """Wakes everybody who waits for the next ring."""

    def __init__(self) -> None:
        self.closed = False
        self._next = asyncio.Event()

    @property
    def next_ring(self) -> asyncio.Event:
        """Return the coming ring. Take it before looking for news, then wait on it: nothing falls in between."""
        return self._next

    def ring(self) -> None:
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    def close(self) -> None:
        """Ring for the last time."""
        self.closed = True
        self._next.set()


async def follow(since: Since, prefix: str, bell: Bell) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
    """Yield a Snapshot, then whatever each ring brings, until the bell is closed; a store that is stuck is asked again."""
    seen: int | None = None
    while not bell.closed:
        ring = bell.next_ring
        try:
            news = await since(prefix, seen)
        except Unreachable:
            with suppress(TimeoutError):
                await asyncio.wait_for(ring.wait(), _RETRY)
            continue
        if isinstance(news, Changes) and news.revision == seen:
            await ring.wait()
            continue
        seen = news.revision
        if isinstance(news, Snapshot):
            yield news
        elif news.items:
            yield news.items
