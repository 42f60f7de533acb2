"""The store in an SQLite file: one host, several processes, nothing to install.

Everything that may block runs in one thread of the store. The hop costs 70 us; without it a checkpoint, or a lock that
another process holds, would stop the whole event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from wefted.errors import Unreachable, WeftedError
from wefted.model.records import Item, Op, Snapshot

from .feed import Bell, News, follow
from .ops import check_ops
from .sqlite_file import BUSY, connect, explain
from .sqlite_tables import Tables

POLL = 0.1
"""Seconds between two looks for changes of other processes and for expired keys, while somebody watches."""

T = TypeVar("T")


class SqliteStore:
    """Implements `Store` on the file `path`, for one event loop. Raises `UsageError` for a file that it must not touch.

    `alone`: the caller holds a lock that keeps other processes away. Then nothing here can wait for anybody, and what takes
    0.1 ms (a checkpoint, now and then, 4 ms) is done in place, without the two wake-ups of a thread that would cost more.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time, *, alone: bool = False) -> None:
        self._path = path
        self._clock = clock
        self._tables = Tables(connect(path))
        self._alone = alone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-store")
        self._bell = Bell()
        self._watchers = 0
        self._poller: asyncio.Task[None] | None = None

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`. Raises `Unreachable` when another process keeps the file locked."""
        return await self._run(lambda: self._tables.read(prefix, self._clock()))

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none; return the new revision. Raises `Conflict`, `Unreachable`."""
        check_ops(ops)
        revision = await self._run(lambda: self._tables.write(ops, self._clock()))
        self._bell.ring()
        return revision

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot, then changes in order, those of other processes too."""
        with self._polling():
            async for news in follow(self._since, prefix, self._bell):
                yield news

    async def close(self) -> None:
        """Finish what runs, close the file, and end the watches."""
        if self._bell.closed:
            return
        self._bell.close()
        self._stop_polling()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._tables.close)
        self._thread.shutdown()

    async def _since(self, prefix: str, seen: int | None) -> News:
        return await self._run(lambda: self._tables.since(prefix, seen, self._clock()))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._bell.closed:
            raise Unreachable("the store is closed")
        try:
            return work() if self._alone else await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> WeftedError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unreachable(f"another process has kept the store {self._path} locked for {BUSY:g} s")
        return explain(self._path, error)

    @contextmanager
    def _polling(self) -> Iterator[None]:
        self._watchers += 1
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._stop_polling()

    def _stop_polling(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        while not self._bell.closed:
            # Whatever is wrong with the file, the watchers meet it themselves at their next look.
            with suppress(WeftedError):
                if await self._run(self._look):
                    self._bell.ring()
            await asyncio.sleep(POLL)

    def _look(self) -> bool:
        self._tables.expire(self._clock())
        return self._tables.changed()
