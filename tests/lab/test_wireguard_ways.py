"""Each way of doing WireGuard, alone and with the other one, between two namespaces: what passes, what is kept and left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from wefted.kernel.linux import LinuxKernel
from wefted.kernel.wireguardkey import public_key_of
from wefted.kernel.wireguarduapi import SOCKETS
from wefted.model.objects import HOST, Change, KernelObject
from wefted.model.route import Address, Route
from wefted.model.secret import Secret
from wefted.model.wireguard import Wireguard, WireguardPeer
from wefted.testing.kernel_contract import make

from .conftest import LabHost, wait_until

pytestmark = pytest.mark.lab

DATAPATHS = {"kernel": "auto", "wireguard-go": "relay"}
UNDERLAY = {4: "192.0.2.{}", 6: "2001:db8::{}"}
LENGTHS = {4: 24, 6: 64}
OVERHEAD = {4: 60, 6: 80}
PSK = Secret("L7c3W8rIwzYhSHZNSSDOrJmZFFhGOjzMIKxTFcxR5fQ=")


@dataclass
class Side:
    """One of two hosts, number 1 or 2, with a kernel room that does it one way."""

    number: int
    host: LabHost
    way: str

    def __post_init__(self) -> None:
        self.kernels: list[LinuxKernel] = []
        self.kernel = self.another_kernel()

    def another_kernel(self) -> LinuxKernel:
        """Return another kernel room of this host, as after a restart."""
        made = LinuxKernel(runtime_dir=self.host.runtime_dir, home=self.host.netns, datapath=DATAPATHS[self.way])
        self.kernels.append(made)
        return made

    def close(self) -> None:
        for kernel in self.kernels:
            kernel.close()
        self.host.close()

    @property
    def link(self) -> str:
        return f"wg{os.getpid()}-{self.number}"

    @property
    def device(self) -> Wireguard:
        return Wireguard(name=self.link, port=51820, public_key=public_key_of(self.key), mtu=1420)

    @property
    def key(self) -> Path:
        return self.host.runtime_dir / "wireguard.key"

    def peer(self, other: Side, version: int) -> WireguardPeer:
        return WireguardPeer(
            link=self.link, public_key=other.device.public_key, remote=ip_address(UNDERLAY[version].format(other.number)),
            allowed=(ip_network(f"10.5.{other.number}.0/24"), ip_network(f"fd05:{other.number}::/64")), psk=PSK,
        )  # fmt: skip

    def objects(self, other: Side, version: int) -> list[KernelObject]:
        return [
            replace(self.device, mtu=1500 - OVERHEAD[version]),
            self.peer(other, version),
            Address(link=self.link, address=ip_interface(f"10.5.{self.number}.1/32")),
            Address(link=self.link, address=ip_interface(f"fd05:{self.number}::1/128")),
            Route(destination=ip_network("10.5.0.0/16"), link=self.link),
            Route(destination=ip_network("fd05::/16"), link=self.link),
        ]

    def ping(self, address: str, *words: str) -> bool:
        argv = ["nsenter", f"--net={self.host.netns}", "ping", "-c1", "-W2", "-n", *words, address]
        return subprocess.run(argv, capture_output=True).returncode == 0

    def fragments(self) -> int:
        """Return how many fragments were made here."""
        # /proc/self/net is that of the namespace of whoever reads it
        four = self.host.run("cat", "/proc/self/net/snmp").splitlines()
        names, values = (line.split() for line in four if line.startswith("Ip:"))
        six = dict(line.split() for line in self.host.run("cat", "/proc/self/net/snmp6").splitlines())
        return int(dict(zip(names, values, strict=True))["FragCreates"]) + int(six["Ip6FragCreates"])


def side(number: int, way: str, directory: Path) -> Side:
    found = Side(number, LabHost(directory / str(number)), way)
    missing = found.kernel.probe().features
    reason = missing["wireguard-kernel"] if way == "kernel" else missing["wireguard"]
    if reason:
        found.close()
        pytest.skip(reason)
    return found


@pytest.fixture(params=[("kernel", "kernel"), ("wireguard-go", "wireguard-go"), ("kernel", "wireguard-go")], ids="-".join)
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Two hosts with addresses of both versions on one underlay."""
    made: list[Side] = []
    try:
        made += [side(1, request.param[0], tmp_path)]
        made += [side(2, request.param[1], tmp_path)]
        one, two = made
        one.host.run("ip", "link", "add", "u0", "type", "veth", "peer", "name", "u1")
        one.host.run("ip", "link", "set", "u1", "netns", str(two.host.netns))
        for each, link in ((one, "u0"), (two, "u1")):
            for version, text in UNDERLAY.items():
                words = ("addr", "add", f"{text.format(each.number)}/{LENGTHS[version]}", "dev", link)
                each.host.run("ip", *words, *(("nodad",) if version == 6 else ()))
            each.host.run("ip", "link", "set", link, "up")
        yield one, two
    finally:
        for each in made:
            each.close()


