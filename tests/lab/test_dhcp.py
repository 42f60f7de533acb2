"""DHCP with a real server: dnsmasq in a LAN behind a link of a virtual host, its leases file and its log as witnesses."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .dhcp_server import DhcpServer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PATIENCE = 8
"""Seconds that the agent of these tests waits for a lease."""
OPTIONS = ("--dhcp-option=58,3", "--dhcp-option=59,90", "--dhcp-option=6,192.0.2.53", "--dhcp-option=15,lan.example")
"""T1 after 3 seconds, the least that dnsmasq does not replace, T2 after 90; a name server and a domain."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab.up(lab_name("dhcp"), 1, agent=False) as lab:
        h1 = lab.host("h1")
        start_agent(h1)
        yield h1


@pytest.fixture
def server(host: Host, tmp_path: Path) -> Iterator[DhcpServer]:
    made = DhcpServer.behind_link(host, tmp_path, *OPTIONS)
    yield made
    made.stop()


def start_agent(host: Host) -> None:
    host.run(["env", f"WEFTED_DHCP_TIMEOUT={PATIENCE}", "wefted", "up"])


def kill_agent(host: Host) -> None:
    """End the agent as a crash does."""
    pid = wefted(host, "status")["agent"]["pid"]
    host.run(["kill", "-9", str(pid)])
    wait_for(lambda: host.run(["kill", "-0", str(pid)], check=False).returncode != 0, 5, "the agent to be gone")


def network(server: DhcpServer, driver: str = "macvlan") -> str:
    """Make a network in the LAN of the server; return its name."""
    host, name = server.host, f"n{server.name}"
    if driver in wefted(host, "status")["kernel"]["missing"]:
        pytest.skip(f"this kernel has no {driver}")
    key = "device" if driver == "phys" else "parent"
    wefted(host, "network", "create", name, "--driver", driver, "-o", f"{key}={server.link}", "-o", "ipam=dhcp")
    return name


def connect(server: DhcpServer, net: str, *words: str) -> tuple[str, dict[str, Any]]:
    """Attach a new container; return its name and its endpoint."""
    name = f"c{server.name}"
    (row,) = wefted(server.host, "network", "connect", net, container(server.host, name), *words)
    return name, row


def row_of(host: Host, name: str) -> dict[str, Any]:
    return next(r for r in wefted(host, "ps") if r["container"] == f"netns:{name}")


def addresses(host: Host, name: str) -> list[str]:
    """Return the IPv4 addresses that a container really has."""
    links = json.loads(host.run(["ip", "-n", name, "-4", "-j", "addr"]).stdout)
    return [f"{a['local']}/{a['prefixlen']}" for link in links if link["ifname"] != "lo" for a in link["addr_info"]]


def links(host: Host, *words: str) -> set[str]:
    return {link["ifname"] for link in json.loads(host.run(["ip", *words, "-j", "link"]).stdout)}


def whole_life(server: DhcpServer, net: str, *words: str) -> None:
    """Lease, use, renew past T1, release."""
    host = server.host
    name, row = connect(server, net, *words)
    address = address_of(row)
    assert row["addresses"] == addresses(host, name) == [f"{address}/24"]
    assert server.leases()[address][0] == name, "the host name was sent"
    assert ping(host, name, server.address)
    assert wefted(host, "plan") == {"changes": []}
    wait_for(lambda: server.said("DHCPACK") >= 3, 15, "two renewals, each at T1")
    wait_for(
        lambda: row_of(host, name)["dhcp"]["lease"]["obtained"] > row["dhcp"]["lease"]["obtained"], 2, "the record to follow"
    )
    assert server.said("DHCPDISCOVER") == 1, server.log()
    assert addresses(host, name) == [f"{address}/24"]
    wefted(host, "network", "disconnect", net, name)
    wait_for(lambda: server.leases() == {}, 5, "the release")
    assert server.said("DHCPRELEASE") == 1
    assert addresses(host, name) == []
    host.run(["ip", "netns", "del", name])


