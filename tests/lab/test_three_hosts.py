"""Three hosts on one etcd: addresses, reach, repair, life without the store, reboot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, rows_of, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

NETWORKS = {
    "routed": ["--backend", "vxlan"],
    "direct": ["--backend", "host-gw"],
    "flat": ["--backend", "vxlan", "-o", "layer=2"],
    "dual": ["--backend", "vxlan", "--ipv6"],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("three"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def rows(lab: Lab) -> dict[str, dict[str, dict[str, Any]]]:
    """network -> host -> endpoint: one container on each host in each network."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for network, words in NETWORKS.items():
        wefted(lab.host("h1"), "network", "create", network, *words)
        for host in lab.hosts:
            spec = container(host, network)
            found.setdefault(network, {})[host.name] = wefted(host, "network", "connect", network, spec)[0]
    return found


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [56, 1400, 8000])
def test_all_pairs_reach_each_other(lab: Lab, rows: dict[str, Any], network: str, size: int) -> None:
    versions = (4, 6) if network == "dual" else (4,)
    for a, b in permutations(rows[network], 2):
        for version in versions:
            target = address_of(rows[network][b], version)
            wait_for(lambda: ping(lab.host(a), network, target, size), 5, f"{a} -> {b} {target} with {size} bytes")  # noqa: B023


def test_addresses_are_unique(rows: dict[str, Any]) -> None:
    addresses = [a for members in rows.values() for row in members.values() for a in row["addresses"]]
    assert len(addresses) == len(set(addresses)) == 15


def test_networks_are_isolated(lab: Lab, rows: dict[str, Any]) -> None:
    assert not ping(lab.host("h1"), "routed", address_of(rows["direct"]["h1"]), deadline=1)
    assert not ping(lab.host("h1"), "routed", address_of(rows["flat"]["h2"]), deadline=1)


def test_every_host_sees_every_endpoint(lab: Lab, rows: dict[str, Any]) -> None:
    for host in lab.hosts:
        rows_of(host, 12)


def test_second_pass_changes_nothing(lab: Lab, rows: dict[str, Any]) -> None:
    for host in lab.hosts:
        assert wefted(host, "plan")["changes"] == []
        assert wefted(host, "apply")["changes"] == []


def test_the_mtu_follows_from_the_underlay(lab: Lab, rows: dict[str, Any]) -> None:
    for network, mtu in {"routed": 1450, "direct": 1500, "flat": 1450}.items():
        shown = lab.host("h1").run(["ip", "-n", network, "link", "show", "eth0"]).stdout
        assert f"mtu {mtu} " in shown


DAMAGE = {
    "bridge port": "ip link set {veth} nomaster",
    "container's address": "ip -n routed addr flush dev eth0 scope global",
    "container's route": "ip -n routed route del default",
    "gateway address": "ip addr flush dev {bridge}",
    "route": "ip route flush dev {tunnel}",
    "forwarding entry": "sh -c 'bridge fdb show dev {tunnel} | while read m d a r; do bridge fdb del $m dev {tunnel}; done'",
    "ARP entry": "ip neigh flush dev {tunnel} nud permanent",
    "vxlan device": "ip link del {tunnel}",
    "bridge": "ip link del {bridge}",
    "bridge down": "ip link set {bridge} down",
    "nft table": "nft delete table inet wefted",
    "nft rules": "nft flush chain inet wefted forward",
}


@pytest.fixture(scope="module")
def names(lab: Lab, rows: dict[str, Any]) -> dict[str, str]:
    """The names of the links of network `routed` on h1."""
    shown = wefted(lab.host("h1"), "network", "inspect", "routed")[0]
    bridge = shown["link"]
    links = lab.host("h1").run(["ip", "-o", "link", "show", "master", bridge]).stdout
    return {"bridge": bridge, "tunnel": bridge.replace("br-", "vx-"), "veth": links.split(": ")[1].split("@")[0]}


