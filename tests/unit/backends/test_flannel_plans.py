"""What flannel's options and peers become: its devices, direct routes, peers of another kind, commands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.backends import BACKENDS, shared_addresses, unreachable, widest
from wefted.engine.diff import diff, index
from wefted.errors import UsageError
from wefted.model.command import Command
from wefted.model.link import Vxlan
from wefted.model.node import Node
from wefted.model.objects import HOST
from wefted.model.tunnel import UdpTunnel

from .test_backend_plans import MACS, VX, WEB, leases, lines, node, peers, plan, segment, texts

FLANNEL = replace(
    WEB, backend="vxlan", options=(("device", "flannel.1"), ("device6", "flannel-v6.1"), ("port", "8472"), ("vni", "1"))
)


def test_flannels_objects_bit_for_bit() -> None:
    """As flannel 0.20.2 makes them: a device for each IP version, and for a peer a neighbour, an entry, an onlink route."""
    data = (("vni", "1"), ("vtep_mac", "62:36:36:1c:6d:33"))
    made = texts(plan(FLANNEL, leases(node(2), "10.64.2.0/24", "fd64:0:0:2::/64", data=data)))
    assert made == lines(f"""
link flannel.1 type vxlan id 1 local 192.168.50.1 dev eth0 dstport 8472 nolearning address {MACS["n1"]} mtu 1430
sysctl net/ipv4/conf/flannel.1/forwarding = 1
address 10.64.1.0/32 dev flannel.1
fdb 62:36:36:1c:6d:33 dst 192.168.50.2 dev flannel.1
neighbor 10.64.2.0 lladdr 62:36:36:1c:6d:33 dev flannel.1
route 10.64.2.0/24 via 10.64.2.0 dev flannel.1 onlink
link flannel-v6.1 type vxlan id 1 local 2001:db8::1 dev eth0 dstport 8472 nolearning address {MACS["n1"]} mtu 1430
address fd64:0:0:1::/128 dev flannel-v6.1
fdb 62:36:36:1c:6d:33 dst 2001:db8::2 dev flannel-v6.1
neighbor fd64:0:0:2:: lladdr 62:36:36:1c:6d:33 dev flannel-v6.1
-6 route fd64:0:0:2::/64 via fd64:0:0:2:: dev flannel-v6.1 onlink
""")


def test_a_second_tunnel_is_the_one_that_takes_most_of_a_packet() -> None:
    """flannel takes 50 bytes off for both, and fragments what goes over IPv6."""
    assert widest(FLANNEL, node(1)) == ip_address("2001:db8::1")
    assert widest(WEB, node(1)) == ip_address("192.168.50.1")
    assert widest(FLANNEL, node(1, (4,))) == ip_address("192.168.50.1")


def test_direct_routing_leaves_the_tunnel_to_peers_behind_a_router() -> None:
    network = replace(WEB, backend="vxlan", options=(("direct_routing", "on"),))
    far = leases(Node(id="n2", name="h2", underlay=(ip_interface("192.168.51.2/24"),)), "10.64.2.0/24")
    made = texts(plan(network, [*far, *peers(3)]))
    assert f"route 10.64.2.0/24 via 10.64.2.0 dev {VX} onlink" in made
    assert "route 10.64.3.0/24 via 192.168.50.3 dev eth0 src 10.64.1.1" in made
    assert [line for line in made if line.startswith("fdb")] == [f"fdb {MACS['n2']} dst 192.168.51.2 dev {VX}"]


def test_a_peer_that_moves_behind_a_router_changes_from_route_to_tunnel_and_back() -> None:
    network = replace(WEB, backend="auto")
    near = plan(network, leases(node(2), "10.64.2.0/24"))
    far = plan(network, leases(Node(id="n2", name="h2", underlay=(ip_interface("192.168.51.2/24"),)), "10.64.2.0/24"))
    (direct,) = (o for o in near if o.key == ("route", HOST, ip_network("10.64.2.0/24"), 254, 0))
    (wrapped,) = (o for o in far if o.key == direct.key)
    assert (str(direct), str(wrapped)) == (
        "route 10.64.2.0/24 via 192.168.50.2 dev eth0 src 10.64.1.1",
        f"route 10.64.2.0/24 via 10.64.2.0 dev {VX} onlink",
    )


def test_the_switches_of_the_device() -> None:
    network = replace(WEB, backend="vxlan", options=(("gbp", "on"), ("learning", "on")))
    (device,) = (o for o in plan(network, []) if isinstance(o, Vxlan))
    assert (device.gbp, device.learning) == (True, True)


@pytest.mark.parametrize(
    ("owner", "data", "reason"),
    [
        ("flannel:192.168.50.2", (), "announces no VTEP MAC"),
        ("flannel:192.168.50.2", (("vni", "2"), ("vtep_mac", MACS["n2"])), "announces VNI 2, and the network's is 7"),
        ("flannel:192.168.50.2", (("vtep_mac", MACS["n2"]),), ""),  # flannel until 0.11 says no VNI
        ("n2", (), ""),  # a node of ours, whose MAC follows from its id
    ],
)
def test_a_peer_of_another_kind_is_told_and_not_planned(owner: str, data: tuple[tuple[str, str], ...], reason: str) -> None:
    network = replace(WEB, backend="vxlan")
    peer = replace(leases(node(2), "10.64.2.0/24", data=data)[0], node=owner)
    told = unreachable(segment(network), [peer])
    assert list(told) == ([peer] if reason else [])
    assert reason in told.get(peer, "")
    assert [o for o in plan(network, [peer]) if "10.64.2.0" in str(o)] == [] or not reason


def test_a_changed_mac_leaves_no_stale_entry() -> None:
    """flannel leaves the entry of the old MAC behind when a peer's device was made again (its issue 1155)."""
    network = replace(WEB, backend="vxlan")
    before, after = (
        index(plan(network, leases(node(2), "10.64.2.0/24", data=(("vtep_mac", mac),))))
        for mac in ("aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:02")
    )
    changes = [str(change) for change in diff(after, before)]
    assert sorted(changes) == [
        f"+ fdb aa:bb:cc:dd:ee:02 dst 192.168.50.2 dev {VX}",
        f"- fdb aa:bb:cc:dd:ee:01 dst 192.168.50.2 dev {VX}",
        f"~ neighbor 10.64.2.0 lladdr aa:bb:cc:dd:ee:02 dev {VX}",
    ]


