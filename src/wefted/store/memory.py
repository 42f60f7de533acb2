"""The store in memory: the reference for what the other two must do, and the fake for tests."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice

from wefted.errors import Unreachable
from wefted.model.records import Check, Item, Op, Put, Snapshot

from .feed import Bell, Changes, News, follow
from .ops import check_ops, conflict

HISTORY = 4096
"""How many revisions a slow watcher may be behind before it gets a new Snapshot."""


class MemoryStore:
    """Implements `Store` in one process, for one event loop. `clock` returns seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: dict[str, Item] = {}
        self._expiry: dict[str, float] = {}
        self._revision = 0
        self._history: deque[Changes] = deque(maxlen=HISTORY)
        self._timer: asyncio.TimerHandle | None = None
        self._bell = Bell()

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`."""
        self._open()
        return self._snapshot(prefix)

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none; return the new revision. Raises `Conflict`."""
        check_ops(ops)
        self._open()
        for op in ops:
            self._expect(op)
        revision = self._revision + 1
        self._record([item for op in ops for item in self._change(op, revision)])
        self._arm()
        return self._revision

    def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot, then changes in order, and a Snapshot again for a watcher that fell far behind."""
        return follow(self._since, prefix, self._bell)

    async def seconds_left(self, key: str) -> float | None:
        """Return how long a key has to live, None for one that is for good or not there."""
        ends = self._expiry.get(key)
        return None if ends is None else max(0.0, ends - self._clock())

    async def close(self) -> None:
        """Forget everything; watches end."""
        if self._timer is not None:
            self._timer.cancel()
        self._bell.close()

    def _open(self) -> None:
        if self._bell.closed:
            raise Unreachable("the store is closed")
        self._expire()

    def _snapshot(self, prefix: str) -> Snapshot:
        keys = sorted(key for key in self._items if key.startswith(prefix))
        return Snapshot(self._revision, {key: self._items[key] for key in keys})

    async def _since(self, prefix: str, seen: int | None) -> News:
        self._open()
        if seen is None or (self._history and self._history[0].revision > seen + 1):
            return self._snapshot(prefix)
        start = bisect_right(self._history, seen, key=lambda changes: changes.revision)
        new = islice(self._history, start, None)
        return Changes(self._revision, tuple(i for changes in new for i in changes.items if i.key.startswith(prefix)))

    def _expect(self, op: Op) -> None:
        found = self._items[op.key].revision if op.key in self._items else 0
        if op.expect is not None and op.expect != found:
            raise conflict(op.key, op.expect, found)

    def _change(self, op: Op, revision: int) -> list[Item]:
        if isinstance(op, Check):
            return []
        self._expiry.pop(op.key, None)
        if isinstance(op, Put):
            self._items[op.key] = Item(op.key, op.value, revision, op.ttl is not None)
            if op.ttl is not None:
                self._expiry[op.key] = self._clock() + op.ttl
            return [self._items[op.key]]
        return [Item(op.key, None, revision)] if self._items.pop(op.key, None) else []

    def _record(self, items: list[Item]) -> None:
        if items:
            self._revision += 1
            self._history.append(Changes(self._revision, tuple(items)))
            self._bell.ring()

    def _expire(self) -> None:
        now = self._clock()
        for key in sorted((k for k, end in self._expiry.items() if end <= now), key=self._expiry.__getitem__):
            del self._expiry[key], self._items[key]
            self._record([Item(key, None, self._revision + 1)])

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._expiry:
            delay = max(0.0, min(self._expiry.values()) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring_expiry)

    def _ring_expiry(self) -> None:
        self._expire()
        self._arm()
