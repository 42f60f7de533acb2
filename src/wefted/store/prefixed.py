"""A part of another store as a store of its own: how one SQLite file holds both the local state and a one-host cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from wefted.interfaces import Store
from wefted.model.records import Item, Op, Snapshot


class PrefixedStore:
    """Implements `Store`: every key gets `prefix` in front on its way in, and loses it on its way out."""

    def __init__(self, inner: Store, prefix: str) -> None:
        self._inner = inner
        self._prefix = prefix

    async def read(self, prefix: str) -> Snapshot:
        return self._snapshot(await self._inner.read(self._prefix + prefix))

    async def write(self, ops: Sequence[Op]) -> int:
        return await self._inner.write([replace(op, key=self._prefix + op.key) for op in ops])

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        async for seen in self._inner.watch(self._prefix + prefix):
            yield self._snapshot(seen) if isinstance(seen, Snapshot) else tuple(self._item(i) for i in seen)

    async def close(self) -> None:
        """Do nothing: who opened the inner store closes it."""

    def _snapshot(self, snapshot: Snapshot) -> Snapshot:
        items = [self._item(item) for item in snapshot.items.values()]
        return Snapshot(snapshot.revision, {item.key: item for item in items})

    def _item(self, item: Item) -> Item:
        return replace(item, key=item.key.removeprefix(self._prefix))
