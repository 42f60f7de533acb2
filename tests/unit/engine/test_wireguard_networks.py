"""Networks of the backend `wireguard`: whose keys leases have, and what becomes of hosts without one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wefted.errors import Unsupported, UsageError
from wefted.model.objects import HOST
from wefted.model.wireguard import Wireguard, WireguardPeer

from .cluster import Member, members

LACKING = "this kernel has no wireguard, and wireguard-go is not installed (apt-get install wireguard-go)"


@pytest.fixture
async def hosts() -> list[Member]:
    """Two hosts with a container each in the network `sealed`."""
    found = await members(2)
    await found[0].call("network.create", name="sealed", backend="wireguard")
    for host in found:
        await host.call("network.connect", network="sealed", containers=[host.add("c")])
    for host in found:
        await host.settle()
    return found


def peers(host: Member) -> dict[str, list[str]]:
    found = host.kernel.read(HOST).objects.values()
    return {item.public_key: [str(b) for b in item.allowed] for item in found if isinstance(item, WireguardPeer)}


def device(host: Member) -> Wireguard:
    (found,) = (item for item in host.kernel.read(HOST).objects.values() if isinstance(item, Wireguard))
    return found


def lack(host: Member, reason: str) -> None:
    features = {**host.kernel.facts.features, "wireguard": reason}
    host.kernel.facts = replace(host.kernel.facts, features=features)
    host.engine.host.facts = replace(host.engine.host.facts, features=features)


async def test_each_host_has_the_others_key_from_its_lease(hosts: list[Member]) -> None:
    one, two = hosts
    assert device(one).public_key == one.public_key("")
    assert peers(one) == {two.public_key(""): ["10.64.1.0/24"]}
    assert peers(two) == {one.public_key(""): ["10.64.0.0/24"]}
    (found,) = await one.call("network.inspect", names=["sealed"])
    assert {lease["data"]["public_key"] for lease in found["leases"]} == {host.public_key("") for host in hosts}


async def test_a_restart_changes_nothing(hosts: list[Member]) -> None:
    await hosts[0].start()
    assert await hosts[0].settle() == 0


async def test_a_host_with_another_key_says_so(hosts: list[Member]) -> None:
    one, two = hosts
    one.life = 2
    await one.start()
    await one.settle()
    await one.engine.endpoints._addressing.refresh()
    await two.settle()
    assert device(one).public_key == one.public_key("")
    assert peers(two) == {one.public_key(""): ["10.64.0.0/24"]}


async def test_a_damaged_key_gives_no_block_and_takes_no_other_network_along(hosts: list[Member]) -> None:
    one = hosts[0]
    one.life = 0
    await one.start()
    await one.call("network.create", name="sealed2", backend="wireguard")
    with pytest.raises(UsageError, match="has no WireGuard key"):
        await one.call("network.connect", network="sealed2", containers=[one.add("d")])
    await one.call("network.create", name="web", backend="vxlan")
    await one.call("network.connect", network="web", containers=[one.add("e")])
    await one.settle()
    reasons = {item["reason"] for item in (await one.call("status"))["unreachable"]}
    assert reasons == {"this host has no WireGuard key yet"}


async def test_without_kernel_and_program_nothing_is_made(hosts: list[Member]) -> None:
    host = hosts[0]
    lack(host, LACKING)
    before = host.state()
    with pytest.raises(Unsupported, match="wireguard-go is not installed") as refused:
        await host.call("network.create", name="sealed2", backend="wireguard")
    assert refused.value.hint == "apt-get install wireguard-go"
    with pytest.raises(Unsupported, match="wireguard-go is not installed"):
        await host.call("network.connect", network="sealed", containers=[host.add("d")])
    assert [network["name"] for network in await host.call("network.list")] == ["sealed"]
    assert {ns: found for ns, found in host.state().items() if ns in before} == before


async def test_a_program_that_is_installed_later_is_found(hosts: list[Member]) -> None:
    host = hosts[0]
    known = host.kernel.facts
    lack(host, LACKING)
    host.kernel.facts = known
    await host.call("network.connect", network="sealed", containers=[host.add("d")])


async def test_status_says_who_was_met(hosts: list[Member]) -> None:
    (row,) = (await hosts[0].call("status"))["tunnels"]
    assert (row["link"], row["public_key"]) == (device(hosts[0]).name, hosts[0].public_key(""))
    assert row["peers"] == [{"public_key": hosts[1].public_key(""), "allowed": ["10.64.1.0/24"], "handshake": None}]
