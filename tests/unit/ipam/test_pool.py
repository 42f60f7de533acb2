"""Pools: which addresses may be handed out, and that finding one costs nothing."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.ipam.pool import Cursor, Pool, pools_of
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node


def pool(block: str, prefix: str = "", **fields: object) -> Pool:
    values = {"block": ip_network(block), "prefix": ip_network(prefix or block), **fields}
    return Pool(**values)  # type: ignore[arg-type]


def handed_out(pool: Pool) -> list[str]:
    taken: set[int] = set()
    found = []
    while (address := pool.lowest_free(taken)) is not None:
        found.append(str(address))
        taken.add(int(address))
    return found


@pytest.mark.parametrize(
    ("pool", "addresses"),
    [
        (pool("10.9.0.0/29"), ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]),
        (pool("10.9.0.0/30"), ["10.9.0.1", "10.9.0.2"]),
        (pool("10.9.0.0/31"), ["10.9.0.0", "10.9.0.1"]),
        (pool("10.9.0.0/32"), ["10.9.0.0"]),
        (pool("fd77::/126"), ["fd77::1", "fd77::2", "fd77::3"]),
        (pool("fd77::/127"), ["fd77::", "fd77::1"]),
        (pool("10.9.1.0/30", "10.9.0.0/16"), ["10.9.1.0", "10.9.1.1", "10.9.1.2", "10.9.1.3"]),
        (pool("10.9.0.0/30", "10.9.0.0/16"), ["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
        (pool("10.9.0.0/29", gateways=(ip_address("10.9.0.1"),)), ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]),
        (pool("10.9.0.0/30", auxiliary=(ip_address("10.9.0.2"),)), ["10.9.0.1"]),
        (pool("10.9.0.0/24", ip_range=ip_network("10.9.0.64/30")), ["10.9.0.64", "10.9.0.65", "10.9.0.66", "10.9.0.67"]),
        (pool("10.9.0.0/30", ip_range=ip_network("10.9.0.0/16")), ["10.9.0.1", "10.9.0.2"]),
        (pool("10.9.0.0/30", ip_range=ip_network("10.9.7.0/24")), []),
    ],
)
def test_addresses_are_handed_out_lowest_first(pool: Pool, addresses: list[str]) -> None:
    assert handed_out(pool) == addresses
    assert pool.size == len(addresses)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.9.0.2", ""),
        ("10.9.0.70", ""),
        ("10.9.1.2", "it lies outside 10.9.0.0/24"),
        ("fd77::1", "it lies outside 10.9.0.0/24"),
        ("10.9.0.0", "it is the network address of 10.9.0.0/24"),
        ("10.9.0.255", "it is the broadcast address of 10.9.0.0/24"),
        ("10.9.0.1", "it is the gateway"),
        ("10.9.0.9", "it is reserved as an auxiliary address"),
    ],
)
def test_why_an_address_may_not_be_used(address: str, why: str) -> None:
    checked = pool(
        "10.9.0.0/24",
        gateways=(ip_address("10.9.0.1"),),
        auxiliary=(ip_address("10.9.0.9"),),
        ip_range=ip_network("10.9.0.64/26"),
    )
    assert checked.check(ip_address(address)) == why


def test_the_first_address_of_an_ipv6_subnet_is_every_routers() -> None:
    assert "anycast" in pool("fd77::/64").check(ip_address("fd77::"))


octets = st.sets(st.integers(0, 255))


@given(st.integers(0, 2**24), st.integers(24, 32), octets, st.none() | st.integers(24, 32), octets)
def test_what_is_handed_out_passes_the_check(
    base: int, length: int, taken: set[int], range_length: int | None, extra: set[int]
) -> None:
    block = ip_network(((10 << 24) + base, length), strict=False)
    first = int(block.network_address)
    checked = Pool(
        block=block,
        prefix=block,
        ip_range=None if range_length is None else ip_network((first, max(range_length, length))),
        auxiliary=tuple(ip_address(first + n) for n in sorted(extra)),
    )
    numbers = {first + n for n in taken}
    found = checked.lowest_free(numbers)
    allowed = [a for a in block if not checked.check(a) and (checked.ip_range is None or a in checked.ip_range)]
    free = [a for a in allowed if int(a) not in numbers]
    assert found == (free[0] if free else None)
    assert checked.size == len(allowed)


def test_huge_pools_are_not_walked() -> None:
    assert pool("fd77::/16").lowest_free(frozenset()) == ip_address("fd77::1")
    assert pool("fd77::/16").size == 2**112 - 1


def test_a_cursor_gives_back_what_was_returned_first() -> None:
    taken: set[int] = set()
    cursor = Cursor(pool("10.9.0.0/24"))
    for _ in range(100):
        taken.add(cursor.take(taken) or 0)
    for last in (50, 7):
        number = int(ip_address(f"10.9.0.{last}"))
        taken.discard(number)
        cursor.give_back(number)
    found = []
    for _ in range(3):
        number = cursor.take(taken) or 0
        taken.add(number)
        found.append(str(ip_address(number)))
    assert found == ["10.9.0.7", "10.9.0.50", "10.9.0.101"]


def test_a_cursor_is_as_fast_after_sixty_thousand_addresses_as_before() -> None:
    taken: set[int] = set()
    cursor = Cursor(pool("10.9.0.0/16"))
    times = []
    for _ in range(60_000):
        begun = time.perf_counter_ns()
        number = cursor.take(taken)
        times.append(time.perf_counter_ns() - begun)
        assert number is not None
        taken.add(number)
    times_first, times_last = sorted(times[:1000])[500], sorted(times[-1000:])[500]
    assert times_last <= 3 * times_first


def segment(backend: str, blocks: list[str], subnet: Subnet, single: bool, host_gateway: bool = True) -> Segment:
    network = Network(name="web", backend=backend, subnets=(subnet,))
    leases = tuple(Lease(network="web", block=ip_network(block), node="n") for block in blocks)
    return Segment(network=network, node=Node(id="n", name="h"), leases=leases, single=single, host_gateway=host_gateway)


def test_in_a_routed_network_every_block_has_a_gateway_and_edges() -> None:
    subnet = Subnet(prefix=ip_network("10.9.0.0/16"))
    first, second = pools_of(segment("vxlan", ["10.9.4.0/30", "10.9.0.0/30"], subnet, single=False), subnet)
    assert (handed_out(first), handed_out(second)) == (["10.9.0.2"], ["10.9.4.2"])


def test_in_one_broadcast_domain_only_the_subnet_has_edges() -> None:
    subnet = Subnet(prefix=ip_network("10.9.0.0/16"), gateway=ip_address("10.9.0.1"))
    first, second = pools_of(segment("vxlan", ["10.9.0.0/30", "10.9.4.0/30"], subnet, single=True), subnet)
    assert handed_out(first) == ["10.9.0.2", "10.9.0.3"]
    assert handed_out(second) == ["10.9.4.0", "10.9.4.2", "10.9.4.3"]


def test_where_the_gateway_is_a_router_of_the_lan_it_alone_is_kept_free() -> None:
    subnet = Subnet(prefix=ip_network("10.9.0.0/29"), gateway=ip_address("10.9.0.6"))
    (only,) = pools_of(segment("none", ["10.9.0.0/29"], subnet, single=True, host_gateway=False), subnet)
    assert handed_out(only) == ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"]


def test_the_blocks_of_other_subnets_do_not_count() -> None:
    subnet = Subnet(prefix=ip_network("10.9.0.0/29"))
    assert pools_of(segment("none", ["fd77::/64", "10.8.0.0/29"], subnet, single=True), subnet) == []