def test_hosts_that_look_the_same_from_outside_are_told_apart() -> None:
    """Two machines with 10.0.2.15: flannel gives both one subnet (its issue 51)."""
    twin = replace(node(3), underlay=node(2).underlay)
    second, third, fourth = (leases(owner, f"10.64.{n}.0/24")[0] for owner, n in ((node(2), 2), (twin, 3), (node(4), 4)))
    told = shared_addresses([second, third, fourth])
    assert told == {second: (node(2).addresses[-1], "n3"), third: (node(2).addresses[-1], "n2")}


def test_commands_of_a_peer_find_what_it_announces_and_can_be_taken_back() -> None:
    network = replace(
        WEB, backend="extension", options=(("post_startup", "up"), ("subnet_add", "add"), ("subnet_remove", "remove"))
    )
    start, peer = plan(network, leases(node(2), "10.64.2.0/24", data=(("data", "a key"),)))
    assert isinstance(start, Command)
    assert isinstance(peer, Command)
    assert (peer.stdin, peer.undo) == ("a key", "remove")
    assert dict(start.environment) == {
        "NETWORK": "10.64.0.0/16", "SUBNET": "10.64.1.0/24", "IPV6SUBNET": "fd64:0:0:1::/64",
        "PUBLIC_IP": "192.168.50.1", "PUBLIC_IPV6": "2001:db8::1",
    }  # fmt: skip


def test_flannels_networks_have_flannels_device_and_the_whole_route() -> None:
    network = replace(WEB, backend="udp", labels=(("flannel.prefix", "/coreos.com/network/"),), options=(("port", "9000"),))
    made = texts(plan(network, peers()))
    assert "route 10.64.0.0/16 dev flannel0" in made
    assert "address 10.64.1.0/32 dev flannel0" in made
    assert "udp peer 10.64.2.0/24 at 192.168.50.2:9000 dev flannel0" in made
    assert "route 10.64.0.0/16 dev tun7" in texts(plan(replace(WEB, backend="udp", options=(("device", "tun7"),)), []))


@pytest.mark.parametrize(
    "change", [{"options": (("direct", "off"),)}, {"driver": "ptp"}, {"options": (("bridge", "docker0"),)}]
)
def test_only_a_bridge_of_ours_is_joined_past_the_stack(change: dict[str, object]) -> None:
    (tunnel,) = (o for o in plan(replace(WEB, backend="udp", **change), []) if isinstance(o, UdpTunnel))
    assert tunnel.bridge == ""


@pytest.mark.parametrize("option", [("port", "0"), ("direct", "maybe"), ("device", "a/b"), ("device", "sixteen-letters-")])
def test_bad_options_of_udp_are_refused(option: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=option[0]):
        BACKENDS["udp"].validate(replace(WEB, backend="udp", options=(option,)))
