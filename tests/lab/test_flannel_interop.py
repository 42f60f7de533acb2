"""A peer that shares no code with us: records from flannel's format, packets from RFC 7348, byte by byte in user space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, wait_for, wefted
from .test_flannel_join import PREFIX, env, etcdctl, store_of

pytestmark = pytest.mark.lab

MAC, CHANGED = "62:36:36:1c:6d:33", "62:36:36:1c:6d:34"
SUBNET, INSIDE = "10.5.200.0", "10.5.200.2"
PEER = str(Path(__file__).with_name("flannel_peer.py"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One host that has joined, with a container; another one for the stranger."""
    with Lab.up(lab_name("interop"), 2) as made:
        h1 = made.host("h1")
        etcdctl(
            h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})
        )
        wefted(h1, "flannel", "join")
        wait_for(lambda: bool(env(h1)), 5, "subnet.env")
        wefted(h1, "network", "connect", "flannel", container(h1, "c1"))
        yield made


@pytest.fixture(scope="module")
def theirs(lab: Lab) -> dict[str, Any]:
    """The record of the host that has joined, as any reader of flannel's format finds it."""
    h1 = lab.host("h1")
    key = f"{PREFIX}/subnets/{env(h1)['FLANNEL_SUBNET'].replace('.1/', '.0-')}"
    text = etcdctl(h1, store_of(h1), "get", "--print-value-only", key).strip()
    value: dict[str, Any] = json.loads(text)
    mac = value["BackendData"]["VtepMAC"]
    address = f'"PublicIP":"{h1.address}","PublicIPv6":null'
    assert text == f'{{{address},"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}', "byte for byte"
    return value


def announce(lab: Lab, mac: str) -> None:
    """Write the stranger's record as flannel 0.20.2 does."""
    h2 = lab.host("h2")
    record = (
        f'{{"PublicIP":"{h2.address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}'
    )
    etcdctl(h2, store_of(h2), "put", f"{PREFIX}/subnets/{SUBNET}-24", record)
    wait_for(lambda: mac in neighbors(lab.host("h1")), 2, "the peer is known")


def neighbors(host: Host) -> str:
    return host.run(["ip", "neigh", "show", "dev", "flannel.1"]).stdout


def entries(host: Host) -> list[str]:
    """Return the forwarding entries of the tunnel that lead to other hosts."""
    lines = host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout.splitlines()
    return [line.strip() for line in lines if " dst " in line]


def ask(lab: Lab, theirs: dict[str, Any], mac: str, size: int) -> dict[str, Any]:
    """Send an echo request through the tunnel, and return what came back."""
    target = address_of(next(row for row in wefted(lab.host("h1"), "ps") if row["network"] == "flannel"))
    request = {
        "local": mac, "remote": theirs["BackendData"]["VtepMAC"], "host": theirs["PublicIP"], "source": INSIDE,
        "target": target, "size": size,
    }  # fmt: skip
    answer: dict[str, Any] = json.loads(lab.host("h2").run(["python3", PEER], input=json.dumps(request)).stdout)
    assert answer["ip"] == [target, INSIDE]
    return answer


@pytest.mark.parametrize("size", [0, 56, 1422])
def test_an_answer_comes_back_through_the_tunnel_byte_for_byte(lab: Lab, theirs: dict[str, Any], size: int) -> None:
    announce(lab, MAC)
    answer = ask(lab, theirs, MAC, size)
    assert (answer["flags"], answer["vni"], answer["type"]) == (8, 1, "0800")
    assert answer["outer"][0] == theirs["PublicIP"]
    assert answer["eth"] == [MAC, theirs["BackendData"]["VtepMAC"]]
    assert (answer["icmp"], answer["ttl"], answer["sound"], answer["payload"]) == ([0, 0], 63, True, True)


def test_a_peer_becomes_what_flannel_makes_of_it(lab: Lab, theirs: dict[str, Any]) -> None:
    announce(lab, MAC)
    h1, h2 = lab.host("h1"), lab.host("h2")
    assert f"{SUBNET}/24 via {SUBNET} dev flannel.1" in h1.run(["ip", "route"]).stdout
    assert f"{SUBNET} lladdr {MAC} PERMANENT" in neighbors(h1)
    assert entries(h1) == [f"{MAC} dst {h2.address} self permanent"]
    shown = h1.run(["ip", "-d", "link", "show", "flannel.1"]).stdout
    assert theirs["BackendData"]["VtepMAC"] in shown
    assert "dstport 8472 nolearning" in shown
    own = env(h1)["FLANNEL_SUBNET"].replace(".1/24", ".0/32")
    assert f"inet {own} " in h1.run(["ip", "addr", "show", "flannel.1"]).stdout


def test_a_peer_with_a_new_mac_is_reached_and_leaves_nothing_behind(lab: Lab, theirs: dict[str, Any]) -> None:
    """flannel keeps the entry of the old MAC."""
    announce(lab, MAC)
    announce(lab, CHANGED)
    h1, h2 = lab.host("h1"), lab.host("h2")
    wait_for(lambda: entries(h1) == [f"{CHANGED} dst {h2.address} self permanent"], 2, "the old entry is gone")
    assert MAC not in neighbors(h1)
    assert ask(lab, theirs, CHANGED, 56)["eth"][0] == CHANGED


def test_a_peer_that_goes_takes_everything_along(lab: Lab, theirs: dict[str, Any]) -> None:
    announce(lab, MAC)
    h1 = lab.host("h1")
    etcdctl(h1, store_of(h1), "del", f"{PREFIX}/subnets/{SUBNET}-24")
    wait_for(lambda: not entries(h1) and not neighbors(h1), 2, "the peer is forgotten")
    assert SUBNET not in h1.run(["ip", "route"]).stdout