def read(each: Side) -> dict[str, KernelObject]:
    """Return what is ours, by what a plan would say of it; an object that is not as it was made has another text."""
    return {str(item): item for item in each.kernel.read(HOST).objects.values() if item.owned}


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_both_versions_pass_and_fill_the_underlay_to_the_byte(sides: tuple[Side, Side], version: int) -> None:
    one, two = sides
    make(one, *one.objects(two, version))
    make(two, *two.objects(one, version))
    wait_until(lambda: one.ping("10.5.2.1"), "the two have met")
    assert two.ping("fd05:1::1")
    full = 1500 - OVERHEAD[version]
    assert one.ping("10.5.2.1", "-Mdo", f"-s{full - 28}")
    assert one.ping("fd05:2::1", "-Mdo", f"-s{full - 48}")
    assert not one.ping("10.5.2.1", "-Mdo", f"-s{full - 27}")
    assert one.fragments() == two.fragments() == 0
    one.host.run("ip", "link", "set", one.link, "mtu", str(full + 1))
    wait_until(lambda: one.ping("10.5.2.1", "-Mdo", f"-s{full - 27}") and one.fragments() > 0, "a byte more is too much")


def test_what_is_made_is_read_back_also_by_the_next_one(sides: tuple[Side, Side]) -> None:
    one, two = sides
    wanted = one.objects(two, 4)
    make(one, *wanted)
    for kernel in (one.kernel, one.another_kernel()):
        found = kernel.read(HOST).objects
        assert all(item.satisfied_by(found[item.key]) for item in wanted)


