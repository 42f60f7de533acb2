"""Which of a container's networks holds the default route, and what its interfaces are called."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from wefted.errors import InUse, KernelError, UsageError
from wefted.model.objects import Netns
from wefted.model.route import Route

from .cluster import Member, members

INSIDE = Netns("/run/fake/netns/c1")


async def joined(*networks: tuple[str, int], **wanted: Any) -> Member:
    """Return a host whose container c1 was connected to these networks, each with its priority, in this order."""
    (host,) = await members(1)
    host.add("c1")
    for name, priority in networks:
        await host.call("network.create", name=name, ipv6=True, **wanted)
        await host.call("network.connect", network=name, containers=["c1"], gateway_priority=priority)
    return host


def defaults(host: Member) -> list[str]:
    """Return the link of each default route in the container's namespace."""
    objects = host.state()[INSIDE].values()
    return sorted(o.link for o in objects if isinstance(o, Route) and o.destination.prefixlen == 0)


async def holder(host: Member) -> list[str]:
    """Return the networks that are recorded as the holder; the kernel agrees, and nothing is left to do."""
    assert await host.settle() == 0
    rows = [row for row in await host.call("endpoint.list") if row["default_route"]]
    assert defaults(host) == sorted(row["ifname"] for row in rows for _ in row["gateways"])
    return [row["network"] for row in rows]


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ([("a", 0), ("b", 0)], "a"),
        ([("b", 0), ("a", 0)], "b"),
        ([("a", 0), ("b", 5)], "b"),
        ([("a", 5), ("b", 0)], "a"),
        ([("a", -1), ("b", 0), ("c", 7)], "c"),
    ],
)
async def test_the_highest_priority_holds_it(networks: list[tuple[str, int]], expected: str) -> None:
    assert await holder(await joined(*networks)) == [expected]


async def test_the_next_one_takes_over() -> None:
    host = await joined(("a", 0), ("b", 1), ("c", 2))
    for gone, heir in (("c", ["b"]), ("b", ["a"]), ("a", [])):
        await host.call("network.disconnect", network=gone, containers=["c1"])
        assert await holder(host) == heir


async def test_an_internal_network_never_takes_over() -> None:
    host = await joined(("a", 0))
    await host.call("network.create", name="closed", internal=True)
    await host.call("network.connect", network="closed", containers=["c1"], gateway_priority=9)
    assert await holder(host) == ["a"]
    await host.call("network.disconnect", network="a", containers=["c1"])
    assert await holder(host) == []


async def test_a_refused_attach_gives_it_back() -> None:
    host = await joined(("a", 0))
    await host.call("network.create", name="b")
    before = host.state()
    host.kernel.refuse[("link state", INSIDE, "eth1")] = errno.EPERM
    with pytest.raises(KernelError, match="cannot attach"):
        await host.call("network.connect", network="b", containers=["c1"], gateway_priority=5)
    assert host.state() == before
    assert await holder(host) == ["a"]


async def test_a_foreign_default_route_is_left_alone() -> None:
    host = await joined(("a", 0))
    theirs = [o.key for o in host.state()[INSIDE].values() if isinstance(o, Route) and o.destination.prefixlen == 0]
    await host.call("network.disconnect", network="a", containers=["c1"])
    host.kernel.refuse |= dict.fromkeys(theirs, errno.EEXIST)
    await host.call("network.create", name="b", ipv6=True)
    for network in ("a", "b"):
        await host.call("network.connect", network=network, containers=["c1"])
    await host.call("network.disconnect", network="b", containers=["c1"])
    assert await holder(host) == []


async def test_a_container_that_comes_back_has_it_where_it_was() -> None:
    host = await joined(("a", 0), ("b", 3))
    host.remove("c1")
    await host.settle()
    host.add("c1")
    await host.settle()
    assert await holder(host) == ["b"]


async def test_another_priority_is_another_endpoint() -> None:
    host = await joined(("a", 2))
    await host.call("network.connect", network="a", containers=["c1"])
    with pytest.raises(InUse, match="in network 'a' already"):
        await host.call("network.connect", network="a", containers=["c1"], gateway_priority=3)


async def test_names_begin_as_the_network_says() -> None:
    host = await joined(("a", 0), ("b", 0), options={"ifprefix": "net"})
    await host.call("network.create", name="plain")
    await host.call("network.connect", network="plain", containers=["c1"])
    names = [row["ifname"] for row in await host.call("endpoint.list")]
    assert names == ["net0", "net1", "eth0"]


@pytest.mark.parametrize("prefix", ["", "9net", "net1", "a/b", "elevenletter", "a b"])
async def test_a_prefix_must_leave_room_for_a_number(prefix: str) -> None:
    (host,) = await members(1)
    with pytest.raises(UsageError, match="ifprefix"):
        await host.call("network.create", name="net", options={"ifprefix": prefix})
