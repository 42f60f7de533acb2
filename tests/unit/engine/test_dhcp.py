"""Endpoints whose address a DHCP server gives: the engine is the real one, the LAN and the kernel are in memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from wefted.engine.dhcp import client_id, hostname
from wefted.errors import InUse, NotFound, Unsupported, UsageError, WeftedError
from wefted.model.network import Endpoint
from wefted.model.objects import Netns
from wefted.services.dhcp import message as m
from wefted.services.dhcp.message import Kind, encode_routes

from .lan import ATTACHED, Lan, connect, endpoint, inside, one


async def test_a_lease_is_an_address_like_any_other() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    row = await connect(host)
    assert (row["addresses"], row["gateways"], row["default_route"]) == (["192.168.1.10/24"], ["192.168.1.1"], True)
    assert row["dhcp"]["lease"]["server"] == "192.168.1.1"
    assert lan.kinds() == ATTACHED
    assert lan.heard[0].text(m.HOSTNAME) == "c1"
    assert inside(host) == ["0.0.0.0/0 192.168.1.1", "192.168.1.10/24"]
    assert await host.settle() == 0
    assert [r["addresses"] for r in await host.call("dns.list")] == [["192.168.1.10"]]


async def test_disconnect_gives_the_lease_back_and_leaves_nothing() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    before = host.state()
    await connect(host)
    await host.call("network.disconnect", network="lan", containers=["c1"])
    assert (lan.kinds()[-1], lan.leases) == (Kind.RELEASE, {})
    after = host.state()
    after[Netns("/run/fake/netns/c1")] = before[Netns("/run/fake/netns/c1")]  # its loopback stays up
    assert after == before


async def test_a_silent_server_is_an_error_in_time_and_nothing_is_left() -> None:
    lan = Lan()
    lan.silent = True
    host = await one(lan, timeout=0.2)
    host.add("c1")
    before = host.state()
    with pytest.raises(
        WeftedError, match=r"netns:c1 got no address in network 'lan' within 0\.2 s: no server has made an offer"
    ):
        await connect(host)
    after = host.state()
    after[Netns("/run/fake/netns/c1")] = before[Netns("/run/fake/netns/c1")]
    assert after == before
    assert await host.call("endpoint.list") == []
    lan.silent, host.engine.host.dhcp_timeout = False, 5.0
    assert (await connect(host))["state"] == "up"


async def test_one_that_gets_nothing_takes_the_others_back() -> None:
    lan = Lan()
    host = await one(lan, timeout=1.0)
    for name in ("c1", "c2"):
        host.add(name)
    lan.gone.add(Netns("/run/fake/netns/c2"))
    with pytest.raises(WeftedError, match=r"netns:c2 got no address .* is gone"):
        await host.call("network.connect", network="lan", containers=["c1", "c2"])
    assert await host.call("endpoint.list") == []
    assert (lan.kinds()[-1], lan.leases) == (Kind.RELEASE, {})


async def test_an_address_that_somebody_has_is_declined() -> None:
    lan = Lan()
    lan.conflict = ip_address("192.168.1.10")  # type: ignore[assignment]
    host = await one(lan, timeout=1.0)
    host.add("c1")
    with pytest.raises(WeftedError, match=r"192\.168\.1\.10 was offered, but 02:00:00:00:00:99 has it"):
        await connect(host)
    assert Kind.DECLINE in lan.kinds()


async def test_routes_and_the_default_route_of_the_lease() -> None:
    lan = Lan()
    routes = {"10.8.0.0/16": "192.168.1.7", "172.16.0.0/12": "0.0.0.0", "0.0.0.0/0": "192.168.1.9"}
    lan.options[m.CLASSLESS_ROUTES] = encode_routes({ip_network(n): ip_address(v) for n, v in routes.items()})  # type: ignore[misc]
    host = await one(lan)
    host.add("c1")
    row = await connect(host, routes=["10.99.0.0/16@192.168.1.8"])
    assert row["gateways"] == ["192.168.1.9"]
    assert inside(host) == [
        "0.0.0.0/0 192.168.1.9", "10.8.0.0/16 192.168.1.7", "10.99.0.0/16 192.168.1.8", "172.16.0.0/12 None", "192.168.1.10/24",
    ]  # fmt: skip


async def test_a_second_network_leaves_the_default_route_where_it_is() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    await host.call("network.create", name="net")
    await host.call("network.connect", network="net", containers=["c1"])
    assert (await connect(host))["default_route"] is False
    await host.call("network.disconnect", network="net", containers=["c1"])
    assert endpoint(host).default_route
    assert "0.0.0.0/0 192.168.1.1" in inside(host)


async def test_ipv6_still_comes_from_the_network() -> None:
    lan = Lan()
    host = await one(lan)
    options = {"parent": "eth0", "ipam": "dhcp"}
    await host.call("network.create", name="dual", driver="macvlan", subnets=["fd77::/64"], options=options)
    (row,) = await host.call("network.connect", network="dual", containers=[host.add("c1")])
    address, other = row["addresses"]
    assert (address, ip_interface(other) in ip_network("fd77::/64")) == ("192.168.1.10/24", True)


async def test_on_a_network_with_subnets_dhcp_is_asked_for() -> None:
    lan = Lan()
    host = await one(lan)
    await host.call("network.create", name="both", driver="bridge", subnets=["192.168.1.0/24"])
    host.add("c1")
    (row,) = await host.call("network.connect", network="both", containers=["c1"], dhcp=True)
    assert row["addresses"] == ["192.168.1.10/24"]
    with pytest.raises(InUse):
        await host.call("network.connect", network="both", containers=["c1"], dhcp=True, dhcp_client="udhcpc")


@pytest.mark.parametrize(
    ("network", "wanted", "error", "words"),
    [
        ({"driver": "ptp"}, {}, Unsupported, "with driver ptp no DHCP server can be reached"),
        ({"driver": "host"}, {}, Unsupported, "with driver host"),
        ({"driver": "ipvlan", "options": {"parent": "eth0", "mode": "l3"}}, {}, Unsupported, "with driver ipvlan in mode l3"),
        ({"backend": "vxlan"}, {}, Unsupported, "not from DHCP"),
        ({}, {"ip": ["10.64.0.9"]}, UsageError, "10.64.0.9 cannot be asked for"),
        ({}, {"dhcp_client": "udhcp"}, UsageError, "there is no DHCP client 'udhcp', did you mean 'udhcpc'"),
        ({}, {"dhcp_options": ["-x"]}, UsageError, "our own DHCP client takes no options"),
        ({}, {"dhcp": False, "dhcp_client": "udhcpc"}, UsageError, "but no DHCP"),
        ({}, {"dhcp_client": "udhcpc"}, Unsupported, "runs no programs"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_changes(
    network: dict[str, Any], wanted: dict[str, Any], error: type[Exception], words: str
) -> None:
    host = await one(Lan())
    await host.call("network.create", name="net", **network)
    host.add("c1")
    with pytest.raises(error, match=words):
        await host.call("network.connect", network="net", containers=["c1"], **{"dhcp": True, **wanted})
    assert await host.call("endpoint.list") == []


async def test_an_unknown_way_to_get_addresses_is_refused() -> None:
    host = await one(Lan())
    with pytest.raises(UsageError, match="option ipam is 'static', not one of pool, dhcp"):
        await host.call("network.create", name="x", options={"ipam": "static"})


async def test_a_document_may_ask() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    text = "networks: {l2: {driver: macvlan, options: {parent: eth0}}}\ncontainers: {netns:c1: {networks: {l2: {dhcp: true}}}}"
    await host.call("apply", document=text)
    assert [str(a) for a in endpoint(host).addresses] == ["192.168.1.10/24"]


async def test_a_document_that_gets_no_address_leaves_nothing() -> None:
    lan = Lan()
    lan.silent = True
    host = await one(lan, timeout=0.1)
    host.add("c1")
    text = "networks: {l2: {driver: macvlan, options: {parent: eth0}}}\ncontainers: {netns:c1: {networks: {l2: {dhcp: true}}}}"
    with pytest.raises(WeftedError, match="got no address"):
        await host.call("apply", document=text)
    assert [n["name"] for n in await host.call("network.list")] == ["lan"]
    assert await host.call("endpoint.list") == []


async def test_uninstall_gives_leases_back() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    await connect(host)
    await host.call("uninstall")
    assert lan.leases == {}


# -- words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "aliases", "expected"),
    [
        ("netns:web1", (), "web1"),
        ("docker:web.example.org", (), "web"),
        ("path:/proc/7/ns/net", ("db.local",), "db"),
        ("path:/proc/7/ns/net", (), ""),
        ("netns:a_b", ("-x", "ok"), "ok"),
        ("netns:" + "a" * 64, (), ""),
    ],
)
def test_the_host_name_that_a_server_is_told(container: str, aliases: tuple[str, ...], expected: str) -> None:
    assert hostname(Endpoint(network="lan", container=container, aliases=aliases)) == expected


def test_the_client_identifier_is_the_endpoints_own() -> None:
    """RFC 4361: 255, four bytes, a DUID of type 4 with its sixteen bytes; the same whatever namespace or MAC it has."""
    one = Endpoint(network="lan", container="netns:c1")
    found = client_id("h1", one)
    assert (len(found), found[0], found[5:7]) == (23, 255, b"\0\4")
    assert client_id("h1", replace(one, identity="x", mac="02:00:00:00:00:07", ns=Netns("/x"))) == found
    assert len({found, client_id("h2", one), client_id("h1", replace(one, container="netns:c2"))}) == 3


def test_the_protocol_is_loaded_by_nobody_who_does_not_use_it() -> None:
    code = (
        "import sys, wefted.agent.main, wefted.wiring, wefted.cli.network\n"
        "rooms = ('wefted.services.dhcp', 'wefted.kernel.packet', 'wefted.kernel.program')\n"
        "print([name for name in sys.modules if name.startswith(rooms)])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


async def test_a_container_that_is_not_there_is_not_asked_for() -> None:
    lan = Lan()
    host = await one(lan)
    with pytest.raises(NotFound):
        await connect(host)
    assert lan.heard == []