@pytest.mark.parametrize("what", DAMAGE)
def test_the_agent_repairs(lab: Lab, rows: dict[str, Any], names: dict[str, str], what: str) -> None:
    host, target = lab.host("h1"), address_of(rows["routed"]["h2"])
    host.run(shlex.split(DAMAGE[what].format(**names)))
    wait_for(lambda: wefted(host, "plan")["changes"] == [], 2, f"repair of the {what}")
    assert ping(host, "routed", target)


@pytest.mark.parametrize("what", ["container's address", "vxlan device", "nft table", "bridge port"])
def test_without_the_agent_the_plan_shows_the_repair(lab: Lab, rows: dict[str, Any], names: dict[str, str], what: str) -> None:
    host, target = lab.host("h1"), address_of(rows["routed"]["h2"])
    wefted(host, "down")
    assert ping(host, "routed", target), "containers go on without the agent"
    host.run(shlex.split(DAMAGE[what].format(**names)))
    shown = wefted(host, "plan")["changes"]
    assert shown, "the plan shows what is missing"
    assert wefted(host, "plan")["changes"] == shown, "and changes nothing"
    wefted(host, "up")
    wait_for(lambda: ping(host, "routed", target), 2, "traffic after the start")
    assert wefted(host, "plan")["changes"] == []


def test_life_without_the_store(lab: Lab, rows: dict[str, Any]) -> None:
    """Attach, detach and traffic need no store; what was missed is there soon after it is back."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    lab.cut("etcd")
    spec = container(h1, "alone")
    row = wefted(h1, "network", "connect", "routed", spec)[0]
    assert ping(h1, "alone", address_of(rows["routed"]["h3"]))
    assert ping(h1, "alone", address_of(rows["routed"]["h1"]))
    failed = wefted(h1, "network", "create", "later", check=False)
    assert failed.returncode == 3
    assert "does not answer" in failed.stderr or "unreachable" in failed.stderr.lower()
    lab.heal("etcd")
    wait_for(lambda: any(r["id"] == row["id"] for r in wefted(h2, "ps")), 2.5, "the new endpoint on the other host")
    wefted(h1, "network", "create", "later")
    wefted(h1, "network", "disconnect", "routed", spec)
    wait_for(lambda: not any(r["id"] == row["id"] for r in wefted(h2, "ps")), 2, "and its end")


def test_a_container_that_comes_back_keeps_its_addresses(lab: Lab, rows: dict[str, Any]) -> None:
    host, target = lab.host("h2"), address_of(rows["routed"]["h3"])
    before = next(r for r in wefted(host, "ps") if r["network"] == "routed" and r["host"] == "h2")
    host.run(["ip", "netns", "del", "routed"])
    wait_for(lambda: _own(host, "routed")["state"] == "down", 2, "the end of the container")
    host.run(["ip", "netns", "add", "routed"])
    wait_for(lambda: ping(host, "routed", target, deadline=1), 2, "the container's return")
    after = _own(host, "routed")
    assert (after["addresses"], after["mac"], after["state"]) == (before["addresses"], before["mac"], "up")


def test_reboot(lab: Lab, rows: dict[str, Any]) -> None:
    """Networks, addresses, published ports and leases come back by themselves."""
    host = lab.host("h3")
    wefted(host, "publish", "netns:routed", "8080:80")
    before = _own(host, "routed")
    leases = wefted(host, "network", "inspect", "routed")[0]["leases"]
    lab.poweroff("h3")
    lab.boot("h3")
    host = lab.host("h3")
    container(host, "routed")
    target = address_of(rows["routed"]["h1"])
    wait_for(lambda: ping(host, "routed", target, deadline=1), 5, "traffic after the boot")
    after = _own(host, "routed")
    assert {k: after[k] for k in ("addresses", "mac", "ports")} == {k: before[k] for k in ("addresses", "mac", "ports")}
    assert wefted(host, "network", "inspect", "routed")[0]["leases"] == leases
    assert "8080" in host.run(["nft", "list", "map", "inet", "wefted", "published_any4"]).stdout


def _own(host: Any, network: str) -> dict[str, Any]:
    return next(r for r in wefted(host, "ps") if r["network"] == network and r["host"] == host.name)
