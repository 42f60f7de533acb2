"""Containers in bridges that are not ours, with addresses that the user chose: nothing of the bridge changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, ping, wait_for, wefted

pytestmark = pytest.mark.lab

_COUNTING = ("timer", "learned", "topology_change", "_id")
"""What a bridge counts while it works, and the identifiers of the spanning tree, which it has only while it has ports."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("guests"), 2) as up:
        yield up


def bridge(host: Host, name: str, *addresses: str, mtu: int = 1500) -> None:
    """Make a bridge by hand, as Docker or an administrator does."""
    host.run(["ip", "link", "add", name, "mtu", str(mtu), "type", "bridge"])
    for address in addresses:
        host.run(["ip", "addr", "add", address, "dev", name, "nodad"])
    host.run(["ip", "link", "set", name, "up"])


def looks(host: Host, name: str) -> dict[str, Any]:
    """Return everything that `ip -d` tells of a link, without its counters and its carrier."""
    shown: dict[str, Any] = json.loads(host.run(["ip", "-d", "-j", "addr", "show", "dev", name]).stdout)[0]
    fixed = {key: shown[key] for key in ("ifname", "mtu", "address", "linkinfo")}
    fixed["linkinfo"]["info_data"] = {
        key: value for key, value in shown["linkinfo"]["info_data"].items() if not any(w in key for w in _COUNTING)
    }
    fixed["addresses"] = [a["local"] for a in shown["addr_info"] if a["scope"] == "global"]
    return fixed


def routes(host: Host, name: str, family: str = "-4") -> list[dict[str, Any]]:
    """Return the default routes of a container, the one that is used first."""
    found = host.run(["ip", family, "-j", "-n", name, "route", "show", "default"]).stdout
    return list(json.loads(found or "[]"))


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_a_foreign_bridge_keeps_its_mac_and_mtu(lab: Lab, mtu: int) -> None:
    h1 = lab.host("h1")
    name, net = f"br{mtu}", f"guests{mtu}"
    bridge(h1, name, f"172.{mtu // 500}.0.1/16", mtu=mtu)
    before = looks(h1, name)
    wefted(h1, "network", "create", net, "-o", f"bridge={name}", "--subnet", "none")
    for number in (2, 3):
        guest = container(h1, f"g{mtu}-{number}")
        wefted(h1, "network", "connect", net, guest, "--ip", f"172.{mtu // 500}.0.{number}/16", "--ifname", "eth0")
    assert looks(h1, name) == before
    assert ping(h1, f"g{mtu}-2", f"172.{mtu // 500}.0.3")
    assert ping(h1, f"g{mtu}-2", f"172.{mtu // 500}.0.1", mtu - 28)
    assert wefted(h1, "plan") == {"changes": []}
    for number in (2, 3):
        wefted(h1, "network", "disconnect", net, f"netns:g{mtu}-{number}")
    assert looks(h1, name) == before
    wefted(h1, "network", "rm", net)
    assert looks(h1, name) == before