@pytest.mark.parametrize("driver", ["macvlan", "phys", "ipvlan"])
def test_a_lease_lives_from_its_offer_to_its_release(server: DhcpServer, driver: str) -> None:
    before = links(server.host)
    whole_life(server, network(server, driver))
    assert links(server.host) == before


def test_on_a_bridge_the_server_may_be_a_container(host: Host, tmp_path: Path) -> None:
    server = DhcpServer.in_container(host, tmp_path, *OPTIONS)
    try:
        whole_life(server, server.link, "--dhcp")
    finally:
        server.stop()


def test_gateway_routes_and_name_server_come_from_the_lease(host: Host, tmp_path: Path) -> None:
    classless = "--dhcp-option=121,10.8.0.0/16,192.168.{n}.9,0.0.0.0/0,192.168.{n}.1"
    server = DhcpServer.behind_link(host, tmp_path, *OPTIONS, classless)
    gateway, router = server.address, f"{server.prefix}.9"
    try:
        name, row = connect(server, network(server))
        routes = host.run(["ip", "-n", name, "route"]).stdout
        assert f"default via {gateway} dev eth0" in routes
        assert f"10.8.0.0/16 via {router} dev eth0" in routes
        assert row["gateways"] == [gateway]
        resolver = host.root / f"etc/netns/{name}/resolv.conf"
        wait_for(resolver.exists, 5, "the resolv.conf")
        assert "nameserver 192.0.2.53\n" in resolver.read_text()
        assert "lan.example" in resolver.read_text()
        assert wefted(host, "dns", "lookup", name)["addresses"] == [address_of(row)]
    finally:
        server.stop()


def test_a_namespace_that_is_made_again_has_its_address_within_a_second(server: DhcpServer) -> None:
    host = server.host
    name, row = connect(server, network(server))
    host.run(["ip", "netns", "del", name])
    container(host, name)
    took = wait_for(lambda: addresses(host, name) == row["addresses"], 1, "the address")
    wait_for(lambda: row_of(host, name)["dhcp"]["identity"] != row["dhcp"]["identity"], 5, "the server to confirm it")
    assert (took < 1, server.said("DHCPDISCOVER"), len(server.leases())) == (True, 1, 1)
    assert ping(host, name, server.address)


def test_after_kill_9_the_next_agent_has_the_lease(server: DhcpServer) -> None:
    host = server.host
    name, row = connect(server, network(server))
    kill_agent(host)
    assert addresses(host, name) == row["addresses"], "what was made stays"
    before = server.said("DHCPACK")
    start_agent(host)
    wait_for(lambda: server.said("DHCPACK") >= before + 2, 10, "a confirmation and a renewal")
    assert (server.said("DHCPDISCOVER"), row_of(host, name)["addresses"]) == (1, row["addresses"])
    wefted(host, "network", "disconnect", f"n{server.name}", name)
    wait_for(lambda: server.leases() == {}, 5, "the release")


def test_a_server_that_gives_another_address_is_followed(server: DhcpServer) -> None:
    host = server.host
    name, row = connect(server, network(server))
    server.renumber(200, 220)
    wait_for(lambda: bool(set(addresses(host, name)) - set(row["addresses"])), 15, "another address")
    (address,) = addresses(host, name)
    assert int(address.split("/")[0].rpartition(".")[2]) >= 200
    wait_for(lambda: row_of(host, name)["addresses"] == [address], 2, "the record")
    assert server.said("DHCPNAK") == 1
    assert ping(host, name, server.address)
    assert wefted(host, "plan") == {"changes": []}


def test_a_silent_server_is_an_error_in_time_and_nothing_is_left(server: DhcpServer) -> None:
    host, net = server.host, network(server)
    server.stop()
    name = f"c{server.name}"
    container(host, name)
    before, start = links(host), time.monotonic()
    failed = wefted(host, "network", "connect", net, f"netns:{name}", check=False)
    assert time.monotonic() - start < PATIENCE + 3
    assert failed.returncode == 1
    assert f"got no address in network '{net}' within {PATIENCE} s: no server has made an offer" in failed.stderr
    assert (links(host), links(host, "-n", name)) == (before, {"lo"})
    assert [r for r in wefted(host, "ps") if r["container"] == f"netns:{name}"] == []
    wefted(host, "network", "rm", net)


