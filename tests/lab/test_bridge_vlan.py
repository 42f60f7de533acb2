"""VLANs on Linux bridges: containers of one tag talk, others do not, and trunk ports carry the tags."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, ping, wait_for, wefted

pytestmark = pytest.mark.lab

CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_AUXDATA = 263, 8
T = TypeVar("T")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("vlan"), 2) as up:
        missing = wefted(up.host("h1"), "status")["kernel"]["missing"].get("port-vlan")
        if missing:
            pytest.skip(missing)
        yield up


def vlan(host: Host, tag: int, bridge: str, *words: str) -> str:
    """Make a network that is one VLAN of a bridge and hands out no addresses; return its name."""
    name = f"{bridge.replace('=', '-')}-{tag}"
    wefted(host, "network", "create", name, "--subnet", "none", "-o", bridge, "-o", f"vlan={tag}", *words)
    return name


def put(host: Host, network: str, name: str, *addresses: str) -> None:
    words = [word for address in addresses for word in ("--ip", address)]
    wefted(host, "network", "connect", network, container(host, name), *words)


def silent(host: Host, name: str, address: str) -> bool:
    return not ping(host, name, address, deadline=1)


def test_containers_with_one_tag_talk_and_others_do_not(lab: Lab) -> None:
    h1 = lab.host("h1")
    ten, twenty = (vlan(h1, tag, "name=br1") for tag in (10, 20))
    wefted(h1, "network", "create", "plain1", "--subnet", "none", "-o", "name=br1")
    put(h1, ten, "a1", "10.1.1.1/24", "fd01::1/64")
    put(h1, ten, "a2", "10.1.1.2/24", "fd01::2/64")
    put(h1, twenty, "b3", "10.1.1.3/24", "fd01::3/64")
    put(h1, twenty, "b4", "10.1.1.4/24", "fd01::4/64")
    put(h1, "plain1", "p5", "10.1.1.5/24", "fd01::5/64")
    for source, near, far in (("a1", (2,), (3, 5)), ("b3", (4,), (1, 5)), ("p5", (), (1, 3))):
        for number in near:
            assert ping(h1, source, f"10.1.1.{number}", size=1400)
            assert ping(h1, source, f"fd01::{number}")
        for number in far:
            assert silent(h1, source, f"10.1.1.{number}")
            assert silent(h1, source, f"fd01::{number}")
    assert wefted(h1, "plan") == {"changes": []}


def test_it_is_in_the_bridge_that_other_networks_share(lab: Lab) -> None:
    h1 = lab.host("h1")
    ten = vlan(h1, 10, "name=br2")
    wefted(h1, "network", "create", "gw2", "--subnet", "10.2.2.0/24", "-o", "name=br2")
    put(h1, ten, "c1", "10.1.1.1/24")
    wefted(h1, "network", "connect", "gw2", container(h1, "c2"))
    assert ping(h1, "c2", "10.2.2.1")
    assert wefted(h1, "plan") == {"changes": []}
    wefted(h1, "network", "disconnect", ten, "netns:c1")
    wefted(h1, "network", "rm", ten)
    assert ping(h1, "c2", "10.2.2.1")
    assert wefted(h1, "plan") == {"changes": []}


def within(host: Host, name: str, make: Callable[[], T]) -> T:
    """Call something in the namespace of a process of a host, in a thread that ends at once."""
    made: list[T] = []

    def enter() -> None:
        with open(f"{host.root}/run/netns/{name}") as handle:
            if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {name}")
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


def listen(link: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((link, 0))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.settimeout(5)
    return sock


def frame(sock: socket.socket, wanted: bytes) -> tuple[int | None, bytes]:
    """Return the VLAN and the bytes of the next frame that contains `wanted`."""
    while True:
        data, ancillary, _, _ = sock.recvmsg(65536, 256)
        if wanted in data:
            for level, kind, found in ancillary:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, *_, tci, _ = struct.unpack("=IIIHHHH", found[:20])
                    return (tci & 0xFFF if status & 0x10 else None), data
            return None, data


def trunk(host: Host, bridge: str, name: str) -> None:
    """Give a bridge a port whose cable ends as `trunk0` in a namespace that plays the switch."""
    host.run(["ip", "netns", "add", name])
    host.run(["ip", "link", "add", f"t-{name}", "type", "veth", "peer", "name", "trunk0", "netns", name])
    host.run(["ip", "link", "set", f"t-{name}", "master", bridge, "up"])
    host.run(["ip", "-n", name, "link", "set", "trunk0", "up"])


def test_frames_leave_the_trunk_with_the_tag_and_come_in_by_it(lab: Lab) -> None:
    h1 = lab.host("h1")
    ten = vlan(h1, 10, "name=br3")
    put(h1, ten, "d1", "10.1.1.1/24")
    trunk(h1, "br3", "switch3")
    with within(h1, "switch3", lambda: listen("trunk0")) as wire:
        h1.run(["ip", "netns", "exec", "d1", "ping", "-c1", "-W1", "10.1.1.9"], check=False)
        asked = socket.inet_aton("10.1.1.9")
        tag, request = frame(wire, asked)
        assert tag == 10
        mac = request[6:12]
        other = b"\x02\x00\x00\x00\x09\x09"
        reply = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + other + asked + mac + socket.inet_aton("10.1.1.1")
        for wrong in (b"", struct.pack("!HH", 0x8100, 20), struct.pack("!HH", 0x88A8, 10)):
            wire.send(mac + other + wrong + struct.pack("!H", 0x0806) + reply)
        assert "lladdr" not in h1.run(["ip", "-n", "d1", "neighbor", "show", "10.1.1.9"]).stdout
        h1.run(["ip", "netns", "exec", "d1", "ping", "-c1", "-W1", "10.1.1.9"], check=False)
        wire.send(mac + other + struct.pack("!HHH", 0x8100, 10, 0x0806) + reply)
        wait_for(lambda: "02:00:00:00:09:09" in h1.run(["ip", "-n", "d1", "neighbor"]).stdout, 5, "the answer with the tag")


def test_two_hosts_are_joined_by_a_trunk_between_their_bridges(lab: Lab) -> None:
    """The trunk is a tunnel of the hosts' own, which carries tagged frames as a cable does."""
    for number in (1, 2):
        host = lab.host(f"h{number}")
        words = (
            f"ip link add wire4 mtu 1500 type vxlan id 44 dstport 4799 remote 192.168.50.{3 - number} local 192.168.50.{number}"
        )
        host.run(words.split())
    ten, twenty = (vlan(lab.host("h1"), tag, "name=br4") for tag in (10, 20))
    for number in (1, 2):
        host = lab.host(f"h{number}")
        put(host, ten, "e1", f"10.1.1.{number}/24")
        put(host, twenty, "e2", f"10.1.1.{number}/24")
        put(host, twenty, f"e{number}only", f"10.1.1.1{number}/24")
        host.run(["ip", "link", "set", "wire4", "master", "br4", "up"])
    h1 = lab.host("h1")
    wait_for(lambda: ping(h1, "e1", "10.1.1.2", deadline=1), 10, "the other host in VLAN 10")
    assert ping(h1, "e2", "10.1.1.2")
    assert ping(h1, "e2", "10.1.1.12")
    assert silent(h1, "e1", "10.1.1.12")
    for number in (1, 2):
        assert wefted(lab.host(f"h{number}"), "plan") == {"changes": []}


