"""What leads from one host to the containers of the others, as the lines that a plan shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.backends import BACKENDS, before_lease, unreachable
from wefted.errors import Unsupported, UsageError
from wefted.model.command import Command
from wefted.model.lease import Lease
from wefted.model.link import Link, Vxlan
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import HOST, KernelObject

SUBNETS = (Subnet(prefix=ip_network("10.64.0.0/16")), Subnet(prefix=ip_network("fd64::/48")))
WEB = Network(name="web", number=7, subnets=SUBNETS)
UNDERLAYS = {4: ("192.168.50.{}", 24), 6: ("2001:db8::{}", 64)}
BR, VX = "br-b055460a31fe", "vx-b055460a31fe"
MACS = {"n1": "02:da:8f:eb:5e:cf", "n2": "02:f1:45:4b:36:8b"}

FORWARDING = """
sysctl net/ipv4/conf/eth0/forwarding = 1
sysctl net/ipv6/conf/all/forwarding = 1
"""
HOST_GW = f"""{FORWARDING}
route 10.64.2.0/24 via 192.168.50.2 dev eth0 src 10.64.1.1
-6 route fd64:0:0:2::/64 via 2001:db8::2 dev eth0 src fd64:0:0:1::1
"""
DEVICE_4 = f"link {VX} type vxlan id 7 local 192.168.50.1 dev eth0 dstport 4789"
DEVICE_6 = f"link {VX} type vxlan id 7 local 2001:db8::1 dev eth0 dstport 4789"
ROUTED = f"""
sysctl net/ipv4/conf/{VX}/forwarding = 1
address 10.64.1.0/32 dev {VX}
address fd64:0:0:1::/128 dev {VX}
neighbor 10.64.2.0 lladdr {MACS["n2"]} dev {VX}
route 10.64.2.0/24 via 10.64.2.0 dev {VX} onlink
neighbor fd64:0:0:2:: lladdr {MACS["n2"]} dev {VX}
-6 route fd64:0:0:2::/64 via fd64:0:0:2:: dev {VX} onlink
"""
DIRECT = f"""{FORWARDING}
{DEVICE_4} nolearning address {MACS["n1"]} mtu 1430
sysctl net/ipv4/conf/{VX}/forwarding = 1
address 10.64.1.0/32 dev {VX}
address fd64:0:0:1::/128 dev {VX}
route 10.64.2.0/24 via 192.168.50.2 dev eth0 src 10.64.1.1
-6 route fd64:0:0:2::/64 via 2001:db8::2 dev eth0 src fd64:0:0:1::1
"""
EXTENSION = """
command for 10.64.2.0/24: NETWORK=10.64.0.0/16 PUBLIC_IP=192.168.50.2 PUBLIC_IPV6=2001:db8::2 SUBNET=10.64.2.0/24 add
command for fd64:0:0:2::/64: IPV6SUBNET=fd64:0:0:2::/64 NETWORK=10.64.0.0/16 PUBLIC_IP=192.168.50.2 PUBLIC_IPV6=2001:db8::2 add
"""
IPIP = f"""
link {VX} type ipip local 192.168.50.1 mtu 1430
sysctl net/ipv4/conf/{VX}/forwarding = 1
address 10.64.1.0/32 dev {VX}
route 10.64.2.0/24 via 192.168.50.2 dev {VX} onlink
"""
VXLAN_4 = f"""
{DEVICE_4} nolearning address {MACS["n1"]} mtu 1430
fdb {MACS["n2"]} dst 192.168.50.2 dev {VX}
{ROUTED}
"""
VXLAN_6 = f"""
{DEVICE_6} nolearning address {MACS["n1"]} mtu 1430
fdb {MACS["n2"]} dst 2001:db8::2 dev {VX}
{ROUTED}
"""
UDP_4 = f"""
link {VX} type tun mtu 1430
udp tunnel {VX} dev eth0 local 192.168.50.1 port 8285 bridge {BR} own 10.64.1.0/24 fd64:0:0:1::/64
sysctl net/ipv4/conf/{VX}/forwarding = 1
address 10.64.1.0/32 dev {VX}
address fd64:0:0:1::/128 dev {VX}
udp peer 10.64.2.0/24 at 192.168.50.2:8285 dev {VX}
route 10.64.2.0/24 dev {VX}
udp peer fd64:0:0:2::/64 at 192.168.50.2:8285 dev {VX}
-6 route fd64:0:0:2::/64 dev {VX}
"""
FLAT_4 = f"""
{DEVICE_4} learning address {MACS["n1"]} master {BR} mtu 1430
fdb 00:00:00:00:00:00 dst 192.168.50.2 dev {VX}
"""
FLAT_6 = f"""
{DEVICE_6} learning address {MACS["n1"]} master {BR} mtu 1430
fdb 00:00:00:00:00:00 dst 2001:db8::2 dev {VX}
"""


def web(backend: str) -> Network:
    """Return the network with what a backend needs, and the subnets that it can carry."""
    options = (("subnet_add", "add"),) if backend == "extension" else ()
    return replace(WEB, backend=backend, subnets=SUBNETS[:1] if backend == "ipip" else SUBNETS, options=options)


def node(number: int, versions: Sequence[int] = (4, 6)) -> Node:
    underlay = tuple(ip_interface(f"{UNDERLAYS[v][0].format(number)}/{UNDERLAYS[v][1]}") for v in versions)
    return Node(id=f"n{number}", name=f"h{number}", underlay=underlay, device="eth0")


def leases(owner: Node, *blocks: str, data: tuple[tuple[str, str], ...] = ()) -> list[Lease]:
    return [Lease(network="web", block=ip_network(b), node=owner.id, underlay=owner.addresses, data=data) for b in blocks]


def segment(network: Network, versions: Sequence[int] = (4, 6)) -> Segment:
    own = tuple(leases(node(1), "10.64.1.0/24", "fd64:0:0:1::/64"))
    return Segment(network=network, node=node(1, versions), leases=own, mtu=1430)


def peers(number: int = 2) -> list[Lease]:
    return leases(node(number), f"10.64.{number}.0/24", f"fd64:0:0:{number}::/64")


def plan(network: Network, others: Sequence[Lease], versions: Sequence[int] = (4, 6)) -> list[KernelObject]:
    BACKENDS[network.backend].validate(network)
    return list(BACKENDS[network.backend].plan(segment(network, versions), others))


def texts(objects: Sequence[KernelObject]) -> set[str]:
    assert len({o.key for o in objects}) == len(objects)
    return {str(o) for o in objects}


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line}


@pytest.mark.parametrize(
    ("backend", "layer", "versions", "text"),
    [
        ("none", 3, (4, 6), ""),
        ("none", 2, (4, 6), ""),
        ("alloc", 3, (4, 6), ""),
        ("host-gw", 3, (4, 6), HOST_GW),
        ("auto", 3, (4, 6), DIRECT),
        ("ipip", 3, (4,), IPIP),
        ("extension", 3, (4, 6), EXTENSION),
        ("vxlan", 3, (4, 6), VXLAN_4),
        ("vxlan", 3, (6, 4), VXLAN_6),
        ("vxlan", 3, (6,), VXLAN_6),
        ("udp", 3, (4, 6), UDP_4),
        (
            "udp",
            3,
            (6, 4),
            UDP_4.replace("192.168.50.1", "2001:db8::1").replace("192.168.50.2", "[2001:db8::2]"),
        ),
        ("vxlan", 2, (4,), FLAT_4),
        ("vxlan", 2, (6, 4), FLAT_6),
    ],
)
def test_the_plan_for_one_peer(backend: str, layer: int, versions: tuple[int, ...], text: str) -> None:
    network = replace(web(backend), layer=layer)
    assert texts(plan(network, peers(), versions)) == lines(text)


def test_a_command_comes_before_a_lease_and_is_announced() -> None:
    options = (("pre_startup", "make key"), ("subnet_add", "add"))
    network = replace(WEB, backend="extension", options=options)
    first = before_lease(network)
    assert first == Command(network="web", subject="this host's lease", run="make key", announced=True)
    backend = BACKENDS["extension"]
    assert first in plan(network, [])
    assert first not in list(backend.plan(replace(segment(network), leases=()), peers())), "who has no block has run nothing"
    assert backend.announce(replace(segment(network), said="\n a key \n")) == {"data": "a key"}
    assert backend.announce(segment(network)) == {}
    assert before_lease(replace(network, backend="vxlan")) is None


def test_blocks_of_one_peer_share_its_forwarding_entry() -> None:
    more = leases(node(2), "10.64.2.0/24", "10.64.9.0/24", "fd64:0:0:2::/64")
    made = texts(plan(replace(WEB, backend="vxlan"), more))
    assert [line for line in made if line.startswith("fdb")] == [f"fdb {MACS['n2']} dst 192.168.50.2 dev {VX}"]
    assert f"route 10.64.9.0/24 via 10.64.9.0 dev {VX} onlink" in made


def test_a_flood_goes_to_each_peer_once() -> None:
    made = texts(plan(replace(WEB, backend="vxlan", layer=2), [*peers(2), *peers(3), *leases(node(2), "10.64.8.0/24")]))
    assert {line for line in made if line.startswith("fdb")} == {
        f"fdb 00:00:00:00:00:00 dst 192.168.50.{n} dev {VX}" for n in (2, 3)
    }


def test_the_first_of_our_blocks_numbers_the_tunnel() -> None:
    network = replace(WEB, backend="vxlan")
    own = tuple(leases(node(1), "10.64.1.0/24", "10.64.7.0/24", "fd64:0:0:1::/64", "fd64:0:0:7::/64"))
    made = texts(list(BACKENDS["vxlan"].plan(replace(segment(network), leases=own), [])))
    assert {line for line in made if line.startswith("address")} == {
        f"address 10.64.1.0/32 dev {VX}",
        f"address fd64:0:0:1::/128 dev {VX}",
    }


def test_a_peer_is_believed_about_its_mac() -> None:
    announced = leases(node(2), "10.64.2.0/24", data=(("vtep_mac", "aa:bb:cc:dd:ee:ff"),))
    made = texts(plan(replace(WEB, backend="vxlan"), announced))
    assert f"neighbor 10.64.2.0 lladdr aa:bb:cc:dd:ee:ff dev {VX}" in made
    assert f"fdb aa:bb:cc:dd:ee:ff dst 192.168.50.2 dev {VX}" in made


def test_what_is_announced_is_what_peers_would_work_out() -> None:
    announce = BACKENDS["vxlan"].announce
    assert announce(segment(replace(WEB, backend="vxlan"))) == {"vtep_mac": MACS["n1"]}
    assert announce(segment(replace(WEB, backend="vxlan", layer=2))) == {}
    assert BACKENDS["host-gw"].announce(segment(WEB)) == BACKENDS["none"].announce(segment(WEB)) == {}


@pytest.mark.parametrize("driver", ["macvlan", "ptp"])
def test_only_a_bridge_takes_the_tunnel_as_a_port(driver: str) -> None:
    made = plan(replace(WEB, driver=driver, backend="vxlan", layer=2), peers())
    assert [o.master for o in made if isinstance(o, Vxlan)] == [""]


def test_only_a_bridge_lends_its_address_to_the_host() -> None:
    made = texts(plan(replace(WEB, driver="ptp", backend="host-gw"), peers()))
    assert "route 10.64.2.0/24 via 192.168.50.2 dev eth0" in made


def test_vxlan_options() -> None:
    network = replace(WEB, backend="vxlan", options=(("port", "8472"), ("vni", "16777215")))
    (device,) = (o for o in plan(network, []) if isinstance(o, Vxlan))
    assert (device.vni, device.port) == (16777215, 8472)


def test_a_node_without_underlay_has_no_tunnel_yet() -> None:
    assert plan(replace(WEB, backend="vxlan"), peers(), versions=()) == []


@pytest.mark.parametrize(
    ("backend", "peer", "lost"),
    [
        ("none", node(2, ()), 0),
        ("host-gw", node(2), 0),
        ("host-gw", node(2, (4,)), 1),  # its IPv6 block has no next hop
        ("host-gw", Node(id="n2", name="h2", underlay=(ip_interface("192.168.51.2/24"),)), 2),  # behind a router
        ("vxlan", Node(id="n2", name="h2", underlay=(ip_interface("192.168.51.2/24"),)), 0),
        ("vxlan", node(2, (6,)), 2),  # our tunnel speaks IPv4
        ("vxlan", node(2, ()), 2),
        ("udp", node(2, (6,)), 2),
        ("vxlan", replace(node(2), underlay=node(1).underlay), 2),  # it announces our own address
        ("host-gw", replace(node(2), underlay=node(1).underlay), 2),
        ("auto", node(2), 0),
        ("auto", Node(id="n2", name="h2", underlay=(ip_interface("192.168.51.2/24"),)), 0),
        ("auto", node(2, (6,)), 1),  # its IPv4 block is behind a tunnel that our tunnel does not meet
        ("alloc", node(2, ()), 0),
    ],
)
def test_what_cannot_be_reached_is_told_and_not_planned(backend: str, peer: Node, lost: int) -> None:
    network = replace(WEB, backend=backend)
    others = leases(peer, "10.64.2.0/24", "fd64:0:0:2::/64")
    missing = unreachable(segment(network), others)
    assert len(missing) == lost
    made = texts(plan(network, others))
    assert not [line for line in made for lease in missing if str(lease.block) in line]


@pytest.mark.parametrize(
    ("backend", "v4", "v6"),
    [
        ("none", 0, 0),
        ("alloc", 0, 0),
        ("host-gw", 0, 0),
        ("vxlan", 50, 70),
        ("auto", 50, 70),
        ("ipip", 20, 20),
        ("udp", 28, 48),
        ("wireguard", 60, 80),
    ],
)
def test_overhead(backend: str, v4: int, v6: int) -> None:
    overhead = BACKENDS[backend].overhead
    assert overhead(ip_address("192.0.2.1")) == overhead(None) == v4
    assert overhead(ip_address("2001:db8::1")) == v6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"backend": "host-gw", "layer": 2}, Unsupported, "joins hosts at layer 3, not 2"),
        ({"backend": "host-gw", "subnets": ()}, UsageError, "routes blocks of a subnet"),
        ({"backend": "vxlan", "subnets": ()}, UsageError, "routes blocks of a subnet"),
        ({"backend": "vxlan", "options": (("vni", "16777216"),)}, UsageError, "vni is '16777216', not a number from 1"),
        ({"backend": "vxlan", "options": (("vni", "0"),)}, UsageError, "not a number from 1 to 16777215"),
        ({"backend": "extension"}, UsageError, "needs a command"),
        ({"backend": "extension", "options": (("pre_startup", "a"),)}, UsageError, "needs a command"),
        ({"backend": "ipip"}, Unsupported, "carries IPv4 only, and fd64::/48 is not"),
        ({"backend": "ipip", "layer": 2}, Unsupported, "joins hosts at layer 3, not 2"),
        ({"backend": "auto", "layer": 2}, Unsupported, "joins hosts at layer 3, not 2"),
        ({"backend": "alloc", "subnets": ()}, UsageError, "routes blocks of a subnet"),
        ({"backend": "vxlan", "options": (("gbp", "yes"),)}, UsageError, "gbp is 'yes', not one of off, on"),
        ({"backend": "vxlan", "options": (("device", "a/b"),)}, UsageError, "cannot be the name of a link"),
        ({"backend": "vxlan", "options": (("device", "f"), ("device6", "f"))}, UsageError, "are both 'f'"),
        ({"backend": "vxlan", "layer": 2, "options": (("direct_routing", "on"),)}, Unsupported, "not 2"),
        ({"backend": "vxlan", "options": (("port", "65536"),)}, UsageError, "not a number from 1 to 65535"),
    ],
)
def test_a_bad_network_is_refused(changes: dict, error: type[UsageError], message: str) -> None:
    network = replace(WEB, **changes)
    with pytest.raises(error, match=message):
        BACKENDS[network.backend].validate(network)


# -- what holds for every backend, so that a new one is tested by being in the registry ------------------------------

EVERY = [(name, layer) for name, backend in BACKENDS.items() for layer in backend.layers]
everywhere = pytest.mark.parametrize(("backend", "layer"), EVERY)


@everywhere
def test_the_order_of_peers_does_not_matter(backend: str, layer: int) -> None:
    network = replace(web(backend), layer=layer)
    others = [lease for number in range(2, 9) for lease in peers(number)]
    expected = {o.key: o for o in plan(network, others)}
    for seed in range(5):
        random.Random(seed).shuffle(others)
        assert {o.key: o for o in plan(network, others)} == expected


@everywhere
def test_a_peer_adds_and_changes_no_other(backend: str, layer: int) -> None:
    network = replace(web(backend), layer=layer)
    alone, one, two = ({o.key: o for o in plan(network, p)} for p in ([], peers(2), [*peers(2), *peers(3)]))
    assert alone.items() <= one.items() <= two.items()


@everywhere
def test_names_fit_the_kernel_and_nothing_is_in_a_container(backend: str, layer: int) -> None:
    made = plan(replace(web(backend), layer=layer), peers())
    assert all(o.ns == HOST for o in made)
    assert all(len(o.name) <= 15 for o in made if isinstance(o, Link))


@everywhere
def test_every_option_has_a_line_of_help(backend: str, layer: int) -> None:
    assert BACKENDS[backend].name == backend
    assert layer in (2, 3)
    assert all(key and text and "\n" not in text for key, text in BACKENDS[backend].options.items())
