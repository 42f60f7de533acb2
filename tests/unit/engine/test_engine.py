"""The use cases on fakes that passed the tests of the real things."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from wefted.errors import InUse, KernelError, NotFound, Unreachable, UsageError
from wefted.model.objects import HOST, Netns
from wefted.model.route import Route
from wefted.model.sandbox import SandboxEvent
from wefted.store.memory import MemoryStore

from .cluster import Member, members


async def one() -> Member:
    return (await members(1))[0]


async def test_connect_then_nothing_is_left_to_do() -> None:
    host = await one()
    await host.call("network.create", name="net")
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert (row["addresses"], row["gateways"], row["state"], row["host"]) == (["10.64.0.2/16"], ["10.64.0.1"], "up", "h1")
    assert await host.settle() == 0
    assert (await host.call("plan"))["changes"] == []


async def test_connecting_twice_is_the_same_endpoint() -> None:
    host = await one()
    await host.call("network.create", name="net")
    first = await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert await host.call("network.connect", network="net", containers=["c1"]) == first
    with pytest.raises(InUse, match=r"in network 'net' already, as eth0 with 10\.64\.0\.2"):
        await host.call("network.connect", network="net", containers=["c1"], ip=["10.64.0.9"])


async def test_disconnect_leaves_what_was_there_before() -> None:
    host = await one()
    await host.call("network.create", name="net")
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    host.add("c2")
    before = host.state()
    await host.call("network.connect", network="net", containers=["c2"], publish=["8080:80", "[::1]:53:53/udp"])
    await host.call("network.disconnect", network="net", containers=["c2"])
    after = host.state()
    after[Netns("/run/fake/netns/c2")] = before[Netns("/run/fake/netns/c2")]  # its loopback stays up
    assert after == before
    assert [row["container"] for row in await host.call("endpoint.list")] == ["netns:c1"]


async def test_removing_the_network_leaves_nothing() -> None:
    host = await one()
    before = host.state()
    await host.call("network.create", name="net", backend="vxlan", ipv6=True)
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    with pytest.raises(InUse, match="in use by netns:c1 on h1"):
        await host.call("network.remove", names=["net"])
    await host.call("network.disconnect", network="net", containers=["c1"])
    await host.call("network.remove", names=["net"])
    host.remove("c1")
    assert host.state() == before


async def attach_plan(host: Member) -> list[Any]:
    """Return the keys of all that an attach creates."""
    await host.call("network.create", name="net", backend="vxlan", ipv6=True)
    host.add("c1")
    await host.call("network.connect", network="net", containers=["c1"], publish=["8080:80"])
    keys = [change.subject.key for change in host.kernel.applied]
    return list(dict.fromkeys(keys))


async def test_a_refused_attach_leaves_nothing_whatever_is_refused() -> None:
    keys = await attach_plan(await one())
    assert len(keys) > 15
    for key in keys:
        host = await one()
        await host.call("network.create", name="net", backend="vxlan", ipv6=True)
        host.add("c1")
        before = host.state()
        host.kernel.refuse[key] = errno.EPERM
        with pytest.raises(KernelError, match="cannot attach netns:c1 to network 'net'"):
            await host.call("network.connect", network="net", containers=["c1"], publish=["8080:80"])
        after = host.state()
        lo = ("link state", Netns("/run/fake/netns/c1"), "lo")
        after[Netns("/run/fake/netns/c1")][lo] = before[Netns("/run/fake/netns/c1")][lo]
        assert after == before, key
        assert await host.call("endpoint.list") == []
        assert (await host.call("network.inspect", names=["net"]))[0]["leases"] == []
        host.kernel.refuse.clear()
        (row,) = await host.call("network.connect", network="net", containers=["c1"])
        assert row["addresses"][0] == "10.64.0.2/24", "the address was given back"


async def test_a_container_with_a_default_route_keeps_it() -> None:
    host = await one()
    await host.call("network.create", name="net")
    host.add("c1")
    default = next(
        change.subject.key
        for change in (await _changes(host, "probe"))
        if isinstance(change.subject, Route) and change.subject.destination.prefixlen == 0
    )
    key = (default[0], Netns("/run/fake/netns/c1"), *default[2:])
    host.kernel.refuse[key] = errno.EEXIST
    (row,) = await host.call("network.connect", network="net", containers=["c1"])
    assert row["default_route"] is False
    assert await host.settle() == 0


async def _changes(host: Member, name: str) -> list[Any]:
    host.add(name)
    await host.call("network.connect", network="net", containers=[name])
    return list(host.kernel.applied)


async def test_all_containers_or_none() -> None:
    host = await one()
    await host.call("network.create", name="net", subnets=["10.9.0.0/29"])
    names = [host.add(f"c{n}") for n in range(6)]
    before = await host.call("endpoint.list")
    with pytest.raises(UsageError, match="all 5 addresses"):
        await host.call("network.connect", network="net", containers=names)
    assert await host.call("endpoint.list") == before == []
    assert len(await host.call("network.connect", network="net", containers=names[:5])) == 5


async def test_two_hosts_share_out_the_network() -> None:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan")
    (left,) = await a.call("network.connect", network="net", containers=[a.add("c")])
    (right,) = await b.call("network.connect", network="net", containers=[b.add("c")])
    assert (left["addresses"], right["addresses"]) == (["10.64.0.2/24"], ["10.64.1.2/24"])
    assert await a.settle() > 0, "the other host's block needs a route"
    assert await a.settle() == await b.settle() == 0
    assert [row["host"] for row in await a.call("endpoint.list")] == ["h1", "h2"]
    with pytest.raises(InUse, match="belongs to h1"):
        await b.call("network.connect", network="net", containers=[b.add("d")], ip=["10.64.0.9"])


async def test_without_the_store_containers_come_and_go() -> None:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan")
    await a.call("network.connect", network="net", containers=[a.add("c1")])
    a.cluster.cut = True
    (row,) = await a.call("network.connect", network="net", containers=[a.add("c2")])
    assert row["addresses"] == ["10.64.0.3/24"]
    await a.call("network.disconnect", network="net", containers=["c1"])
    with pytest.raises(Unreachable):
        await a.call("network.create", name="other")
    await a.start()
    assert [row["container"] for row in await a.call("endpoint.list")] == ["netns:c2"], "also after a restart"
    assert (await a.call("status"))["store"]["reachable"] is False
    a.cluster.cut = False
    await a.engine.publisher.flush()
    a.engine.publisher.everything()
    await a.engine.publisher.flush()
    assert [row["container"] for row in await b.call("endpoint.list")] == ["netns:c2"]


async def test_nobody_waits_for_what_waits_for_the_store() -> None:
    host = await one()
    await host.call("network.create", name="net")
    host.cluster.cut = True
    async with host.engine.host.lock:
        for operation, parameters in {
            "network.create": {"name": "other"},
            "network.remove": {"names": ["net"]},
            "network.prune": {},
            "network.expose": {"name": "net"},
            "host.remove": {"names": ["h9"]},
        }.items():
            with pytest.raises(Unreachable):
                await asyncio.wait_for(host.call(operation, **parameters), 1)


async def test_a_store_that_lost_its_data_gets_it_back() -> None:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan")
    for host in (a, b):
        await host.call("network.connect", network="net", containers=[host.add("c")])
    for host in (a, b):
        await host.settle()
    before = [await host.call("endpoint.list") for host in (a, b)]
    inspected = await a.call("network.inspect", names=["net"])
    empty = MemoryStore()
    for host in (a, b):
        host.cluster.inner = empty
    await a.start()
    await b.settle()
    for host in (a, b):
        host.engine.publisher.everything()
        await host.engine.publisher.flush()
        assert await host.settle() == 0, "the kernel had all of it all the time"
    await a.settle()
    assert [await host.call("endpoint.list") for host in (a, b)] == before
    assert await a.call("network.inspect", names=["net"]) == inspected
    assert (await b.call("network.create", name="other"))["number"] == 2


async def test_an_old_picture_of_the_cluster_hides_nothing_new() -> None:
    host = await one()
    old = await host.cluster.read("")
    await host.call("network.create", name="net")
    await host.engine.host.take(old)
    assert [network["name"] for network in await host.call("network.list")] == ["net"]


async def test_a_container_that_comes_back_is_attached_as_it_was() -> None:
    host = await one()
    await host.call("network.create", name="net")
    (before,) = await host.call("network.connect", network="net", containers=[host.add("c1")], publish=["8080:80"])
    host.remove("c1")
    await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container="netns:c1", sandbox=None))
    (gone,) = await host.call("endpoint.list")
    assert (gone["state"], gone["addresses"]) == ("down", before["addresses"])
    (other,) = await host.call("network.connect", network="net", containers=[host.add("c2")])
    assert other["addresses"] != before["addresses"], "its address is kept for it"
    host.add("c1")
    back = SandboxEvent(container="netns:c1", sandbox=await host.runtime.find("c1"))
    await host.engine.endpoints.following.sandbox_changed(back)
    (after, _) = await host.call("endpoint.list")
    assert {k: after[k] for k in ("addresses", "mac", "ports", "state")} == {
        k: before[k] for k in ("addresses", "mac", "ports", "state")
    }
    assert await host.settle() == 0


async def test_what_happened_while_nobody_looked() -> None:
    host = await one()
    await host.call("network.create", name="net")
    await host.call("network.connect", network="net", containers=[host.add("c1"), host.add("c2")])
    host.remove("c1")
    host.remove("c2")
    host.add("c2")
    await host.start()
    await host.settle()
    assert [row["state"] for row in await host.call("endpoint.list")] == ["down", "up"]
    assert await host.settle() == 0


async def test_publish_and_unpublish() -> None:
    host = await one()
    await host.call("network.create", name="net")
    await host.call("network.connect", network="net", containers=[host.add("c1"), host.add("c2")])
    before = host.state()[HOST]
    await host.call("endpoint.publish", container="c1", ports=["8000-8009:80-89/udp"])
    with pytest.raises(InUse, match="published already, by netns:c1"):
        await host.call("endpoint.publish", container="c2", ports=["127.0.0.1:8005:80/udp"])
    assert await host.settle() == 0
    await host.call("endpoint.unpublish", container="c1", ports=["8000-8009:80-89/udp"])
    assert host.state()[HOST] == before
    with pytest.raises(NotFound, match="does not publish"):
        await host.call("endpoint.unpublish", container="c1", ports=["8000:80/udp"])


async def test_a_host_that_is_removed_gives_its_blocks_back() -> None:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan")
    await b.call("network.connect", network="net", containers=[b.add("c")])
    await a.call("host.remove", names=["h2"])
    assert await a.call("host.list") == [r for r in await a.call("host.list") if r["name"] == "h1"]
    assert await a.call("endpoint.list") == []
    (row,) = await a.call("network.connect", network="net", containers=[a.add("c")])
    assert row["addresses"] == ["10.64.0.2/24"]


async def test_apply_makes_all_of_it_or_nothing() -> None:
    host = await one()
    host.add("c1")
    text = "networks:\n  a: {}\n  b: {internal: true}\ncontainers:\n  netns:c1: {networks: {a: {publish: ['80:80']}, b: {}}}\n"
    planned = (await host.call("plan", document=text))["changes"]
    assert [step["text"].split()[:2] for step in planned] == [["+", "network"]] * 2 + [["+", "endpoint"]] * 2
    assert await host.call("network.list") == []
    broken = text + "  netns:nobody: {networks: {a: {}}}\n"
    before = host.state()
    with pytest.raises(NotFound, match="nobody"):
        await host.call("apply", document=broken)
    assert await host.call("network.list") == []
    lo = ("link state", Netns("/run/fake/netns/c1"), "lo")
    after = host.state()
    after[Netns("/run/fake/netns/c1")][lo] = before[Netns("/run/fake/netns/c1")][lo]
    assert after == before
    assert (await host.call("apply", document=text))["changes"] == planned
    assert (await host.call("apply", document=text))["changes"] == []


async def test_uninstall_leaves_nothing_and_shows_it_first() -> None:
    a, b = await members(2)
    before = a.state()[HOST]
    await a.call("network.create", name="net", backend="vxlan")
    await a.call("network.connect", network="net", containers=[a.add("c1")], publish=["8080:80"])
    held = a.state()
    planned = (await a.call("uninstall", dry_run=True))["changes"]
    assert a.state() == held
    assert (await a.call("uninstall"))["changes"] == planned
    assert a.state()[HOST] == before
    assert [row["name"] for row in await b.call("host.list")] in ([], ["h2"])
    assert await b.call("endpoint.list") == []