@pytest.mark.parametrize("version", [4, 6])
def test_a_peer_that_has_moved_is_where_it_was_said_to_be_until_told_otherwise(sides: tuple[Side, Side], version: int) -> None:
    one, two = sides
    peer = one.peer(two, version)
    make(one, one.device, peer)
    one.host.run("wg", "set", one.link, "peer", peer.public_key, "endpoint", "192.0.2.77:4242")
    found = one.kernel.read(HOST).objects[peer.key]
    assert peer.satisfied_by(found)
    more = replace(peer, allowed=(*peer.allowed[:1], ip_network("10.5.9.0/24"), *peer.allowed[1:]))
    assert [o.error for o in one.kernel.apply([Change(found, more)])] == [""]
    assert one.host.run("wg", "show", one.link, "endpoints").split()[1] == "192.0.2.77:4242"
    told = replace(more, remote=ip_address("192.0.2.9"), port=9)
    assert [o.error for o in one.kernel.apply([Change(one.kernel.read(HOST).objects[peer.key], told)])] == [""]
    assert one.host.run("wg", "show", one.link, "endpoints").split()[1] == "192.0.2.9:9"
    assert told.satisfied_by(one.kernel.read(HOST).objects[peer.key])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda s, k: ("wg", "set", s.link, "peer", k, "remove"), "peer"),
        (lambda s, k: ("wg", "set", s.link, "peer", k, "allowed-ips", "10.9.0.0/16"), "peer"),
        (lambda s, k: ("wg", "set", s.link, "peer", k, "persistent-keepalive", "9"), "peer"),
        (lambda s, k: ("wg", "set", s.link, "peer", k, "preshared-key", "/dev/null"), "peer"),
        (lambda s, k: ("wg", "set", s.link, "fwmark", "7"), "device"),
        (lambda s, k: ("wg", "set", s.link, "listen-port", "7"), "device"),
        (lambda s, k: ("ip", "link", "set", s.link, "down"), "device"),
    ],
    ids=["removed", "allowed", "keepalive", "psk", "fwmark", "port", "down"],
)
def test_drift_is_seen_and_repaired(sides: tuple[Side, Side], spoil: Callable[[Side, str], tuple[str, ...]], what: str) -> None:
    one, two = sides
    wanted: KernelObject = one.peer(two, 4) if what == "peer" else one.device
    make(one, one.device, one.peer(two, 4))
    one.host.run(*spoil(one, two.device.public_key))
    found = one.kernel.read(HOST).objects.get(wanted.key)
    assert found is None or not wanted.satisfied_by(found)
    assert [o.error for o in one.kernel.apply([Change(found, wanted)])] == [""]
    for item in (one.device, one.peer(two, 4)):
        assert item.satisfied_by(one.kernel.read(HOST).objects[item.key])


def test_two_that_are_made_meet_before_anybody_sends(sides: tuple[Side, Side]) -> None:
    """So `status` tells whether a peer is there, and after a new start nobody waits for the keys of before to expire."""
    one, two = sides
    make(one, *one.objects(two, 4))
    make(two, *two.objects(one, 4))
    for each, other in ((one, two), (two, one)):
        key = each.peer(other, 4).key
        wait_until(lambda: getattr(each.kernel.read(HOST).objects[key], "handshake", 0) > 0, "they have met")  # noqa: B023


def test_a_port_in_use_is_told(sides: tuple[Side, Side]) -> None:
    one, _ = sides
    make(one, one.device)
    other = replace(one.device, name=f"{one.link}x"[:15])
    (outcome,) = one.kernel.apply([Change(None, other)])
    assert "in use" in outcome.error.lower()
    one.kernel.apply([Change(other, None), Change(one.device, None)])
    assert not [item for item in read(one).values() if isinstance(item, Wireguard)]


def test_what_is_deleted_leaves_nothing(sides: tuple[Side, Side]) -> None:
    one, two = sides
    make(one, *one.objects(two, 4))
    found = one.kernel.read(HOST).objects[one.device.key]
    assert [o.error for o in one.kernel.apply([Change(one.peer(two, 4), None), Change(found, None)])] == ["", ""]
    assert not (SOCKETS / f"{one.link}.sock").exists()
    assert not (one.host.runtime_dir / "wireguard").exists()
    assert one.link not in {link["ifname"] for link in one.host.links()}


def test_many_peers_are_one_file(sides: tuple[Side, Side]) -> None:
    """A thousand hosts: what was told of them is written once in a transaction, and read back as it is planned."""
    one, two = sides
    peers = [
        replace(
            one.peer(two, 4), public_key=public_key_of(one.host.runtime_dir / f"k{n}"), allowed=(ip_network(f"10.6.{n}.0/24"),)
        )
        for n in range(100)
    ]
    make(one, one.device, *peers)
    found = one.kernel.read(HOST).objects
    assert all(peer.satisfied_by(found[peer.key]) for peer in peers)
    told = json.loads((one.host.runtime_dir / "wireguard" / one.link / "told.json").read_text())
    assert set(told.values()) == {"192.0.2.2:51820"}
    assert len(told) == 100