def test_without_an_agent_the_address_is_checked_leased_and_kept_by_the_next_one(server: DhcpServer) -> None:
    host, net = server.host, network(server)
    name, row = connect(server, net)
    wefted(host, "network", "disconnect", net, name)
    taken = row["addresses"][0]
    for words in (
        f"ip netns add {name}x",
        f"ip link add eth0 link {server.link} netns {name}x type macvlan mode bridge",
        f"ip -n {name}x addr add {taken} dev eth0",
        f"ip -n {name}x link set eth0 up",
    ):
        host.run(words.split())
    wefted(host, "down")
    host.run(["env", "WEFTED_DHCP_TIMEOUT=25", "wefted", "network", "connect", net, f"netns:{name}"])
    assert server.said("DHCPDECLINE") == 1
    (address,) = addresses(host, name)
    assert address != taken
    before = server.said("DHCPACK")
    start_agent(host)
    wait_for(lambda: server.said("DHCPACK") >= before + 2, 10, "a confirmation and a renewal")
    assert addresses(host, name) == [address]


@pytest.mark.parametrize("client", ["udhcpc", "udhcpc-f", "dhclient", "dhclient-f", "dhcpcd", "dhcpcd-f"])
def test_another_client_may_ask(server: DhcpServer, client: str) -> None:
    program = client.removesuffix("-f")
    if shutil.which(program) is None and not (program == "udhcpc" and shutil.which("busybox")):
        pytest.skip(f"{program} is not installed")
    host, net = server.host, network(server)
    resolver = (host.root / "etc/resolv.conf").read_bytes()
    further = {"udhcpc": ["-A", "1"], "dhcpcd": ["-A"]}.get(program, [])  # of dhcpcd: no check by ARP, which takes it 5 s
    options = ["--dhcp", "--dhcp-client", client, *(word for option in further for word in ("--dhcp-option", option))]
    name, row = connect(server, net, *options)
    assert row["addresses"] == addresses(host, name)
    lease_name, client_id = server.leases()[address_of(row)]
    assert (lease_name, client_id[:2]) == (name, "ff")
    assert ping(host, name, server.address)
    assert wefted(host, "plan") == {"changes": []}
    pid = row["dhcp"]["pid"]
    assert bool(pid) == client.endswith("-f")
    if pid:
        words = (host.root / f"proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert any(program.encode() in word for word in words)
        if program != "udhcpc":  # which extends at half of the lease, whatever T1 is
            wait_for(lambda: server.said("DHCPACK") >= 2, 15, "the program to renew")
    wefted(host, "network", "disconnect", net, name)
    assert server.leases() == {}
    assert not pid or not (host.root / f"proc/{pid}").exists()
    assert sorted((host.root / "run/wefted").glob("dhcp/**/*")) == []
    assert (host.root / "etc/resolv.conf").read_bytes() == resolver


def test_a_program_ends_with_its_container_and_begins_again_with_it(server: DhcpServer) -> None:
    if shutil.which("dhclient") is None:
        pytest.skip("dhclient is not installed")
    host = server.host
    name, row = connect(server, network(server), "--dhcp", "--dhcp-client", "dhclient-f")
    process = host.root / f"proc/{row['dhcp']['pid']}"
    host.run(["ip", "netns", "del", name])
    wait_for(lambda: not process.exists(), 5, "the program to end: it would keep the namespace")
    container(host, name)
    wait_for(lambda: row_of(host, name)["dhcp"]["pid"] not in (0, row["dhcp"]["pid"]), 10, "another one")
    assert addresses(host, name) == row["addresses"]
    wefted(host, "network", "disconnect", f"n{server.name}", name)
