"""Pools: which addresses of a block may be handed out. Pure.

A block is what a node owns; `prefix` is what stands on the link, which may be larger (one broadcast domain) or the block itself
(a routed network). It decides which addresses have a meaning of their own: in IPv4 the first and the last (RFC 1122, section
3.2.1.3), except in /31 (RFC 3021) and /32; in IPv6 the first, which is every router's (RFC 4291, section 2.6.1).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from wefted.model.lease import Lease
from wefted.model.network import Segment, Subnet
from wefted.model.objects import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The addresses of `block`. Handed out are those in `ip_range` too; asked for by name may be any that `check` lets pass."""

    block: IPNetwork
    prefix: IPNetwork
    ip_range: IPNetwork | None = None
    gateways: tuple[IPAddress, ...] = ()
    auxiliary: tuple[IPAddress, ...] = ()

    @property
    def first(self) -> int:
        """The first address as a number, the exclusions aside."""
        return max(int(network.network_address) for network in self._limits())

    @property
    def last(self) -> int:
        """The last address as a number; it lies before `first` when the block and the range do not meet."""
        return min(int(network.broadcast_address) for network in self._limits())

    @property
    def excluded(self) -> frozenset[int]:
        """The numbers between that are never handed out."""
        special = (*self.gateways, *self.auxiliary, *self._named())
        return frozenset(number for number in map(int, special) if self.first <= number <= self.last)

    @property
    def size(self) -> int:
        """How many addresses can be handed out at most."""
        return max(0, self.last - self.first + 1 - len(self.excluded))

    def address(self, number: int) -> IPAddress:
        return self.block.network_address + (number - int(self.block.network_address))

    def lowest_free(self, taken: Container[int]) -> IPAddress | None:
        """Return the first address that may be handed out and is not in `taken` (numbers), or None."""
        number = Cursor(self).take(taken)
        return None if number is None else self.address(number)

    def check(self, address: IPAddress) -> str:
        """Return why `address` may not be given to anybody, or an empty string."""
        if address not in self.block:
            return f"it lies outside {self.block}"
        if address in self.gateways:
            return "it is the gateway"
        if address in self.auxiliary:
            return "it is reserved as an auxiliary address"
        return next((f"it is the {name} of {self.prefix}" for special, name in self._named().items() if special == address), "")

    def _limits(self) -> Iterable[IPNetwork]:
        return (self.block,) if self.ip_range is None else (self.block, self.ip_range)

    def _named(self) -> dict[IPAddress, str]:
        """Return the addresses that mean something else than a host."""
        if self.prefix.version == 6:
            return {self.prefix.network_address: "subnet-router anycast address"} if self.prefix.prefixlen < 127 else {}
        if self.prefix.prefixlen >= 31:
            return {}
        return {self.prefix.network_address: "network address", self.prefix.broadcast_address: "broadcast address"}


def pools_of(segment: Segment, subnet: Subnet) -> list[Pool]:
    """Return the pools that a node has in its leases of `subnet`, lowest first."""
    mine = [
        lease
        for lease in segment.leases
        if lease.block.version == subnet.prefix.version and lease.block.overlaps(subnet.prefix)
    ]
    on_link = [gateway.ip for gateway in segment.gateways]
    return [_pool(segment, subnet, lease, on_link) for lease in sorted(mine, key=lambda lease: lease.block.network_address)]


def _pool(segment: Segment, subnet: Subnet, lease: Lease, on_link: list[IPAddress]) -> Pool:
    gateways = (subnet.gateway, segment.gateway_of(lease), *on_link)
    return Pool(
        block=lease.block,
        prefix=subnet.prefix if segment.single else lease.block,
        ip_range=subnet.ip_range,
        gateways=tuple({g: None for g in gateways if g is not None and g.version == lease.block.version}),
        auxiliary=subnet.auxiliary,
    )


class Cursor:
    """The place in a pool below which nothing is free but what was given back: finding the next address has a constant cost."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._next, self._last, self._excluded = pool.first, pool.last, pool.excluded
        self._returned: list[int] = []

    def take(self, taken: Container[int]) -> int | None:
        """Return the lowest free number, or None; it counts as taken only once it is in `taken`."""
        while self._returned:
            if self._returned[0] not in taken:
                return self._returned[0]
            heappop(self._returned)
        while self._next <= self._last:
            if self._next not in taken and self._next not in self._excluded:
                return self._next
            self._next += 1
        return None

    def give_back(self, number: int) -> None:
        """Note that a number is free again."""
        if self.pool.first <= number < self._next and number not in self._excluded:
            heappush(self._returned, number)
