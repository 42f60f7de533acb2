"""Cutting: how subnets are chosen, and how a subnet is cut into the blocks that nodes own. Pure.

The length of a block follows from the subnet alone, unless the network's option `block` says otherwise; so all blocks of a
subnet have one length, and two of them are the same or do not overlap.

    IPv4   up to /21   blocks of /24              IPv6   up to /48    blocks of /64
           longer      3 bits more, at most /30          longer      16 bits more, at most /112
           from /30    the subnet is one block           from /112   3 bits more, at most /126
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2s
from ipaddress import IPv6Network, ip_network
from itertools import combinations

from wefted.errors import Exhausted, UsageError
from wefted.model.network import Subnet
from wefted.model.objects import IPAddress, IPNetwork

LONGEST = {4: 30, 6: 126}
"""The longest block that still has addresses for a gateway and a container."""

_PRIVATE = {4: (ip_network("10.64.0.0/10"), ip_network("172.16.0.0/12"))}
_UNIQUE_LOCAL = int(ip_network("fd77::/16").network_address)
_TRIES = 1000


def block_length(prefix: IPNetwork, wanted: int | None = None) -> int:
    """Return the length of the blocks of `prefix`. Raises `UsageError` when `wanted` does not fit."""
    longest = max(LONGEST[prefix.version], prefix.prefixlen)
    if wanted is not None:
        if not prefix.prefixlen <= wanted <= longest:
            raise UsageError(
                f"blocks of /{wanted} do not fit into {prefix}: from /{prefix.prefixlen} to /{longest} are possible",
                f"as in -o block={block_length(prefix)}",
            )
        return wanted
    if prefix.version == 4:
        return 24 if prefix.prefixlen <= 21 else min(prefix.prefixlen + 3, longest)
    if prefix.prefixlen <= 48:
        return 64
    return min(prefix.prefixlen + 16, 112) if prefix.prefixlen < 112 else min(prefix.prefixlen + 3, longest)


def block_of(address: IPAddress, length: int) -> IPNetwork:
    """Return the block of this length in which `address` lies."""
    return ip_network((address, length), strict=False)


def blocks(subnet: Subnet, length: int) -> Iterator[IPNetwork]:
    """Yield the blocks from which addresses may be handed out, lowest first; there may be more than anybody can count."""
    step = 1 << (subnet.prefix.max_prefixlen - length)
    low, high = _limits(subnet, length)
    for number in range(low, high + 1, step):
        yield _block(subnet, number, length)


def count(subnet: Subnet, length: int) -> int:
    """Return how many blocks `blocks` yields."""
    low, high = _limits(subnet, length)
    return (high - low) // (1 << (subnet.prefix.max_prefixlen - length)) + 1


def choose_block(
    subnet: Subnet, length: int, taken: Iterable[IPNetwork], containing: IPAddress | None = None
) -> IPNetwork | None:
    """Return the lowest block that is free, or the one that holds `containing`; None when there is none.

    `taken` may hold blocks of other lengths: one that overlaps is not free.
    """
    mine = sorted((block for block in taken if block.version == subnet.prefix.version), key=_start)
    if containing is not None:
        block = block_of(containing, length)
        return None if any(block.overlaps(other) for other in mine) else block
    return _lowest(subnet, length, mine)


def _lowest(subnet: Subnet, length: int, taken: list[IPNetwork]) -> IPNetwork | None:
    """Walk over the gaps between what is taken, so that the size of the subnet does not matter."""
    step = 1 << (subnet.prefix.max_prefixlen - length)
    low, high = _limits(subnet, length)
    for other in taken:
        if _start(other) >= low + step:
            break
        if int(other.broadcast_address) >= low:
            low = (int(other.broadcast_address) // step + 1) * step
    return _block(subnet, low, length) if low <= high else None


def overlapping(subnets: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> list[tuple[IPNetwork, IPNetwork]]:
    """Return the pairs that overlap: among `subnets`, and of `subnets` with `others`."""
    mine, theirs = list(subnets), list(others)
    pairs = [*combinations(mine, 2), *((a, b) for a in mine for b in theirs)]
    return [(a, b) for a, b in pairs if a.version == b.version and a.overlaps(b)]


def default_subnet(taken: Iterable[IPNetwork], version: int, name: str) -> IPNetwork:
    """Return a private subnet that overlaps nothing in `taken`, for the network `name`. Raises `Exhausted`.

    IPv4: the lowest free /16. IPv6: a /48 of fd77::/16, by a hash of the name, so that it is the same wherever it is made.
    """
    known = [prefix for prefix in taken if prefix.version == version]
    candidates = _hashed(name) if version == 6 else (s for range_ in _PRIVATE[4] for s in range_.subnets(new_prefix=16))
    for candidate in candidates:
        if not any(candidate.overlaps(other) for other in known):
            return candidate
    raise Exhausted(f"no private IPv{version} subnet is free for network {name!r}", "choose one with --subnet")


def _hashed(name: str) -> Iterator[IPNetwork]:
    for number in range(_TRIES):
        words = f"{name}\0{number}" if number else name
        drawn = int.from_bytes(blake2s(words.encode(), digest_size=4).digest())
        yield IPv6Network((_UNIQUE_LOCAL | drawn << 80, 48))


def _limits(subnet: Subnet, length: int) -> tuple[int, int]:
    """Return where the first and the last block begin that touch the range."""
    step = 1 << (subnet.prefix.max_prefixlen - length)
    within = subnet.ip_range or subnet.prefix
    return _start(within) // step * step, int(within.broadcast_address) // step * step


def _start(network: IPNetwork) -> int:
    return int(network.network_address)


def _block(subnet: Subnet, number: int, length: int) -> IPNetwork:
    return ip_network((type(subnet.prefix.network_address)(number), length))
