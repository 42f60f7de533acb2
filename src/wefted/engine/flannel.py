"""Holding a subnet of a flannel network: one for each host, taken by flannel's rules and kept for as long as the host lives.

A subnet that the host had is taken again: the one of its own record, else the one of its public address, else the one that
its `subnet.env` speaks of. Else one of the first free ones is drawn. A key that never expires is a reservation and stays one.

Better than flannel, whose defects are in brackets: a lost race is run again [the loser exits]; a record that was deleted or
lost with its etcd is written again with the same subnet [the daemon exits, or stays silent for a day]; a renewal ends the etcd
lease that it replaces [each one leaks]; hosts behind one public address are told apart by their node [they share a subnet].
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from random import Random

from wefted.backends import BACKENDS
from wefted.errors import Conflict, Exhausted, NotFound, Unreachable, Unsupported, UsageError
from wefted.model import codec, flannel, flannel_lease
from wefted.model.flannel import Config
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import CONFIG_LABEL, PREFIX_LABEL, lease_of
from wefted.model.lease import Lease
from wefted.model.network import Network
from wefted.model.node import Node
from wefted.model.objects import IPNetwork
from wefted.model.records import Item
from wefted.store.flannel import FlannelStore

from .planner import segment_of

log = logging.getLogger("wefted.flannel")

TRIES = 1000
"""Each lost race means that another host got a subnet, so this many are lost only in a store that is broken."""


@dataclass
class Keeper:
    """Holds this host's subnets of one flannel network. `before` are the subnets of an earlier life."""

    store: FlannelStore
    name: str
    node: Node
    public: IPv4Address | None
    public6: IPv6Address | None = None
    before: Sequence[IPNetwork] = ()
    announce: Callable[[Network], Awaitable[Mapping[str, str]]] | None = None
    """What the lease is to say of the backend; without it, what the backend alone knows."""
    random: Random = field(default_factory=Random)
    held: FlannelLease | None = None
    revision: int = 0
    """Of the last write of its record."""

    async def acquire(self) -> FlannelLease:
        """Take or renew this host's lease.

        Raises `NotFound` without a configuration, `UsageError` for a wrong one, `Exhausted` when all is taken, `Unreachable`,
        and `KernelError` when the command fails whose output the lease is to say; then nothing was taken.
        """
        network, config = await self._configuration()
        if network.backend == "host-gw":
            self._refuse_translated(network)
        told = await self._announced(network)
        for _ in range(TRIES):
            raw, nodes = await self.store.raw_leases(self.name)
            known = {k: flannel_lease.decode(k, item.value or b"") for k, item in raw.items.items()}
            mine = self._mine(known, nodes, config)
            if mine is None and not self._may_return(known, config) and await self._is_allotted(network, config, told):
                continue
            subnets = mine.subnets if mine is not None else self._chosen(known, config)
            lease = self._described(network, subnets, told)
            item = raw.items.get(flannel_lease.key(lease))
            try:
                await self._write(lease, item)
            except Conflict:
                continue
            await self._leave_others(raw.items, nodes, lease)
            self.held, self.before = lease, lease.subnets
            return lease
        raise Conflict(f"{TRIES} times another host was faster in flannel network {self.name!r}")

    async def release(self) -> None:
        """Give the subnet back, for a host that leaves the network for good: also one of an earlier life, not renewed since."""
        mine = set() if self.held is None else {flannel_lease.key(self.held)}
        try:
            raw, nodes = await self.store.raw_leases(self.name)
            mine |= {key for key in raw.items if nodes.get(key) == self.node.id}
        except (Unreachable, UsageError) as error:  # an earlier life's lease ends by itself within a day
            log.warning("subnets not looked for", extra={"network": self.name, "error": error.message})
        for key in sorted(mine):
            await self.store.give_up_lease(self.name, self.node.id, key)
        self.held = None

    async def _configuration(self) -> tuple[Network, Config]:
        item = await self._network()
        if item is None and await self.store.look_elsewhere(self.name):
            item = await self._network()
        if item is None or item.value is None:
            trouble = self.store.memory(self.name).trouble
            if trouble and not trouble.endswith("is not there"):
                raise UsageError(trouble, "put a right one: etcdctl put PREFIX/config JSON")
            raise NotFound(f"flannel network {self.name!r} has no configuration", "put one: etcdctl put PREFIX/config JSON")
        network = codec.loads(Network, item.value)
        return network, flannel.parse(dict(network.labels)[CONFIG_LABEL], self.name)

    async def _network(self) -> Item | None:
        return (await self.store.read(f"networks/{self.name}")).items.get(f"networks/{self.name}")

    def _refuse_translated(self, network: Network) -> None:
        """Raise `UsageError` for a public address that is not ours: it cannot be a next hop (flannel refuses it as well)."""
        for public in (self.public, self.public6):
            if public is not None and public not in self.node.addresses:
                mine = ", ".join(map(str, self.node.addresses)) or "none"
                raise UsageError(
                    f"flannel network {self.name!r}: backend {network.backend} needs an address of this host's, not {public}",
                    f"leave --public-ip out; the underlay's addresses: {mine}",
                )

    def _mine(self, known: Mapping[str, FlannelLease | None], nodes: Mapping[str, str], config: Config) -> FlannelLease | None:
        """Return the lease that is ours and still fits the configuration: by our node, else by a public address without one."""
        fitting = {k: lease for k, lease in known.items() if lease is not None and _fits(lease, config)}
        by_node = [lease for k, lease in fitting.items() if nodes.get(k) == self.node.id]
        by_address = [lease for k, lease in fitting.items() if k not in nodes and self._has_our_address(lease)]
        # Whose the leases of an address are, a flannel server knows better.
        served = self.store.api(self.name) == "server"
        return next(iter(by_node if served else (*by_node, *by_address)), None)

    def _may_return(self, known: Mapping[str, FlannelLease | None], config: Config) -> bool:
        """Tell whether the subnets of an earlier life fit still, and neither they nor our address is in anybody's lease."""
        fitting = [each for each in config.ranges if any(each.holds(subnet) for subnet in self.before)]
        named = [subnets for subnets in map(flannel_lease.subnets_of, known) if subnets is not None]
        taken = [subnet for subnets in named for subnet in subnets if subnet is not None]
        free = flannel_lease.choose(config, taken, self.before, self.random)
        addressed = any(lease is not None and self._has_our_address(lease) for lease in known.values())
        return len(fitting) == len(config.ranges) and set(free) <= set(self.before) and not addressed

    async def _is_allotted(self, network: Network, config: Config, told: Mapping[str, str]) -> bool:
        """Have a flannel server choose the subnets; tell whether there is one. What it chose is ours at the next look."""
        wish = self._described(network, [each.network for each in config.ranges], told)
        return await self.store.allot(self.name, self.node.id, wish) is not None

    def _has_our_address(self, lease: FlannelLease) -> bool:
        return lease.public == self.public if self.public is not None else lease.public6 == self.public6

    def _chosen(self, known: Mapping[str, FlannelLease | None], config: Config) -> tuple[IPNetwork, ...]:
        # A key whose value nobody can read is a subnet of somebody all the same.
        named = [subnets for subnets in map(flannel_lease.subnets_of, known) if subnets is not None]
        taken = [subnet for subnets in named for subnet in subnets if subnet is not None]
        subnets = flannel_lease.choose(config, taken, self.before, self.random)
        if not subnets:
            raise Exhausted(f"flannel network {self.name!r} has no free subnet: {len(named)} hosts have one each")
        return subnets

    async def _announced(self, network: Network) -> Mapping[str, str]:
        if self.announce is not None:
            return await self.announce(network)
        return BACKENDS[network.backend].announce(segment_of(network, self.node, ()))

    def _described(self, network: Network, subnets: Sequence[IPNetwork], told: Mapping[str, str]) -> FlannelLease:
        """Return the lease of these subnets with what our backend announces."""
        data = tuple(sorted({"vni": network.option("vni"), **told}.items()))
        underlay = tuple(address for address in (self.public, self.public6) if address is not None)
        blocks = [Lease(network=self.name, block=s, node=self.node.id, underlay=underlay, data=data) for s in subnets]
        return lease_of(network.backend, *blocks)

    async def _write(self, lease: FlannelLease, item: Item | None) -> None:
        reserved = item is not None and not item.expires
        if reserved and item is not None and item.value == self.store.encode(self.name, lease) and self.held == lease:
            return
        ttl = None if reserved else flannel_lease.TTL
        self.revision = await self.store.keep_lease(self.name, self.node.id, lease, item, ttl)

    async def _leave_others(self, raw: Mapping[str, Item], nodes: Mapping[str, str], kept: FlannelLease) -> None:
        """Give back further leases of this host, of a configuration that was."""
        for key in raw:
            if nodes.get(key) == self.node.id and key != flannel_lease.key(kept):
                await self.store.give_up_lease(self.name, self.node.id, key)


def _fits(lease: FlannelLease, config: Config) -> bool:
    """Tell whether a lease has exactly one subnet in each range of the configuration."""
    return len(lease.subnets) == len(config.ranges) and all(
        any(each.holds(subnet) for subnet in lease.subnets) for each in config.ranges
    )


def validate(network: Network) -> None:
    """Raise `UsageError` for a configuration that is right for flannel, and that we cannot follow."""
    where = f"{dict(network.labels)[PREFIX_LABEL]}config"
    if network.backend not in BACKENDS:
        raise Unsupported(f"{where}: wefted has no backend {network.backend!r}", f"it has: {', '.join(BACKENDS)}")
    try:
        BACKENDS[network.backend].validate(network)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None
