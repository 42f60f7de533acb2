"""Cutting subnets into blocks, and choosing subnets."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import Exhausted, UsageError
from wefted.ipam.leases import block_length, block_of, blocks, choose_block, count, default_subnet, overlapping
from wefted.model.network import Subnet


def subnet(prefix: str, ip_range: str = "") -> Subnet:
    return Subnet(prefix=ip_network(prefix), ip_range=ip_network(ip_range) if ip_range else None)


@pytest.mark.parametrize(
    ("prefix", "length"),
    [
        ("10.0.0.0/8", 24),
        ("10.9.0.0/16", 24),
        ("10.9.0.0/21", 24),
        ("10.9.0.0/22", 25),
        ("10.9.0.0/24", 27),
        ("10.9.0.0/27", 30),
        ("10.9.0.0/28", 30),
        ("10.9.0.0/30", 30),
        ("10.9.0.0/31", 31),
        ("10.9.0.0/32", 32),
        ("fd77::/32", 64),
        ("fd77::/48", 64),
        ("fd77::/56", 72),
        ("fd77::/64", 80),
        ("fd77::/100", 112),
        ("fd77::/112", 115),
        ("fd77::/124", 126),
        ("fd77::/127", 127),
        ("fd77::/128", 128),
    ],
)
def test_the_length_of_blocks_follows_from_the_subnet(prefix: str, length: int) -> None:
    assert block_length(ip_network(prefix)) == length


def test_the_length_of_blocks_may_be_wanted() -> None:
    assert block_length(ip_network("10.9.0.0/16"), 20) == 20
    assert block_length(ip_network("10.9.0.0/16"), 16) == 16
    for wanted in (15, 31, 32, 0, -1):
        with pytest.raises(UsageError, match=rf"/{wanted} do not fit into 10\.9\.0\.0/16: from /16 to /30"):
            block_length(ip_network("10.9.0.0/16"), wanted)


def test_blocks_are_lazy() -> None:
    assert [str(b) for b in islice(blocks(subnet("fd77::/16"), 64), 2)] == ["fd77::/64", "fd77:0:0:1::/64"]
    assert count(subnet("fd77::/16"), 64) == 2**48
    assert [str(b) for b in blocks(subnet("10.9.0.0/22"), 24)] == ["10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", "10.9.3.0/24"]


def test_blocks_meet_the_range() -> None:
    assert [str(b) for b in blocks(subnet("10.9.0.0/16", "10.9.4.0/23"), 24)] == ["10.9.4.0/24", "10.9.5.0/24"]
    assert [str(b) for b in blocks(subnet("10.9.0.0/16", "10.9.4.128/25"), 24)] == ["10.9.4.0/24"]


def test_the_lowest_free_block_is_chosen() -> None:
    taken = [ip_network("10.9.0.0/24"), ip_network("10.9.2.0/24"), ip_network("fd77::/64")]
    assert choose_block(subnet("10.9.0.0/22"), 24, taken) == ip_network("10.9.1.0/24")
    assert choose_block(subnet("10.9.0.0/22", "10.9.2.0/23"), 24, taken) == ip_network("10.9.3.0/24")
    assert choose_block(subnet("10.9.0.0/23"), 24, [*taken, ip_network("10.9.1.0/24")]) is None


def test_the_block_of_an_address_is_chosen() -> None:
    address = ip_address("10.9.200.7")
    assert choose_block(subnet("10.9.0.0/16", "10.9.4.0/23"), 24, [], address) == ip_network("10.9.200.0/24")
    assert choose_block(subnet("10.9.0.0/16"), 24, [ip_network("10.9.200.0/25")], address) is None
    assert block_of(ip_address("fd77::5"), 64) == ip_network("fd77::/64")


def test_a_huge_subnet_with_many_blocks_taken_is_not_walked() -> None:
    taken = list(islice(blocks(subnet("fd77::/16"), 64), 5000))
    begun = time.perf_counter()
    assert choose_block(subnet("fd77::/16"), 64, taken) == ip_network("fd77:0:0:1388::/64")
    assert time.perf_counter() - begun < 2


@given(
    st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=12),
    st.none() | st.tuples(st.integers(0, 63), st.integers(26, 32)),
)
def test_a_chosen_block_is_the_lowest_that_overlaps_nothing(
    parts: list[tuple[int, int]], range_: tuple[int, int] | None
) -> None:
    base = int(ip_address("10.9.0.0"))
    taken = [ip_network((base + n, length), strict=False) for n, length in parts]
    inner = ip_network((base + range_[0], range_[1]), strict=False) if range_ else None
    whole = Subnet(prefix=ip_network("10.9.0.0/26"), ip_range=inner)
    free = [b for b in blocks(whole, 29) if not any(b.overlaps(t) for t in taken)]
    assert choose_block(whole, 29, taken) == (free[0] if free else None)
    assert len(list(blocks(whole, 29))) == count(whole, 29)
    assert all(inner is None or b.overlaps(inner) for b in blocks(whole, 29))


def test_overlaps_are_found_among_and_between() -> None:
    a, b, c, d = (ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "172.16.0.0/16", "fd77::/48"))
    assert overlapping([a, b, d], [c]) == [(a, b)]
    assert overlapping([c], [a, c]) == [(c, c)]
    assert overlapping([a, d], [c]) == []


def test_default_subnets() -> None:
    first = default_subnet([], 4, "web")
    assert first == ip_network("10.64.0.0/16")
    assert default_subnet([first, ip_network("10.66.3.0/24")], 4, "web") == ip_network("10.65.0.0/16")
    assert default_subnet([ip_network("10.0.0.0/8")], 4, "web") == ip_network("172.16.0.0/16")
    with pytest.raises(Exhausted, match="no private IPv4 subnet is free for network 'web'"):
        default_subnet([ip_network("10.64.0.0/10"), ip_network("172.16.0.0/12")], 4, "web")


def test_a_default_ipv6_subnet_follows_from_the_name() -> None:
    first = default_subnet([], 6, "web")
    assert first == default_subnet([ip_network("10.0.0.0/8")], 6, "web")
    assert first.prefixlen == 48
    assert first.subnet_of(ip_network("fd77::/16"))
    assert first != default_subnet([], 6, "db")
    second = default_subnet([first], 6, "web")
    assert not second.overlaps(first)
    with pytest.raises(Exhausted, match="IPv6"):
        default_subnet([ip_network("fd00::/8")], 6, "web")
