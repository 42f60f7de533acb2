"""What a flannel server does with the leases of one network: lend, renew, revoke, reserve (flannel 0.5 to 0.10, `-listen`).

The records are those of hosts that are in etcd themselves, and hosts of both kinds share a network. What flannel does wrong
is done right: a renewal never takes a lease that somebody else has got meanwhile, and never ends a reservation; of two hosts
with one public address each has its own lease, as far as they say who they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from random import Random

from wefted.errors import Conflict, Exhausted, NotFound, UsageError, WeftedError
from wefted.model import flannel, flannel_lease
from wefted.model import flannel_wire as wire
from wefted.model.flannel import Config
from wefted.model.flannel_lease import FlannelLease
from wefted.model.records import Item
from wefted.store.flannel_records import Records

TRIES = 1000
"""Each lost race means that another host got a subnet, so this many are lost only in a store that is broken."""


@dataclass
class Lending:
    """The leases of a network, for hosts that ask us."""

    records: Records
    random: Random = field(default_factory=Random)

    async def config(self) -> Config:
        """Return the configuration. Raises `NotFound`, `UsageError` (also for IPv6), `Unreachable`."""
        text = await self.records.config()
        if text is None:
            raise NotFound(f"{self.records.prefix}config is not there", "put one: etcdctl put PREFIX/config JSON")
        found = flannel.parse(text, f"{self.records.prefix}config")
        wire.config(found)
        return found

    async def acquire(self, wish: FlannelLease, node: str) -> FlannelLease:
        """Return the lease of a host: the one it has, else a new one. Raises `Exhausted`, and what `config` raises."""
        config = await self.config()
        for _ in range(TRIES):
            raw, nodes = await self.records.leases()
            known = _decoded(raw)
            subnet = self._held(known, nodes, config, wish, node) or self._free(known, config)
            lease = replace(wish, subnet=subnet)
            with suppress(Conflict):
                await self._write(lease, node, raw.get(flannel_lease.key(lease)))
                await self._leave_others(known, nodes, lease, node, config)
                return lease
        raise Conflict(f"{TRIES} times another host was faster")

    async def renew(self, lease: FlannelLease, node: str) -> FlannelLease:
        """Write a lease for another day, also one that was lost meanwhile. Raises `Conflict` where it is somebody else's."""
        config = await self.config()
        if lease.subnet is None or not any(each.holds(lease.subnet) for each in config.ranges):
            raise UsageError(f"{lease.subnet} is no subnet of {config.ranges[0].network} in this configuration")
        raw, nodes = await self.records.leases()
        key = flannel_lease.key(lease)
        known = _decoded(raw)
        if key in known and not _is_theirs(known[key], nodes.get(key, ""), lease, node):
            raise Conflict(f"{lease.subnet} is the lease of another host")
        others = (flannel_lease.subnets_of(other) for other in known if other != key)
        if key not in known and any(s is not None and lease.subnet.overlaps(s[0]) for s in others):
            raise Conflict(f"{lease.subnet} is a part of another host's lease")
        await self._write(lease, node, raw.get(key))
        return lease

    async def revoke(self, subnet: IPv4Network, node: str) -> None:
        """Delete a lease. Raises `NotFound`, and `Conflict` for one of which another node says that it has it."""
        key, _, owner = await self._existing(subnet)
        if node and owner and owner != node:
            raise Conflict(f"{subnet} is the lease of another host")
        await self.records.drop(key)

    async def reserve(self, subnet: IPv4Network, public: IPv4Address) -> None:
        """Keep a subnet for a host, whether it has it already or not. Raises `UsageError`, `Conflict`."""
        config = await self.config()
        if subnet.prefixlen != config.ranges[0].length:
            raise UsageError("reservation subnet has mask incompatible with network config")
        if not subnet.overlaps(config.ranges[0].network):
            raise UsageError("reservation subnet is outside of flannel network")
        for _ in range(TRIES):
            raw, nodes = await self.records.leases()
            key = f"{subnet.network_address}-{subnet.prefixlen}"
            lease = _decoded(raw).get(key, FlannelLease(subnet=subnet, public=public))
            if lease is None or lease.public != public:
                raise Conflict("subnet: lease already taken")
            with suppress(Conflict):
                await self.records.write(nodes.get(key, ""), lease, raw.get(key), None)
                return
        raise Conflict("subnet: no more tries")

    async def unreserve(self, subnet: IPv4Network) -> None:
        """Let a reservation end as leases do, in a day. Raises `NotFound`."""
        for _ in range(TRIES):
            key, item, owner = await self._existing(subnet)
            lease = flannel_lease.decode(key, item.value or b"")
            if lease is None:
                raise UsageError(f"the record of {subnet} cannot be read")
            with suppress(Conflict):
                await self.records.write(owner, lease, item, flannel_lease.TTL)
                return
        raise Conflict("subnet: no more tries")

    async def reservations(self) -> Sequence[FlannelLease]:
        """Return the leases that have no end."""
        raw, _ = await self.records.leases()
        found = _decoded({key: item for key, item in raw.items() if not item.expires})
        return [lease for lease in found.values() if lease is not None and lease.subnet6 is None]

    async def _existing(self, subnet: IPv4Network) -> tuple[str, Item, str]:
        raw, nodes = await self.records.leases()
        key = f"{subnet.network_address}-{subnet.prefixlen}"
        if key not in raw:
            raise NotFound(f"{subnet} is nobody's lease")
        return key, raw[key], nodes.get(key, "")

    def _held(
        self, known: Mapping[str, FlannelLease | None], nodes: Mapping[str, str], config: Config, wish: FlannelLease, node: str
    ) -> IPv4Network | None:
        """Return the subnet that a host has: by its node, else by its public address where no other node has that lease."""
        fitting = {k: x.subnet for k, x in known.items() if x is not None and x.subnet and config.ranges[0].holds(x.subnet)}
        by_node = [subnet for k, subnet in fitting.items() if node and nodes.get(k) == node]
        by_address = [subnet for k, subnet in fitting.items() if k not in nodes and _public(known[k]) == wish.public]
        return next(iter((*by_node, *by_address)), None)

    def _free(self, known: Mapping[str, FlannelLease | None], config: Config) -> IPv4Network:
        named = [subnets for subnets in map(flannel_lease.subnets_of, known) if subnets is not None]
        chosen = flannel_lease.choose(config, [subnets[0] for subnets in named], (), self.random)
        if not chosen:
            raise Exhausted("out of subnets")
        return chosen[0]  # type: ignore[return-value]  # the API has IPv4 alone

    async def _write(self, lease: FlannelLease, node: str, over: Item | None) -> None:
        ttl = flannel_lease.TTL if over is None or over.expires else None
        await self.records.write(node, lease, over, ttl)

    async def _leave_others(
        self,
        known: Mapping[str, FlannelLease | None],
        nodes: Mapping[str, str],
        kept: FlannelLease,
        node: str,
        config: Config,
    ) -> None:
        """Delete what the host had under a configuration that was; flannel does the same."""
        for key, lease in known.items():
            fits = lease is not None and lease.subnet is not None and config.ranges[0].holds(lease.subnet)
            if not fits and key != flannel_lease.key(kept) and _is_theirs(lease, nodes.get(key, ""), kept, node):
                with suppress(WeftedError):
                    await self.records.drop(key)


def _decoded(items: Mapping[str, Item]) -> dict[str, FlannelLease | None]:
    return {key: flannel_lease.decode(key, item.value or b"") for key, item in items.items()}


def _public(lease: FlannelLease | None) -> IPv4Address | None:
    return lease.public if lease is not None else None


def _is_theirs(found: FlannelLease | None, owner: str, asked: FlannelLease, node: str) -> bool:
    """Tell whether a record is that of the host that asks: of a node by its name, of any other by its public address."""
    return owner == node if owner else found is not None and found.public == asked.public
