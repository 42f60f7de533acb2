"""The records of one flannel network as they stand, for whoever lends its leases (`wefted.engine.flannel_lending`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from wefted.errors import UsageError
from wefted.model.flannel_lease import FlannelLease, key
from wefted.model.records import Delete, Item, Put, Snapshot

from .flannel import FlannelStore
from .flannel_layout import Expiring
from .flannel_view import CONFIG, SUBNETS


class Records:
    """What a `FlannelStore` has of the network `name`, in whichever API of etcd that is."""

    def __init__(self, store: FlannelStore, name: str) -> None:
        self._store = store
        self._name = name

    @property
    def prefix(self) -> str:
        """Where in etcd the network is."""
        return self._store.where(self._name)[0].prefix

    @property
    def api(self) -> str:
        """The version of etcd's API that has it."""
        return self._store.api(self._name)

    async def config(self) -> str | None:
        """Return the text of the configuration, None where there is none. Raises `Unreachable`, `UsageError`."""
        found = await self._config()
        if found is None and await self._store.look_elsewhere(self._name):
            found = await self._config()
        return found

    async def leases(self) -> tuple[Mapping[str, Item], Mapping[str, str]]:
        """Return the leases by key, and the nodes of those that have one of ours."""
        found, nodes = await self._store.raw_leases(self._name)
        return found.items, nodes

    async def write(self, node: str, lease: FlannelLease, over: Item | None, ttl: float | None) -> None:
        """Write a lease in place of `over`, of a node of ours or of somebody without a name. Raises `Conflict`."""
        if node:
            await self._store.keep_lease(self._name, node, lease, over, ttl)
            return
        mount, layout = self._store.where(self._name)
        expect = over.revision if over is not None else 0
        await layout.root.write([Put(f"{mount.prefix}{SUBNETS}{key(lease)}", layout.encode(lease), expect, ttl)])

    async def drop(self, name: str) -> None:
        """Delete the lease of this key; what a node says of it counts for nothing then."""
        mount, layout = self._store.where(self._name)
        await layout.root.write([Delete(f"{mount.prefix}{SUBNETS}{name}")])

    async def seconds_left(self, name: str) -> float | None:
        """Return how long the lease of this key has to live, None for a reservation."""
        mount, layout = self._store.where(self._name)
        assert isinstance(layout.root, Expiring)
        return await layout.root.seconds_left(f"{mount.prefix}{SUBNETS}{name}")

    async def watch(self) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield the leases, then what happens to them; their keys are whole ones."""
        mount, layout = self._store.where(self._name)
        async for seen in layout.root.watch(f"{mount.prefix}{SUBNETS}"):
            yield seen

    async def _config(self) -> str | None:
        mount, layout = self._store.where(self._name)
        where = f"{mount.prefix}{CONFIG}"
        item = (await layout.root.read(where)).items.get(where)
        if item is None or item.value is None:
            return None
        try:
            return item.value.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{where}: it is no text") from None