def test_a_foreign_bridge_is_not_touched(lab: Lab) -> None:
    h1 = lab.host("h1")
    h1.run("ip link add old0 type bridge".split())
    h1.run("ip link set old0 up".split())
    looks = "ip -d -j link show dev old0".split()
    put(h1, vlan(h1, 10, "bridge=old0"), "f1", "10.1.1.1/24")
    before = h1.run(looks).stdout
    put(h1, "bridge-old0-10", "f2", "10.1.1.2/24")
    put(h1, vlan(h1, 20, "bridge=old0"), "f3", "10.1.1.3/24")
    assert ping(h1, "f1", "10.1.1.2")
    assert silent(h1, "f1", "10.1.1.3")
    settings = ("vlan_filtering", "mtu", "address", "txqlen")
    assert [w for w in h1.run(looks).stdout.split(",") if any(s in w for s in settings)] == [
        w for w in before.split(",") if any(s in w for s in settings)
    ]


def filters(host: Host, port: str) -> bool:
    """Tell whether both directions of a port have a filter."""
    looks = [f"tc filter show dev {port} {hook}" for hook in ("ingress", "egress")]
    return all("bpf" in host.run(words.split(), check=False).stdout for words in looks)


def test_what_somebody_removes_is_put_back(lab: Lab) -> None:
    h1 = lab.host("h1")
    ten = vlan(h1, 10, "name=br5")
    put(h1, ten, "g1", "10.1.1.1/24")
    put(h1, ten, "g2", "10.1.1.2/24")
    ports = [port["ifname"] for port in json.loads(h1.run("ip -j link show master br5".split()).stdout)]
    for words in (f"tc qdisc del dev {ports[0]} clsact", f"tc filter del dev {ports[1]} egress"):
        h1.run(words.split())
        wait_for(lambda: filters(h1, ports[0]) and filters(h1, ports[1]), 5, "the agent has put it back")
        assert wefted(h1, "plan") == {"changes": []}
        assert ping(h1, "g1", "10.1.1.2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "vlan=4095"), "not a number from 1 to 4094"),
        (("-o", "vlan=10", "-o", "gateway_mode=routed"), "the host is not in VLAN 10"),
        (("-o", "vlan=10", "--backend", "vxlan"), "by the trunk ports of the bridge"),
    ],
)
def test_mistakes_are_told(lab: Lab, words: tuple[str, ...], message: str) -> None:
    refused = wefted(lab.host("h1"), "network", "create", "wrong", *words, check=False)
    assert refused.returncode == 2
    assert message in refused.stderr
