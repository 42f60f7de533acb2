"""Links of a host that containers borrow or stand on: what is refused, and how they come home."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wefted.errors import InUse, NotFound, Unsupported, UsageError
from wefted.model.link import LinkState, MovedLink
from wefted.model.node import HostLink
from wefted.model.objects import HOST, Netns

from .cluster import Member, members

SANDBOX = Netns("/run/fake/netns/c1")
CARD = LinkState(name="eth1", mtu=9000, mac="02:00:00:00:01:01")


async def lent(**options: str) -> Member:
    """Return a host whose card is lent to the container `c1`."""
    (host,) = await members(1)
    host.kernel.add_link(CARD)
    await network(host, "eth1", **options)
    await connect(host, "c1")
    return host


async def network(host: Member, device: str, **options: str) -> None:
    wanted = {"device": device, **options}
    await host.call("network.create", name="nic", driver="phys", subnets=["10.88.0.0/24"], options=wanted)


async def connect(host: Member, name: str) -> Any:
    return await host.call("network.connect", network="nic", containers=[host.add(name)])


def strays(host: Member) -> list[str]:
    return [o.name for o in host.kernel.read(HOST).objects.values() if isinstance(o, MovedLink)]


def inside(host: Member) -> list[str]:
    return [o.origin for o in host.kernel.read(SANDBOX).objects.values() if isinstance(o, MovedLink)]


async def test_it_is_in_the_container_and_comes_back() -> None:
    host = await lent()
    assert inside(host) == ["eth1"]
    assert CARD.key not in host.kernel.read(HOST).objects
    assert await host.settle() == 0
    await host.call("network.disconnect", network="nic", containers=["c1"])
    assert host.kernel.read(HOST).objects[CARD.key] == CARD
    assert await host.settle() == 0


@pytest.mark.parametrize("taken", [False, True], ids=["eth0 inside", "eth0 is taken at home"])
async def test_it_comes_home_when_the_container_dies(taken: bool) -> None:
    host = await lent()
    if not taken:
        host.kernel.discard(("link state", HOST, "eth0"))
    host.remove("c1")
    assert strays(host) == ["dev0" if taken else "eth0"]
    await host.settle()
    assert strays(host) == []
    assert host.kernel.read(HOST).objects[CARD.key] == CARD
    assert await host.settle() == 0


async def test_it_is_lent_again_when_the_container_is_back() -> None:
    host = await lent()
    host.remove("c1")
    host.add("c1")
    await host.settle()
    assert inside(host) == ["eth1"]
    assert await host.settle() == 0


async def test_a_container_that_died_can_be_disconnected() -> None:
    host = await lent()
    host.remove("c1")
    await host.call("network.disconnect", network="nic", containers=["c1"])
    assert host.kernel.read(HOST).objects[CARD.key] == CARD


async def test_a_second_container_is_refused() -> None:
    host = await lent()
    with pytest.raises(InUse, match="netns:c1 has it"):
        await connect(host, "c2")


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("lo", UsageError, "lo is the loopback"),
        ("eth0", UsageError, "has its default route by eth0"),
        ("eth11", NotFound, "no link 'eth11', did you mean 'eth1'"),
        ("port", InUse, "port is a port of br9"),
        ("mine", InUse, "mine is a link of wefted's own"),
        ("under", UsageError, "reaches the other hosts by under"),
    ],
)
async def test_links_that_cannot_be_lent(device: str, error: type[Exception], message: str) -> None:
    (host,) = await members(1)
    links = (
        HostLink(name="lo", hardware=772), HostLink(name="eth0", default=True), HostLink(name="eth1"), HostLink(name="under"),
        HostLink(name="port", master="br9"), HostLink(name="mine", ours=True),
    )  # fmt: skip
    host.kernel.facts = replace(host.kernel.facts, device="under", links=links)
    await host.start()
    await network(host, device)
    before = host.state()
    with pytest.raises(error, match=message):
        await connect(host, "c1")
    after = host.state()
    assert len(after.pop(SANDBOX)) == 1
    assert after == before


async def test_the_uplink_is_lent_to_who_insists() -> None:
    (host,) = await members(1)
    await network(host, "eth0", force="on")
    await connect(host, "c1")
    assert inside(host) == ["eth0"]


async def test_the_way_to_the_host_goes_with_the_last_container() -> None:
    (host,) = await members(1)
    options = {"parent": "eth0", "host_access": "on"}
    await host.call("network.create", name="lan", driver="macvlan", subnets=["192.168.50.0/24"], options=options)
    before = host.kernel.read(HOST).objects
    names = [host.add(name) for name in ("c1", "c2", "c3")]
    await host.call("network.connect", network="lan", containers=names)
    for name in names[:2]:
        await host.call("network.disconnect", network="lan", containers=[name])
        assert await host.settle() == 0
        assert any(str(o).startswith("link sh-") for o in host.kernel.read(HOST).objects.values())
    await host.call("network.disconnect", network="lan", containers=names[2:])
    assert host.kernel.read(HOST).objects == before
    assert await host.settle() == 0


@pytest.mark.parametrize(
    ("driver", "parent", "error", "message"),
    [
        ("macvlan", "eht0", NotFound, "no link 'eht0', did you mean 'eth0'"),
        ("macvlan", "ib0", Unsupported, "ib0 is InfiniBand, so driver macvlan cannot use it"),
        ("ipoib", "eth0", Unsupported, "eth0 is no InfiniBand, so driver ipoib cannot use it"),
    ],
)
async def test_links_that_carry_no_containers(driver: str, parent: str, error: type[Exception], message: str) -> None:
    (host,) = await members(1)
    links = (HostLink(name="eth0", default=True), HostLink(name="ib0", hardware=32))
    host.kernel.facts = replace(host.kernel.facts, links=links)
    await host.call("network.create", name="nic", driver=driver, subnets=["10.88.0.0/24"], options={"parent": parent})
    with pytest.raises(error, match=message):
        await connect(host, "c1")
    assert await host.settle() == 0


@pytest.mark.parametrize("bridge", [{}, {"name": "br1"}, {"bridge": "eth0"}])
async def test_a_vlan_of_a_bridge_publishes_nothing(bridge: dict[str, str]) -> None:
    (host,) = await members(1)
    await host.call("network.create", name="nic", subnets=["10.88.0.0/24"], options={**bridge, "vlan": "10"})
    with pytest.raises(UsageError, match="the host is not in its VLAN 10"):
        await host.call("network.connect", network="nic", containers=[host.add("c1")], publish=["8080:80"])


async def test_a_vlan_needs_a_kernel_that_takes_programs() -> None:
    (host,) = await members(1)
    lacking = {**host.kernel.facts.features, "port-vlan": "this kernel refuses programs for port-vlan"}
    host.kernel.facts = replace(host.kernel.facts, features=lacking)
    await host.start()
    with pytest.raises(Unsupported, match="this kernel has no port-vlan"):
        await host.call("network.create", name="nic", options={"vlan": "10"})
    await host.call("network.create", name="other")
