"""The nft table with real packets: published ports, isolation, internal and exposed networks, masquerade, forged sources.

One host `h` with two bridge networks, an internal one and a ptp network, and a stranger `x` outside.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.drivers import DRIVERS
from wefted.features import FEATURES
from wefted.model.firewall import NftElement
from wefted.model.lease import Lease
from wefted.model.link import LINK_GROUP
from wefted.model.network import Endpoint, Network, PortMapping, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import KernelObject, Netns

from .planned_host import PATIENCE, SILENCE, TCP, UDP, Lab, element_text, in_namespace

H4, X4, H6, X6 = "192.0.2.1", "192.0.2.2", "2001:db8:ff::1", "2001:db8:ff::2"
SECRET_PORT = 7070
"""Where the host itself listens, on 127.0.0.1 only."""


NODE = Node(id="n1", name="h", underlay=(ip_interface(f"{H4}/24"),), device="eth0")
BLUE = Network(name="blue", subnets=(Subnet(prefix=ip_network("10.64.0.0/16")), Subnet(prefix=ip_network("fd64::/64"))))
RED = Network(name="red", subnets=(Subnet(prefix=ip_network("10.65.0.0/16")), Subnet(prefix=ip_network("fd65::/64"))))
GREY = replace(RED, name="grey", subnets=(Subnet(prefix=ip_network("10.66.0.0/16")),), internal=True)
LEAN = replace(
    RED, name="lean", driver="ptp", subnets=(Subnet(prefix=ip_network("10.67.0.0/16")), Subnet(prefix=ip_network("fd67::/64")))
)


def segment(network: Network) -> Segment:
    leases = tuple(Lease(network=network.name, block=s.prefix, node=NODE.id) for s in network.subnets)
    return Segment(network=network, node=NODE, leases=leases, single=True)


def plan(network: Network, *endpoints: Endpoint) -> list[KernelObject]:
    objects = list(DRIVERS[network.driver].plan(segment(network), endpoints))
    for feature in FEATURES:
        objects += feature.plan(segment(network), endpoints)
    return objects


def endpoint(lab: Lab, network: Network, name: str, last: int, *ports: PortMapping) -> Endpoint:
    ns = lab.namespace(name)
    prefixes = [s.prefix for s in network.subnets]
    return Endpoint(
        network=network.name,
        container=f"netns:{name}",
        ns=Netns(f"/run/netns/{ns}"),
        mac=f"02:00:00:00:{network.subnets[0].prefix.network_address.packed[1]:02x}:{last:02x}",
        addresses=tuple(ip_interface(f"{p.network_address + last}/{p.prefixlen}") for p in prefixes),
        gateways=tuple(p.network_address + 1 for p in prefixes),
        ports=ports,
    )


@pytest.fixture(scope="module", params=["0", "1"], ids=["bridge-nf-off", "bridge-nf-on"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    made = Lab()
    try:
        build(made, request.param)
        yield made
    finally:
        made.close()


def build(lab: Lab, bridge_nf: str) -> None:
    h, x = lab.namespace("h"), lab.namespace("x")
    for name in ("iptables", "ip6tables"):
        setting = f"net.bridge.bridge-nf-call-{name}={bridge_nf}"
        if (
            subprocess.run(["ip", "netns", "exec", h, "sysctl", "-qw", setting], capture_output=True).returncode
            and bridge_nf == "1"
        ):
            pytest.skip("kernel has no br_netfilter")
    lab.ip("h", "link set lo up", f"link add eth0 type veth peer name eth0 netns {x}", "link set eth0 up")
    lab.ip("h", f"address add {H4}/24 dev eth0", f"address add {H6}/64 dev eth0 nodad")
    lab.ip("x", "link set lo up", "link set eth0 up", f"address add {X4}/24 dev eth0", f"address add {X6}/64 dev eth0 nodad")
    lab.ip("x", f"route add 10.64.0.0/14 via {H4}", f"route add fd64::/15 via {H6}")
    ports = (
        PortMapping(host_port=8080, port=80),
        PortMapping(host_port=8080, port=80, protocol="udp"),
        PortMapping(host_port=3868, port=80, protocol="sctp"),
        PortMapping(host_port=9090, port=80, host_ip=ip_address(H4)),
    )
    further = [PortMapping(host_port=8084, port=80, protocol=protocol) for protocol in ("tcp", "udp")]
    lab.apply(
        "h",
        *plan(
            BLUE,
            endpoint(lab, BLUE, "a", 2),
            endpoint(lab, BLUE, "b", 3, *ports),
            replace(endpoint(lab, BLUE, "f", 4, *further), bridge=1),
            replace(endpoint(lab, BLUE, "g", 5), bridge=2),
        ),
        *plan(RED, endpoint(lab, RED, "c", 2)),
        *plan(GREY, endpoint(lab, GREY, "d", 2), endpoint(lab, GREY, "e", 3)),
        *plan(LEAN, endpoint(lab, LEAN, "p", 2, PortMapping(host_port=8081, port=80)), endpoint(lab, LEAN, "q", 3)),
    )
    # A container that helps itself to a way out: what keeps it in must be the host.
    lab.ip("d", "route add default via 10.66.0.1")
    for name in "abcdefgpqx":
        lab.serve(name, 80)
    lab.serve("h", SECRET_PORT, "127.0.0.1")


KINDS = pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])


@KINDS
@pytest.mark.parametrize(
    ("client", "address", "seen"),
    [
        ("x", H4, X4),  # from another host
        ("x", H6, X6),
        ("h", H4, H4),  # from the host, by its own address
        ("h", H6, H6),
        ("h", "127.0.0.1", "10.64.0.1"),  # by its loopback
        ("h", "10.64.0.1", "10.64.0.1"),
        ("a", H4, "10.64.0.1"),  # from a neighbour in the same network
        ("a", H6, "fd64::1"),
        ("b", H4, "10.64.0.1"),  # from the container itself
        ("b", H6, "fd64::1"),
        ("c", H4, "10.65.0.2"),  # from another network, which the port is open for like anybody
        ("c", H6, "fd65::2"),
        ("p", H4, "10.67.0.2"),
        ("f", H4, "10.64.0.1"),  # from a further bridge
        ("f", H6, "fd64::1"),
        ("g", H4, "10.64.0.1"),
        ("g", H6, "fd64::1"),
        ("g", "10.64.0.1", "10.64.0.1"),
    ],
)
def test_a_published_port_answers(lab: Lab, client: str, address: str, seen: str, kind: int) -> None:
    assert lab.ask(client, address, 8080, kind) == seen


@KINDS
@pytest.mark.parametrize(
    ("client", "address", "port", "seen"),
    [
        ("a", "10.64.0.4", 80, "10.64.0.2"),  # to a further bridge
        ("a", "fd64::5", 80, "fd64::2"),
        ("g", "10.64.0.2", 80, "10.64.0.5"),  # from one
        ("g", "fd64::4", 80, "fd64::5"),  # between two
        ("f", X4, 80, H4),  # to the outside, masqueraded
        ("g", X6, 80, H6),
        ("x", H4, 8084, X4),  # a port that one of them publishes
        ("h", "127.0.0.1", 8084, "10.64.0.1"),
        ("a", H4, 8084, "10.64.0.1"),
        ("a", H6, 8084, "fd64::1"),
        ("g", "10.65.0.2", 80, ""),  # another network
        ("c", "10.64.0.5", 80, ""),
        ("x", "10.64.0.5", 80, ""),
    ],
)
def test_a_further_bridge_is_as_the_first(lab: Lab, client: str, address: str, port: int, seen: str, kind: int) -> None:
    assert lab.ask(client, address, port, kind, PATIENCE if seen else SILENCE) == seen


def test_a_forged_source_does_not_leave_a_further_bridge(lab: Lab) -> None:
    lab.execute("g", "ip", "address", "add", "10.65.0.99/32", "dev", "lo")
    assert lab.ask("g", X4, 80, UDP, SILENCE, source="10.65.0.99") == ""


def test_a_published_sctp_port_is_forwarded(lab: Lab) -> None:
    """The kernel here may have no SCTP sockets, so it is a raw INIT (RFC 9260, 3.3.2) whose port is looked at."""
    sctp = socket.IPPROTO_SCTP
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    header = struct.pack("!HHI", 40_000, 3868, 0)
    packet = header + struct.pack("<I", crc32c(header + bytes(4) + chunk)) + chunk
    receiver = in_namespace(f"{lab.prefix}-b", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, sctp))
    sender = in_namespace(f"{lab.prefix}-x", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, sctp))
    with receiver, sender:
        receiver.settimeout(PATIENCE)
        sender.sendto(packet, (H4, 0))
        received = receiver.recv(100)
    assert struct.unpack("!HH", received[20:24]) == (40_000, 80)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_ipv6_loopback_refuses_at_once_so_that_clients_of_localhost_go_on_to_ipv4(lab: Lab) -> None:
    client = in_namespace(f"{lab.prefix}-h", lambda: socket.socket(socket.AF_INET6, TCP))
    client.settimeout(PATIENCE)
    with client, pytest.raises(ConnectionRefusedError):
        client.connect(("::1", 8080))


def test_a_port_published_on_one_address_answers_there_alone(lab: Lab) -> None:
    assert lab.ask("x", H4, 9090) == X4
    assert lab.ask("h", H4, 9090) == H4
    assert lab.ask("h", "127.0.0.1", 9090, wait=SILENCE) == ""
    assert lab.ask("x", H6, 9090, wait=SILENCE) == ""


@pytest.mark.parametrize(
    ("client", "address"), [("x", H4), ("h", "127.0.0.1"), ("h", H4), ("q", H4), ("p", H4), ("a", H4), ("p", H6)]
)
def test_a_port_of_a_ptp_network_answers(lab: Lab, client: str, address: str) -> None:
    assert lab.ask(client, address, 8081)


@KINDS
@pytest.mark.parametrize(
    ("client", "address", "seen"),
    [
        ("a", "10.64.0.3", "10.64.0.2"),
        ("a", "fd64::3", "fd64::2"),
        ("d", "10.66.0.3", "10.66.0.2"),
        ("p", "10.67.0.3", "10.67.0.2"),
        ("p", "fd67::3", "fd67::2"),
        ("h", "fd67::3", "fd67::1"),
        ("h", "10.64.0.2", "10.64.0.1"),
        ("h", "10.66.0.2", "10.66.0.1"),
        ("h", "fd65::2", "fd65::1"),
    ],
)
def test_members_and_their_host_reach_each_other(lab: Lab, client: str, address: str, seen: str, kind: int) -> None:
    assert lab.ask(client, address, 80, kind) == seen


@KINDS
@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("a", "10.65.0.2"),  # another network
        ("a", "fd65::2"),
        ("p", "10.64.0.2"),
        ("p", "fd64::2"),
        ("a", "10.66.0.2"),  # an internal one
        ("d", "10.64.0.2"),
        ("d", X4),  # from an internal network to the outside
        ("d", H4),  # and to a published port of another network
        ("x", "10.64.0.2"),  # from outside to what is not published
        ("x", "fd64::2"),
        ("x", "10.66.0.2"),
    ],
)
def test_what_is_isolated_stays_silent(lab: Lab, client: str, address: str, kind: int) -> None:
    assert lab.ask(client, address, 8080 if address == H4 else 80, kind, SILENCE) == ""


@KINDS
@pytest.mark.parametrize(
    ("client", "address", "seen"), [("a", X4, H4), ("a", X6, H6), ("c", X4, H4), ("p", X4, H4), ("p", X6, H6)]
)
def test_the_outside_sees_the_host(lab: Lab, client: str, address: str, seen: str, kind: int) -> None:
    assert lab.ask(client, address, 80, kind) == seen


def test_an_exposed_network_is_open_to_the_outside_but_not_to_other_networks(lab: Lab) -> None:
    exposed = [o for o in plan(replace(RED, exposed=True)) if isinstance(o, NftElement) and o.container.startswith("exposed")]
    lab.apply("h", *exposed)
    assert lab.ask("x", "10.65.0.2", 80) == X4
    assert lab.ask("x", "fd65::2", 80) == X6
    assert lab.ask("a", "10.65.0.2", 80, wait=SILENCE) == ""
    for element in exposed:
        lab.nft("h", f"delete element inet wefted {element.container} {{ {element_text(element)} }}")
        lab.elements.remove(element)
    assert lab.ask("x", "10.65.0.2", 80, wait=SILENCE) == ""


def test_networks_without_isolation_reach_each_other(lab: Lab) -> None:
    opened = [
        item
        for network in (BLUE, RED)
        for item in plan(replace(network, isolated=False))
        if isinstance(item, NftElement) and item.container.startswith("open")
    ]
    lab.apply("h", *opened)
    assert lab.ask("a", "10.65.0.2", 80) == "10.64.0.2"
    assert lab.ask("c", "fd64::2", 80) == "fd65::2"
    assert lab.ask("p", "10.65.0.2", 80, wait=SILENCE) == ""
    for element in opened:
        lab.nft("h", f"delete element inet wefted {element.container} {{ {element_text(element)} }}")
        lab.elements.remove(element)


@pytest.mark.parametrize(
    ("client", "source", "address"),
    [
        ("a", "10.65.0.9", "10.65.0.2"),  # a container as a member of another network
        ("x", "10.64.0.9", "10.64.0.2"),  # a stranger as a member
        ("d", "198.51.100.9", X4),  # an internal container as somebody else
    ],
)
def test_a_forged_source_opens_nothing(lab: Lab, client: str, source: str, address: str) -> None:
    target = {"10.65.0.2": "c", "10.64.0.2": "a", X4: "x"}[address]

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, UDP)
        made.bind((address, 5353))
        made.settimeout(SILENCE)
        return made

    with in_namespace(f"{lab.prefix}-{target}", listen) as server:
        lab.ask(client, address, 5353, UDP, 0.01, source)
        with pytest.raises(TimeoutError):
            server.recv(100)
        lab.ask("h", address, 5353, UDP, 0.01)
        assert server.recv(100) == b"?"


def test_containers_do_not_reach_the_loopback_of_their_host(lab: Lab) -> None:
    for name, gateway in (("a", "10.64.0.1"), ("p", "10.67.0.1")):
        lab.ip(name, f"route add 127.0.0.1/32 via {gateway} dev eth0 onlink table 77", "rule add to 127.0.0.1 table 77 pref 0")
        lab.ip(name, "rule del pref 0 table local", "rule add pref 100 table local")
        lab.execute(name, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        assert lab.ask(name, "127.0.0.1", SECRET_PORT, wait=SILENCE) == ""
    assert lab.ask("h", "127.0.0.1", SECRET_PORT) == "127.0.0.1"
    lab.nft("h", "flush chain inet wefted guard")
    try:
        # Without the guard the packet does get in: so the test above tests the guard, and not a route that leads nowhere.
        assert lab.ask("a", "127.0.0.1", SECRET_PORT) == "10.64.0.2"
    finally:
        lab.nft("h", f"add rule inet wefted guard iifgroup {LINK_GROUP} ip daddr 127.0.0.0/8 drop")


def test_elements_are_written_as_nft_lists_them(lab: Lab) -> None:
    listing = " ".join(lab.execute("h", "nft", "list", "table", "inet", "wefted").split())
    assert len(lab.elements) > 25
    for element in lab.elements:
        assert element_text(element) in listing


def test_one_more_port_costs_the_same_with_5000(lab: Lab) -> None:
    ports = tuple(PortMapping(host_port=10_000 + n, port=80) for n in range(5_000))
    server = Endpoint(
        network="blue", container="netns:b", ns=Netns("/run/netns/x"), addresses=(ip_interface("10.64.0.3/16"),), ports=ports
    )
    publish = next(feature for feature in FEATURES if feature.name == "publish")
    planned = publish.plan(segment(BLUE), [server])
    many = [o for o in planned if isinstance(o, NftElement) and o.container.startswith("published")]
    assert len(many) == 5_000
    before = connect_time(lab)
    lab.nft("h", f"add element inet wefted {many[0].container} {{ {', '.join(element_text(e) for e in many)} }}")
    assert lab.ask("x", H4, 10_000) == X4
    assert lab.ask("x", H4, 14_999) == X4
    assert lab.ask("x", H4, 15_000, wait=SILENCE) == ""
    assert connect_time(lab) < 3 * before + 0.001
    lab.nft("h", f"delete element inet wefted {many[0].container} {{ {', '.join(' . '.join(e.match) for e in many)} }}")
    assert lab.ask("x", H4, 14_999, wait=SILENCE) == ""


def connect_time(lab: Lab) -> float:
    """Return the median of many connections from outside, in seconds."""
    spent = []
    for _ in range(101):
        start = time.perf_counter()
        assert lab.ask("x", H4, 8080) == X4
        spent.append(time.perf_counter() - start)
    return sorted(spent)[50]
