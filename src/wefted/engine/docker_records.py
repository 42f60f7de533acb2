"""What this host's Docker has asked for, in memory and in the local state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wefted.model import codec
from wefted.model.objects import IPNetwork
from wefted.model.plugin import DockerNetwork, DockerPool
from wefted.model.records import Delete, Op, Put

from . import keys
from .host import Host

POOL = f"{keys.LOCAL_DOCKER}pool/"
NETWORK = f"{keys.LOCAL_DOCKER}network/"
GONE = f"{keys.LOCAL_DOCKER}gone/"
OWNER = "docker/"
"""How the owners of addresses begin that Docker's IPAM calls have claimed."""


class DockerRecords:
    """Pools by their prefix, networks by Docker's identifier, and the names of networks that Docker has removed."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.pools: dict[str, DockerPool] = {}
        self.networks: dict[str, DockerNetwork] = {}
        self.gone: set[str] = set()

    async def load(self) -> None:
        """Read them again."""
        items = (await self._host.local.read(keys.LOCAL_DOCKER)).items
        values = {key: item.value or b"" for key, item in items.items()}
        self.pools = {p.id: p for p in (codec.loads(DockerPool, v, k) for k, v in values.items() if k.startswith(POOL))}
        self.networks = {
            n.id: n for n in (codec.loads(DockerNetwork, v, k) for k, v in values.items() if k.startswith(NETWORK))
        }
        self.gone = {key.removeprefix(GONE) for key in values if key.startswith(GONE)}

    async def keep(self, *records: DockerPool | DockerNetwork) -> None:
        """Write records durably, all or none."""
        await self._host.local.write([_put(record) for record in records])
        for record in records:
            if isinstance(record, DockerPool):
                self.pools[record.id] = record
            else:
                self.networks[record.id] = record

    async def drop_pool(self, pool: DockerPool, further: Iterable[Op] = ()) -> None:
        """Forget a pool, with further local operations."""
        await self._host.local.write([Delete(_pool(pool)), *further])
        self.pools.pop(pool.id, None)

    async def drop_network(self, network: DockerNetwork) -> None:
        """Forget a network, and remember that its name may have to be given up; its pools are free."""
        freed = [replace(pool, network="") for pool in self.pools.values() if pool.network == network.id]
        ops: list[Op] = [Delete(NETWORK + network.id), *map(_put, freed)]
        if network.name:
            ops.append(Put(GONE + network.name, b""))
        await self._host.local.write(ops)
        self.networks.pop(network.id, None)
        self.pools.update({pool.id: pool for pool in freed})
        if network.name:
            self.gone.add(network.name)

    async def settled(self, name: str) -> None:
        """Forget that a name was given up."""
        await self._host.local.write([Delete(GONE + name)])
        self.gone.discard(name)

    def prefixes(self) -> list[IPNetwork]:
        return [pool.prefix for pool in self.pools.values()]

    def bound(self) -> set[str]:
        """Return the names of the networks that this host's Docker has."""
        return {network.name for network in self.networks.values() if network.name}


def _pool(pool: DockerPool) -> str:
    return POOL + pool.id.replace("/", "-")


def _put(record: DockerPool | DockerNetwork) -> Op:
    key = _pool(record) if isinstance(record, DockerPool) else NETWORK + record.id
    return Put(key, codec.dumps(record))
