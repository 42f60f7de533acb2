"""Hosts that share a network of flannel's: its records in etcd, its files, its packets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted

pytestmark = pytest.mark.lab

PREFIX = "/coreos.com/network"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("flannel"), 3) as made:
        yield made


def etcdctl(host: Host, store: str, *words: str) -> str:
    """Run etcd's own client on a host."""
    return host.run(
        ["etcdctl", f"--endpoints={store}", *words], env={"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    ).stdout


def store_of(host: Host) -> str:
    """Return where the lab's etcd listens."""
    url: str = wefted(host, "status")["store"]["url"]
    return url.partition("://")[2].partition("/")[0]


def env(host: Host) -> dict[str, str]:
    """Return what `subnet.env` says on a host; empty while there is none."""
    shown = host.run(["cat", "/run/flannel/subnet.env"], check=False)
    return dict(line.split("=", 1) for line in shown.stdout.splitlines())


@pytest.fixture(scope="module")
def joined(lab: Lab) -> dict[str, dict[str, str]]:
    """The environment files of two hosts that have joined."""
    h1 = lab.host("h1")
    config = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(config))
    for host in (h1, lab.host("h2")):
        wefted(host, "flannel", "join", "--masquerade")
        wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
    return {host.name: env(host) for host in (h1, lab.host("h2"))}


def test_the_environment_file_says_what_flannels_would(joined: dict[str, dict[str, str]]) -> None:
    for found in joined.values():
        assert list(found) == ["FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"]
        assert (found["FLANNEL_NETWORK"], found["FLANNEL_MTU"], found["FLANNEL_IPMASQ"]) == ("10.5.0.0/16", "1450", "true")
        assert found["FLANNEL_SUBNET"].endswith(".1/24")
    assert joined["h1"]["FLANNEL_SUBNET"] != joined["h2"]["FLANNEL_SUBNET"]


def test_containers_of_both_hosts_reach_each_other(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    rows: dict[str, Any] = {}
    for name in ("h1", "h2"):
        host = lab.host(name)
        rows[name] = wefted(host, "network", "connect", "flannel", container(host, "f1"))[0]
        assert address_of(rows[name]).rpartition(".")[0] == joined[name]["FLANNEL_SUBNET"].partition("/")[0].rpartition(".")[0]
    for a, b in (("h1", "h2"), ("h2", "h1")):
        for size in (56, 1422, 8000):
            target = address_of(rows[b])
            wait_for(lambda: ping(lab.host(a), "f1", target, size), 5, f"{a} reaches {b} with {size} bytes")  # noqa: B023
    assert wefted(lab.host("h1"), "plan") == {"changes": []}


def test_the_records_are_flannels(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    h1 = lab.host("h1")
    lines = etcdctl(h1, store_of(h1), "get", "--prefix", f"{PREFIX}/").splitlines()
    found = dict(zip(lines[::2], lines[1::2], strict=True))
    for name, seen in joined.items():
        subnet = seen["FLANNEL_SUBNET"].replace(".1/", ".0-")
        value = json.loads(found[f"{PREFIX}/subnets/{subnet}"])
        assert (value["PublicIP"], value["BackendType"]) == (str(lab.host(name).address), "vxlan")
        assert value["BackendData"]["VNI"] == 1
    assert len(found) == 3


def test_a_peer_that_runs_flanneld_is_followed(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    """Its record in, route, neighbour and forwarding entry in; its record gone, all of them gone."""
    h1 = lab.host("h1")
    value = {
        "PublicIP": "203.0.113.9", "PublicIPv6": None, "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": "62:36:36:1c:6d:33"},
    }  # fmt: skip
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/subnets/10.5.200.0-24", json.dumps(value))

    def known() -> bool:
        route = h1.run(["ip", "route", "show", "10.5.200.0/24"]).stdout
        neighbour = h1.run(["ip", "neigh", "show", "10.5.200.0"]).stdout
        forwarding = h1.run(["bridge", "fdb", "show"]).stdout
        found = ("via 10.5.200.0" in route, "62:36:36:1c:6d:33 PERMANENT" in neighbour, "dst 203.0.113.9" in forwarding)
        assert len(set(found)) == 1 or not all(found)
        return all(found)

    wait_for(known, 2, "the peer is known")
    etcdctl(h1, store_of(h1), "del", f"{PREFIX}/subnets/10.5.200.0-24")
    wait_for(lambda: not h1.run(["ip", "route", "show", "10.5.200.0/24"]).stdout, 2, "the peer is forgotten")
    assert "203.0.113.9" not in h1.run(["bridge", "fdb", "show"]).stdout


def test_a_revoked_subnet_is_taken_again_and_containers_go_on(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    """flannel: "Lease has been revoked. Shutting down daemon.", then a panic."""
    h2 = lab.host("h2")
    key = f"{PREFIX}/subnets/{joined['h2']['FLANNEL_SUBNET'].replace('.1/', '.0-')}"
    store = store_of(h2)
    etcdctl(h2, store, "del", key)
    wait_for(lambda: key in etcdctl(h2, store, "get", "--keys-only", key), 5, "the record is back")
    assert env(h2) == joined["h2"]
    target = address_of(next(r for r in wefted(h2, "ps") if r["network"] == "flannel" and r["host"] == "h1"))
    wait_for(lambda: ping(h2, "f1", target), 5, "the containers reach each other")


def test_an_agent_that_was_killed_holds_the_same_subnet(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    h2 = lab.host("h2")
    pid = wefted(h2, "status")["agent"]["pid"]
    h2.run(["kill", "-9", str(pid)])
    h2.run(["rm", "/run/flannel/subnet.env"])
    h2.run(["wefted", "up"])
    wait_for(lambda: env(h2) == joined["h2"], 5, "the same environment file")
    assert wefted(h2, "plan") == {"changes": []}


def test_what_is_flannels_is_not_removed_with_ours(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    h1 = lab.host("h1")
    refused = wefted(h1, "network", "rm", "flannel", check=False)
    assert (refused.returncode, "in use" in refused.stderr) == (2, True)
    left = wefted(h1, "flannel", "leave", "flannel", check=False)
    assert (left.returncode, "netns:f1 is in flannel network 'flannel'" in left.stderr) == (2, True)
    assert "flannel" not in wefted(h1, "network", "prune")["removed"]


def test_who_leaves_takes_its_record_and_its_links_along(lab: Lab, joined: dict[str, dict[str, str]]) -> None:
    h2 = lab.host("h2")
    wefted(h2, "network", "disconnect", "flannel", "netns:f1")
    wefted(h2, "flannel", "leave", "flannel")
    subnet = joined["h2"]["FLANNEL_SUBNET"].replace(".1/", ".0-")
    assert subnet not in etcdctl(h2, store_of(h2), "get", "--prefix", "--keys-only", f"{PREFIX}/subnets/")
    assert "vxlan" not in h2.run(["ip", "-d", "link", "show", "group", "2003134068"]).stdout
    assert wefted(h2, "plan") == {"changes": []}
