"""Coroutines driven step by step, without an event loop, so that a test can choose who goes on, and who dies where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from typing import Any

from wefted.interfaces import Store
from wefted.model.records import Item, Op, Snapshot


class Pause:
    """Hands the control back to who drives the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppedStore:
    """Implements `Store` on one that never waits (MemoryStore): reads and writes stop before and after they do their work."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    async def read(self, prefix: str) -> Snapshot:
        await Pause()
        found = await self._inner.read(prefix)
        await Pause()
        return found

    async def write(self, ops: Sequence[Op]) -> int:
        await Pause()
        revision = await self._inner.write(ops)
        await Pause()
        return revision

    def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        return self._inner.watch(prefix)

    async def close(self) -> None:
        await self._inner.close()


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, with nobody in between."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
