"""What `docker network` users type: option keys, named auxiliary addresses, filters, force; and options of a live network."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from wefted.errors import InUse, NotFound, UsageError
from wefted.model.link import Veth
from wefted.model.node import HostLink
from wefted.model.objects import HOST

from .cluster import Member, members

DOCKER = "com.docker.network."


async def one(**wanted: Any) -> Member:
    (host,) = await members(1)
    await host.call("network.create", name="net", **wanted)
    return host


async def test_docker_s_options_make_the_network_that_they_say() -> None:
    options = {
        f"{DOCKER}driver.mtu": "1400",
        f"{DOCKER}bridge.enable_icc": "false",
        f"{DOCKER}bridge.enable_ip_masquerade": "false",
        f"{DOCKER}container_iface_prefix": "net",
    }
    host = await one(options=options, subnets=["10.1.0.0/24"], auxiliary=["router=10.1.0.2", "10.1.0.3"])
    (network,) = await host.call("network.list")
    assert (network["mtu"], network["masquerade"], network["options"]) == (1400, False, {"icc": "off", "ifprefix": "net"})
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert (row["ifname"], row["addresses"]) == ("net0", ["10.1.0.4/24"])


@pytest.mark.parametrize("wanted", [{"ipv4": False}, {"options": {f"{DOCKER}enable_ipv4": "false"}}])
async def test_a_network_without_ipv4(wanted: dict[str, Any]) -> None:
    host = await one(**wanted)
    (network,) = await host.call("network.list")
    assert [ip_network(subnet["prefix"]).version for subnet in network["subnets"]] == [6]
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert [ip_interface(address).version for address in row["addresses"]] == [6]
    with pytest.raises(UsageError, match="shall have no IPv4"):
        await host.call("network.create", name="other", subnets=["10.1.0.0/24", "fd01::/64"], **wanted)
    with pytest.raises(UsageError, match="DHCP gives that"):
        await host.call(
            "network.create", name="other", driver="macvlan", ipv4=False, options={"parent": "eth0", "ipam": "dhcp"}
        )


LINKS = (HostLink(name="eth0"), HostLink(name="br.7", kind="bridge"), HostLink(name="br"), HostLink(name="eth0.9", ours=True))


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
@pytest.mark.parametrize(
    ("parent", "made"),
    [
        ("eth0.50", {"parent": "eth0", "tag": "50"}),
        ("eth0.9", {"parent": "eth0", "tag": "9"}),
        ("br.7", {"parent": "br.7"}),
        ("eth0.5000", {"parent": "eth0.5000"}),
        ("eth7.50", {"parent": "eth7.50"}),
    ],
)
async def test_a_parent_that_is_a_vlan_not_made_yet(driver: str, parent: str, made: dict[str, str]) -> None:
    (host,) = await members(1)
    host.kernel.facts = replace(host.kernel.facts, links=LINKS)
    await host.call("network.create", name="net", driver=driver, subnets=["10.1.0.0/24"], options={"parent": parent})
    (network,) = await host.call("network.list")
    assert network["options"] == made


async def test_an_option_and_a_flag_that_differ_are_refused() -> None:
    (host,) = await members(1)
    with pytest.raises(UsageError, match="an option says mtu 1400, and a flag says 1300"):
        await host.call("network.create", name="net", mtu=1300, options={f"{DOCKER}driver.mtu": "1400"})
    assert await host.call("network.list") == []


def isolated(host: Member) -> list[bool]:
    return [o.isolated for o in host.state()[HOST].values() if isinstance(o, Veth)]


@pytest.mark.parametrize("key", ["icc", f"{DOCKER}bridge.enable_icc"])
async def test_containers_are_kept_apart_and_brought_together_while_they_run(key: str) -> None:
    host = await one()
    await host.call("network.connect", network="net", containers=[host.add("c1"), host.add("c2")])
    await host.call("network.set", name="net", options={key: "off" if key == "icc" else "false"})
    assert isolated(host) == [True, True]
    await host.call("network.set", name="net", options={"icc": ""})
    assert isolated(host) == [False, False]
    assert (await host.call("network.list"))[0]["options"] == {}
    assert await host.settle() == 0


async def test_a_network_becomes_routed_and_translated_again() -> None:
    host = await one()
    routed = await host.call("network.set", name="net", options={"gateway_mode": "routed"})
    assert (routed["masquerade"], routed["exposed"]) == (False, True)
    nat = await host.call("network.set", name="net", options={f"{DOCKER}bridge.gateway_mode_ipv4": "nat"})
    assert (nat["masquerade"], nat["exposed"]) == (True, False)


async def test_another_address_for_ports_is_for_those_to_come() -> None:
    host = await one()
    await host.call("network.connect", network="net", containers=[host.add("c1")], publish=["80:80"])
    await host.call("network.set", name="net", options={"host_binding": "127.0.0.1"})
    row = await host.call("endpoint.publish", container="c1", ports=["81:81"])
    assert [port["host_ip"] for port in row["ports"]] == [None, "127.0.0.1"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ifprefix": "net"}, "cannot be changed"),
        ({"gateway_mode": "isolated"}, "its gateway cannot become isolated"),
        ({"gateway_mode": "bridge"}, "not one of nat, routed, isolated"),
        ({"icc": "maybe"}, "not one of on, off"),
        ({"ic": "off"}, "did you mean 'icc'"),
        ({f"{DOCKER}driver.mtu": "1400"}, "changed by a flag of its own"),
    ],
)
async def test_what_cannot_change_is_refused(options: dict[str, str], told: str) -> None:
    host = await one()
    before = await host.call("network.list")
    with pytest.raises(UsageError, match=told):
        await host.call("network.set", name="net", options=options, mtu=1300)
    assert await host.call("network.list") == before


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], ["blue", "lan", "red"]),
        (["label=team"], ["blue", "red"]),
        (["label=team=a"], ["blue"]),
        (["label!=team=a"], ["lan", "red"]),
        (["name=e"], ["blue", "red"]),
        (["driver=ptp"], ["lan"]),
        (["dangling=true"], ["blue", "lan"]),
        (["dangling=false"], ["red"]),
        (["label=team", "dangling=true"], ["blue"]),
    ],
)
async def test_filters_choose_what_is_listed_and_what_is_pruned(filters: list[str], names: list[str]) -> None:
    (host,) = await members(1)
    await host.call("network.create", name="blue", labels={"team": "a"})
    await host.call("network.create", name="red", labels={"team": "b"})
    await host.call("network.create", name="lan", driver="ptp")
    await host.call("network.connect", network="red", containers=[host.add("c1")])
    assert [row["name"] for row in await host.call("network.list", filters=filters)] == names
    removed = (await host.call("network.prune", filters=filters))["removed"]
    assert removed == [name for name in names if name != "red"]


@pytest.mark.parametrize(
    ("text", "told"), [("label", "not KEY=VALUE"), ("labl=x", "did you mean 'label'"), ("dangling=1", "true")]
)
async def test_a_filter_that_is_none(text: str, told: str) -> None:
    host = await one()
    with pytest.raises(UsageError, match=told):
        await host.call("network.prune", filters=[text])
    assert len(await host.call("network.list")) == 1


async def test_force_passes_over_what_is_not_there_and_over_nothing_else() -> None:
    host = await one()
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    with pytest.raises(NotFound):
        await host.call("network.disconnect", network="net", containers=["netns:c2", "netns:c1"])
    with pytest.raises(InUse):
        await host.call("network.remove", names=["gone", "net"], force=True)
    done = await host.call("network.disconnect", network="net", containers=["netns:c2", "netns:c1"], force=True)
    assert done == {"disconnected": ["netns:c1"]}
    assert await host.call("network.remove", names=["gone", "net"], force=True) == {"removed": ["net"]}


async def test_one_port_is_published_once() -> None:
    host = await one()
    with pytest.raises(UsageError, match="cannot be published beside"):
        await host.call("network.connect", network="net", containers=[host.add("c1")], publish=["80:80", "80:81"])
    await host.call("network.connect", network="net", containers=["netns:c1"], publish=["80:80"])
    for port in ("80:81", "127.0.0.1:80:80"):
        with pytest.raises(InUse, match="published already, by netns:c1"):
            await host.call("endpoint.publish", container="c1", ports=[port])


@pytest.mark.parametrize(
    ("sources", "told"), [(["none", "10.0.0.0/8"], "none stands alone"), (["here"], "here"), (["10.0.0.1/8"], "host bits")]
)
async def test_sources_that_are_none(sources: list[str], told: str) -> None:
    host = await one()
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    with pytest.raises(UsageError, match=told):
        await host.call("endpoint.publish", container="c1", ports=["80:80"], sources=sources)
    with pytest.raises(UsageError, match="there are none"):
        await host.call("network.connect", network="net", containers=[host.add("c2")], publish_from=["10.0.0.0/8"])
