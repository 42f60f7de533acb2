"""What happened to the leases of a network, or to the networks themselves, in order, for those who ask again and again.

A cursor is a number that rises with everything that happens. Those of an earlier life of the server are smaller than all of
this one's, for they begin at the time of day in microseconds; whoever comes with one gets everything as it is now.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Generic, TypeVar

from wefted.model.records import Item, Snapshot
from wefted.store.feed import Bell

KEPT = 1000
"""As many changes as etcd keeps in its API v2."""

T = TypeVar("T")


class News(Generic[T]):
    """Follows a watch; `read` makes of an item what is told of it, None where it is nothing."""

    def __init__(self, read: Callable[[Item], Awaitable[T | None]], clock: Callable[[], float] = time.time) -> None:
        self._read = read
        self._first = self._cursor = int(clock() * 1e6)
        self._events: deque[tuple[int, str, T | None]] = deque()
        self._bell = Bell()
        self.now: dict[str, T] = {}
        """By key, what there is."""
        self.known = asyncio.Event()
        """Set when it is known what there is."""

    async def run(self, watch: AsyncIterator[Snapshot | tuple[Item, ...]]) -> None:
        """Take everything that a watch of a store tells."""
        async with aclosing(watch) as news:  # type: ignore[type-var]
            async for seen in news:
                await (self.learn(seen.items) if isinstance(seen, Snapshot) else self._follow(seen))

    async def learn(self, items: Mapping[str, Item]) -> None:
        """Take all there is; whoever knew what was there before hears of the difference alone."""
        found = {key: told for key, item in items.items() if (told := await self._read(item)) is not None}
        if not self.known.is_set():
            self.now = found
            self.known.set()
            return
        for key in self.now.keys() - found.keys():
            self._tell(key, None)
        for key, told in found.items():
            if self.now.get(key) != told:
                self._tell(key, told)

    async def _follow(self, items: tuple[Item, ...]) -> None:
        for item in items:
            told = await self._read(item) if item.value is not None else None
            if told is not None or item.key in self.now:
                self._tell(item.key, told)

    def _tell(self, key: str, told: T | None) -> None:
        self._cursor += 1
        self._events.append((self._cursor, key, told))
        if len(self._events) > KEPT:
            self._first = self._events.popleft()[0]
        if told is None:
            self.now.pop(key, None)
        else:
            self.now[key] = told
        self._bell.ring()

    @property
    def cursor(self) -> int:
        """The number of what happened last."""
        return self._cursor

    async def after(self, cursor: int | None, key: str = "") -> tuple[int, list[tuple[str, T | None]] | None]:
        """Wait for what comes after a cursor, of one key or of all; return the new cursor, and None where all must be read."""
        await self.known.wait()
        while cursor is not None and self._first <= cursor <= self._cursor:
            ring = self._bell.next_ring
            events = [(number, k, told) for number, k, told in self._events if number > cursor and (not key or k == key)]
            if events:
                return events[-1][0], [(k, told) for _, k, told in events]
            # What happened to other keys needs no second look.
            cursor = self._cursor
            await ring.wait()
        return self._cursor, None