def test_on_the_bridge_of_docker_a_container_is_reached_and_gets_out(lab: Lab) -> None:
    """The host is the gateway, so it translates for our containers; others in that bridge are left alone."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    bridge(h1, "docker0", "172.17.0.1/16")
    h1.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    wefted(h1, "network", "create", "old", "-o", "bridge=docker0", "--subnet", "172.17.0.0/16", "--gateway", "172.17.0.1")
    (row,) = wefted(h1, "network", "connect", "old", container(h1, "web2"), "--publish", "8181:80", "--ifname", "eth0")
    assert row["addresses"] == ["172.17.0.2/16"]
    assert [r["gateway"] for r in routes(h1, "web2")] == ["172.17.0.1"]
    assert ping(h1, "web2", str(h2.address))
    server = h1.popen(["ip", "netns", "exec", "web2", "python3", "-m", "http.server", "80"])
    try:
        url = f"http://{h1.address}:8181/"
        wait_for(lambda: h2.run(["curl", "-sf", "-o", "/dev/null", url], check=False).returncode == 0, 5, "the port answers")
    finally:
        server.kill()
        server.wait()
    elements = h1.run(["nft", "list", "table", "inet", "wefted"]).stdout
    assert "172.17.0.0/16" not in elements.partition("set masquerade4")[2].partition("}")[0]


def test_a_network_without_subnets_takes_addresses_as_they_are_told(lab: Lab) -> None:
    h1 = lab.host("h1")
    wefted(h1, "network", "create", "told", "--subnet", "none", "-o", "name=brtold")
    for number in (1, 2):
        wefted(h1, "network", "connect", "told", container(h1, f"t{number}"), "--ip", f"192.168.7.{number}/24")
    assert h1.run(["ip", "link", "show", "brtold"]).returncode == 0
    assert ping(h1, "t1", "192.168.7.2")
    taken = wefted(h1, "network", "connect", "told", container(h1, "t3"), "--ip", "192.168.7.1/24", check=False)
    assert (taken.returncode, "belongs to netns:t1" in taken.stderr) == (2, True)
    bare = wefted(h1, "network", "connect", "told", "netns:t3", "--ip", "192.168.7.3", check=False)
    assert (bare.returncode, "its prefix length is missing" in bare.stderr) == (2, True)
    again = wefted(h1, "network", "connect", "told", "netns:t1", "--ip", "192.168.7.1/24")
    assert again[0]["addresses"] == ["192.168.7.1/24"]
    assert wefted(h1, "plan") == {"changes": []}


def test_a_default_route_that_is_taken_comes_back(lab: Lab) -> None:
    """Ours stands before the one that is there, which stays. A gateway outside of the prefix is on the link."""
    h1 = lab.host("h1")
    name = container(h1, "d1")
    for words in (
        "link add dev old0 type veth peer name old1", "link set old0 up", "link set old1 up", "addr add 10.1.1.2/24 dev old0",
        "-6 addr add fd01::2/64 dev old0 nodad", "route add default via 10.1.1.1", "-6 route add default via fd01::1",
    ):  # fmt: skip
        h1.run(["ip", "-n", "d1", *words.split()])
    before = {family: routes(h1, "d1", family) for family in ("-4", "-6")}
    wefted(h1, "network", "create", "taken", "--subnet", "none")
    wefted(
        h1, "network", "connect", "taken", name, "--ip", "10.2.2.2/24", "--ip", "fd02::2/64", "--gateway", "10.9.9.9",
        "--gateway", "fd02::1", "--default-route", "take",
    )  # fmt: skip
    assert routes(h1, "d1")[0]["gateway"] == "10.9.9.9"
    for target in ("8.8.8.8", "2001:db8::1"):
        assert "dev eth0" in h1.run(["ip", "-n", "d1", "route", "get", target]).stdout
    assert wefted(h1, "plan") == {"changes": []}
    wefted(h1, "network", "disconnect", "taken", name)
    assert {family: routes(h1, "d1", family) for family in ("-4", "-6")} == before


def test_one_container_has_several_interfaces_in_a_network(lab: Lab) -> None:
    h1 = lab.host("h1")
    name = container(h1, "s1")
    wefted(h1, "network", "create", "several", "--subnet", "10.83.0.0/24")
    wefted(h1, "network", "connect", "several", name)
    (second,) = wefted(h1, "network", "connect", "several", name, "--another", "--ifname", "eth7")
    (again,) = wefted(h1, "network", "connect", "several", name, "--another", "--ifname", "eth7")
    assert (second["ifname"], again["id"]) == ("eth7", second["id"])
    assert {row["ifname"] for row in wefted(h1, "ps") if row["container"] == name} == {"eth0", "eth7"}
    refused = wefted(h1, "network", "disconnect", "several", name, check=False)
    assert (refused.returncode, "choose by --ifname: eth0, eth7" in refused.stderr) == (2, True)
    wefted(h1, "network", "disconnect", "several", name, "--ifname", "eth0")
    assert wefted(h1, "plan") == {"changes": []}
    assert ping(h1, "s1", "10.83.0.1")


def test_neighbours_learn_the_new_mac_at_once(lab: Lab) -> None:
    """An address moves to a container with another MAC; who remembers the old one must not go on with it."""
    h1 = lab.host("h1")
    wefted(h1, "network", "create", "moving", "--subnet", "none", "-o", "name=brmoving")
    wefted(h1, "network", "connect", "moving", container(h1, "n0"), "--ip", "10.84.0.9/24", "--ip", "fd84::9/64")
    for number, mac in enumerate(("02:00:00:00:00:0a", "02:00:00:00:00:0b")):
        name = container(h1, f"n{number + 1}")
        wefted(
            h1, "network", "connect", "moving", name, "--ip", "10.84.0.1/24", "--ip", "fd84::1/64", "--mac", mac
        )  # fmt: skip
        for address in ("10.84.0.1", "fd84::1"):
            assert ping(h1, "n0", address)
            shown = h1.run(["ip", "-n", "n0", "neigh", "show", address]).stdout
            assert mac in shown, shown
        wefted(h1, "network", "disconnect", "moving", name)


def test_the_links_of_a_host_are_told(lab: Lab) -> None:
    h2 = lab.host("h2")
    bridge(h2, "br-told")
    wefted(h2, "network", "create", "l", "--subnet", "10.85.0.0/24")
    wefted(h2, "network", "connect", "l", container(h2, "l1"))
    call = "import json; from wefted.client import complete, RemoteEngine; from wefted.config import Config; "
    asked = h2.run(
        [sys.executable, "-c", call + "print(json.dumps(complete(RemoteEngine(str(Config().socket)).call('link.list', {}))))"]
    )
    rows = {row["name"]: row for row in json.loads(asked.stdout)}
    assert (rows["br-told"]["kind"], rows["br-told"]["ours"]) == ("bridge", False)
    assert {row["kind"] for row in rows.values() if row["ours"]} == {"bridge", "veth"}
    assert rows["lo"]["kind"] == "loopback"


def test_an_address_that_a_stranger_has_is_not_given_out(lab: Lab) -> None:
    """In somebody else's bridge others have addresses of which no record tells: they are asked."""
    h2 = lab.host("h2")
    bridge(h2, "brstrange", "172.27.0.1/24")
    for number in (2, 3):
        name = f"st{number}"
        container(h2, name)
        h2.run(["ip", "link", "add", f"v{name}", "master", "brstrange", "type", "veth", "peer", "name", "eth0", "netns", name])
        h2.run(["ip", "link", "set", f"v{name}", "up"])
        h2.run(["ip", "-n", name, "addr", "add", f"172.27.0.{number}/24", "dev", "eth0"])
        h2.run(["ip", "-n", name, "link", "set", "eth0", "up"])
    wait_for(lambda: ping(h2, "st2", "172.27.0.3"), 5, "the strangers are there")
    words = ["-o", "bridge=brstrange", "--subnet", "172.27.0.0/24", "--gateway", "172.27.0.1"]
    wefted(h2, "network", "create", "strange", *words)
    (first,) = wefted(h2, "network", "connect", "strange", container(h2, "st4"))
    assert first["addresses"] == ["172.27.0.4/24"]
    assert ping(h2, "st4", "172.27.0.2")
    (told,) = wefted(h2, "network", "connect", "strange", container(h2, "st5"), "--ip", "172.27.0.9")
    assert told["addresses"] == ["172.27.0.9/24"]
    assert wefted(h2, "plan") == {"changes": []}
