"""Pools and addresses for Docker: its IPAM calls, answered from this host's own blocks.

A pool is known by its prefix, so asking twice gives the same. Docker asks for a container's address without saying for whom;
what was given back last is handed out first, so that a container which is restarted has its address again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_interface

from wefted.errors import InUse, NotFound, UsageError
from wefted.ipam.leases import default_subnet
from wefted.model import spec
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import HostFacts
from wefted.model.objects import IPAddress, IPInterface, IPNetwork
from wefted.model.plugin import DockerPool
from wefted.model.records import Op

from .addressing import Addressing, placed
from .docker_networks import MADE_BY, DockerNetworks, stand_in
from .docker_records import OWNER, DockerRecords
from .host import Host

ANYBODY = f"{OWNER}any/"
"""How the owners begin that left the address to us. What somebody asked for by name, and gave back, nobody else gets soon: the
container that has it by `--ip` is perhaps being restarted."""


class DockerPools:
    """Every method takes the host's lock itself."""

    def __init__(self, host: Host, records: DockerRecords, networks: DockerNetworks) -> None:
        self._host = host
        self._records = records
        self._networks = networks
        self._addressing = Addressing(host)

    # -- pools -----------------------------------------------------------------------------------------------------

    async def request(self, prefix: str, ip_range: str, version: int, network: str = "") -> DockerPool:
        """Return a pool of this prefix, or of our choice for `network` where it is named. Raises `UsageError`, `InUse`."""
        if ip_range and not prefix:
            raise UsageError(f"a range ({ip_range}) needs its subnet")
        within = spec.subnet(ip_range) if ip_range else None
        facts = self._host.facts if prefix else await self._host.look()
        async with self._host.lock:
            wanted = spec.subnet(prefix) if prefix else self._chosen(version, network, facts)
            if within is not None and not (within.version == wanted.version and within.subnet_of(wanted)):  # type: ignore[arg-type]
                raise UsageError(f"the range {within} does not lie in {wanted}")
            pool = DockerPool(prefix=wanted, ip_range=within, asked=bool(prefix))
            known = self._records.pools.get(pool.id)
            if known is None or not known.network:
                self._refuse_overlap(pool)
                await self._records.keep(pool)
                return pool
        raise InUse(f"Docker has a network with the subnet {pool.prefix} on this host already", "choose another --subnet")

    async def release(self, identifier: str) -> None:
        """Forget a pool and all of its addresses."""
        async with self._host.lock:
            pool = self._records.pools.get(identifier)
            if pool is not None:
                await self._records.drop_pool(pool, self._host.book.forget(stand_in(pool)))

    def _refuse_overlap(self, pool: DockerPool) -> None:
        for other in self._records.prefixes():
            if other != pool.prefix and other.version == pool.prefix.version and other.overlaps(pool.prefix):
                raise InUse(f"subnet {pool.prefix} overlaps {other}, which another network of Docker has", "choose another")

    def _chosen(self, version: int, name: str, facts: HostFacts) -> IPNetwork:
        """Return the subnet of the network that this is most likely for, else a free one.

        Docker does not say the name. On a further host it is, as a rule, the network that other hosts' Docker has and this
        one's has not; a wrong guess shows in `docker network inspect` and nowhere else.
        """
        candidates = list(self._candidates(version, name))
        if candidates:
            return candidates[0]
        taken = [subnet.prefix for network in self._host.view.networks.values() for subnet in network.subnets]
        local = [interface.network for interface in facts.prefixes]
        return default_subnet([*taken, *local, *self._records.prefixes()], version, name or secrets.token_hex(4))

    def _candidates(self, version: int, name: str) -> Iterator[IPNetwork]:
        known, bound = set(self._records.prefixes()), self._records.bound()
        free = [n for n in self._host.view.networks.values() if n.name not in bound and MADE_BY in n.labels]
        if name:
            free = [n for n in self._host.view.networks.values() if n.name == name]
        begun = {p.prefix for p in self._records.pools.values() if not p.network}
        free.sort(key=lambda n: (not any(s.prefix in begun for s in n.subnets), n.number))
        for network in free:
            yield from (s.prefix for s in network.subnets if s.prefix.version == version and s.prefix not in known)

    # -- addresses -------------------------------------------------------------------------------------------------

    async def gateway(self, identifier: str, text: str) -> IPInterface:
        """Return the address that Docker shows as the gateway: the chosen one, else the first."""
        async with self._host.lock:
            pool = self._pool(identifier)
            if not text:
                return ip_interface((pool.prefix.network_address + 1, pool.prefix.prefixlen))
            address = spec.address_in(text, pool.prefix)
            await self._records.keep(replace(pool, gateway=address))
            return ip_interface((address, pool.prefix.prefixlen))

    async def claim(self, identifier: str, text: str) -> IPInterface:
        """Hand out an address. Raises `UsageError`, `InUse`, `Exhausted`, `Unreachable`."""
        pool = self._pool(identifier)
        wanted = spec.address_in(text, pool.prefix) if text else None
        if not pool.network:
            async with self._host.lock:
                return await self._claim_apart(pool, wanted)
        network = await self._networks.ready(pool.network)
        async with self._host.lock:
            return await self._claim(pool, network, wanted)

    async def release_address(self, identifier: str, text: str) -> None:
        """Give an address back; what nobody has is passed over."""
        async with self._host.lock:
            pool = self._records.pools.get(identifier)
            if pool is None or not text or text == str(pool.gateway):
                return
            address = spec.address(text)
            for name in self._names(pool):
                owner = self._host.book.owner(name, address)
                if owner.startswith(OWNER):
                    await self._write(self._host.book.free(owner))

    async def _claim(self, pool: DockerPool, network: Network, wanted: IPAddress | None) -> IPInterface:
        book, subnet = self._host.book, self._subnet(pool, network)
        if wanted is not None and book.owner(network.name, wanted):
            raise InUse(f"{wanted} of network {network.name!r} belongs to {self._holder(network, wanted)} already")
        again = book.last_released(self._host.segment(network), subnet, ANYBODY) if wanted is None else wanted
        try:
            address, ops, _ = await self._addressing.claim(network, subnet, _owner(wanted), again)
        except BaseException:
            await book.load()  # forget what was claimed in memory and will not be written
            raise
        await self._write(ops)
        return placed(self._host.segment(network), address)[0]

    async def _claim_apart(self, pool: DockerPool, wanted: IPAddress | None) -> IPInterface:
        """Hand out an address to a network of another driver, which hears nothing of other hosts."""
        book, segment = self._host.book, self._stand_in(pool)
        subnet = segment.network.subnets[0]
        if wanted is not None and book.owner(segment.network.name, wanted):
            raise InUse(f"{wanted} of {pool.prefix} is in use already")
        again = book.last_released(segment, subnet, ANYBODY) if wanted is None else wanted
        address, ops = book.claim(_owner(wanted), segment, subnet, again)
        await self._write(ops)
        return ip_interface((address, pool.prefix.prefixlen))

    def _stand_in(self, pool: DockerPool) -> Segment:
        subnet = Subnet(prefix=pool.prefix, gateway=pool.gateway, ip_range=pool.ip_range)
        network = Network(name=stand_in(pool), subnets=(subnet,))
        lease = Lease(network=network.name, block=pool.prefix, node=self._host.node.id)
        return Segment(network=network, node=self._host.node, leases=(lease,), single=True)

    def _subnet(self, pool: DockerPool, network: Network) -> Subnet:
        """Return the subnet that a pool stands for; Docker may believe in another prefix, for it chose before it was named."""
        same = [s for s in network.subnets if s.prefix.version == pool.prefix.version]
        if not same:
            raise UsageError(f"network {network.name!r} has no IPv{pool.prefix.version} subnet", "make it again in Docker")
        found = next((s for s in same if s.prefix == pool.prefix), same[0])
        known = self._records.networks.get(pool.network)
        return found if known is None else self._networks.local_subnet(known, found)

    def _names(self, pool: DockerPool) -> list[str]:
        known = self._records.networks.get(pool.network)
        return [stand_in(pool)] if known is None else [stand_in(pool), known.name]

    def _holder(self, network: Network, address: IPAddress) -> str:
        holder = next((e for e in self._host.members_of(network.name) if any(a.ip == address for a in e.addresses)), None)
        return holder.container if holder is not None else "another container"

    def _pool(self, identifier: str) -> DockerPool:
        pool = self._records.pools.get(identifier)
        if pool is None:
            raise NotFound(f"wefted knows no pool {identifier[:60]!r}", "make the network again: docker network rm, create")
        return pool

    async def _write(self, ops: Sequence[Op]) -> None:
        if ops:
            self._host.book.written(ops, await self._host.local.write(ops))


def _owner(wanted: IPAddress | None) -> str:
    return (ANYBODY if wanted is None else OWNER) + secrets.token_hex(8)
