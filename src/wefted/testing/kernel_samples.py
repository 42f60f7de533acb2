"""One object of each kind, with what it needs to exist, and a change to it: what every `Kernel` is tested with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

from wefted.model.command import Command
from wefted.model.firewall import NftElement, NftTable, Sysctl
from wefted.model.link import Bridge, Dummy, Ipip, Ipvlan, LinkState, Macvlan, MovedLink, PortVlan, Veth, Vlan, Vxlan
from wefted.model.objects import KernelObject, Netns
from wefted.model.route import FLOOD, Address, ForwardingEntry, Neighbor, Route, Rule
from wefted.model.secret import Secret
from wefted.model.shaping import Shaper
from wefted.model.tunnel import Tun, UdpPeer, UdpPort, UdpTunnel
from wefted.model.wireguard import Wireguard, WireguardPeer

BODY = """
set networks4 { type ipv4_addr; flags interval; }
set networks6 { type ipv6_addr; flags interval; }
set pairs { type ipv4_addr . ipv4_addr; flags interval; }
set names { type ifname; }
map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
map one4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
map one6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
chain published {
    dnat ip to meta l4proto . th dport map @any4
    dnat ip to ip daddr . meta l4proto . th dport map @one4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @one6
}
chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local goto published
}
chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr . ip daddr @pairs accept
    iifname @names ip daddr @networks4 counter drop
}
"""
"""A table with everything that ours has: interval sets, pairs of them, maps of concatenations, nat and filter chains."""

FOREIGN = "other0"
"""A link of the host that is not ours."""

BRIDGE = Bridge(name="br-test", mac="02:00:00:00:00:01", mtu=1450)
OTHER = Bridge(name="bx-test", mac="02:00:00:00:00:03")
JOINT = Veth(name="ja-test", mtu=1450, master=BRIDGE.name, peer_name="jb-test")
VXLAN = Vxlan(name="vx-test", vni=77, local=ip_address("192.0.2.1"), mac="02:00:00:00:00:02", mtu=1400)
VXLAN6 = Vxlan(name="vx-test", vni=77, local=ip_address("2001:db8::1"), device=FOREIGN, port=4790, learning=True)
TUN = Tun(name="flannel0", mtu=1472)
OTHER_TUN = Tun(name="vx-other", mtu=1472)
TUNNEL = UdpTunnel(
    link=TUN.name, device=FOREIGN, local=ip_address("192.0.2.1"), port=8285, bridge=BRIDGE.name,
    blocks=(ip_network("10.5.1.0/24"), ip_network("10.5.9.0/24")),
)  # fmt: skip
TUNNEL6 = replace(TUNNEL, local=ip_address("2001:db8::1"), bridge="", blocks=(ip_network("fd05:1::/64"),))
TABLE = NftTable(body=BODY)
WIREGUARD_KEY = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
"""The private key of the samples' host, which is that of Alice in RFC 7748, section 6.1."""
WIREGUARD = Wireguard(  # where programs listen is one folder for all namespaces of the machine
    name=f"wg-{os.getpid()}", port=51820, mtu=1420, public_key="hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
)
WIREGUARD_PEER = WireguardPeer(
    link=WIREGUARD.name, public_key="3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=", remote=ip_address("192.0.2.2"), port=51820,
    allowed=(ip_network("10.5.2.0/24"), ip_network("10.5.3.0/24"), ip_network("fd05:2::/64")),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """An object, what it needs, and the same object changed; `feature` is the kernel's, "" for what each kernel has."""

    item: KernelObject
    needs: tuple[KernelObject, ...] = ()
    changed: KernelObject | None = None
    feature: str = ""


Make = Callable[[Netns], Sample]
"""Given an empty sandbox."""


def veth(sandbox: Netns, name: str = "ve-test") -> Veth:
    """Return a port of the bridge whose far end is `eth0` of the sandbox."""
    return Veth(
        name=name, mtu=1450, master=BRIDGE.name, alias="net netns:c1", peer_ns=sandbox, peer_name="eth0",
        peer_mac="02:00:00:00:01:01",
    )  # fmt: skip


def attached(sandbox: Netns) -> tuple[KernelObject, ...]:
    """Return a bridge and a sandbox's link that is up and has addresses, as an attach makes them."""
    return (
        BRIDGE,
        veth(sandbox),
        LinkState(ns=sandbox, name="lo"),
        LinkState(ns=sandbox, name="eth0", mtu=1450, mac="02:00:00:00:01:01"),
        Address(ns=sandbox, link="eth0", address=ip_interface("10.64.0.5/24")),
        Address(ns=sandbox, link="eth0", address=ip_interface("fd64::5/64")),
    )


def _on_eth0(sandbox: Netns, item: KernelObject, changed: KernelObject | None = None) -> Sample:
    return Sample(item, attached(sandbox), changed)


def _route(sandbox: Netns, destination: str, via: str = "", **rest: object) -> Route:
    return Route(
        ns=sandbox, destination=ip_network(destination), link="eth0", via=ip_address(via) if via else None,
        **rest,  # type: ignore[arg-type]
    )  # fmt: skip


def _element(container: str, match: Sequence[str], value: Sequence[str] = ()) -> Sample:
    item = NftElement(container=container, match=tuple(match), value=tuple(value))
    other = replace(item, value=("10.64.0.99", "8080")) if value else None
    return Sample(item, (TABLE,), other if item.container != "one6" else None, "nft")


SAMPLES: dict[str, Make] = {
    "bridge": lambda ns: Sample(BRIDGE, (), replace(BRIDGE, mtu=1400, mac="02:00:00:00:00:09")),
    "bridge with the kernel's choices": lambda ns: Sample(Bridge(name="br-test")),
    "veth": lambda ns: Sample(veth(ns), (BRIDGE,), replace(veth(ns), mtu=1300, hairpin=True)),
    "veth without a master": lambda ns: Sample(
        replace(veth(ns), master=""), (BRIDGE,), replace(veth(ns), master=BRIDGE.name, mtu=1450)
    ),
    "veth isolated": lambda ns: Sample(replace(veth(ns), isolated=True), (BRIDGE,), replace(veth(ns), hairpin=True)),
    "veth with hairpin": lambda ns: Sample(replace(veth(ns), hairpin=True), (BRIDGE,), replace(veth(ns), master="")),
    "access port": lambda ns: Sample(
        PortVlan(link="ve-test", tag=10), (BRIDGE, veth(ns)), PortVlan(link="ve-test", tag=4094), "port-vlan"
    ),
    "macvlan": lambda ns: Sample(
        Macvlan(ns=ns, name="eth0", parent=FOREIGN, mac="02:00:00:00:02:01", mtu=1400),
        (),
        Macvlan(ns=ns, name="eth0", parent=FOREIGN, mac="02:00:00:00:02:02", mtu=1300),
        "macvlan",
    ),
    "macvlan in another mode": lambda ns: Sample(
        Macvlan(ns=ns, name="eth0", parent=FOREIGN, mode="private"), (), Macvlan(ns=ns, name="eth0", parent=FOREIGN), "macvlan"
    ),
    "dummy": lambda ns: Sample(
        Dummy(ns=ns, name="eth0", mac="02:00:00:00:02:03", mtu=1400),
        (),
        Dummy(ns=ns, name="eth0", mac="02:00:00:00:02:04", mtu=1300),
        "dummy",
    ),
    "ipvlan": lambda ns: Sample(
        Ipvlan(ns=ns, name="eth0", parent=FOREIGN), (), Ipvlan(ns=ns, name="eth0", parent=FOREIGN, mode="l3"), "ipvlan"
    ),
    "vlan": lambda ns: Sample(
        Vlan(name="vl-test", parent=FOREIGN, tag=7), (), Vlan(name="vl-test", parent=FOREIGN, tag=8), "vlan"
    ),
    "vlan in a sandbox": lambda ns: Sample(Vlan(ns=ns, name="eth0", parent=FOREIGN, tag=7), feature="vlan"),
    "vxlan": lambda ns: Sample(VXLAN, (BRIDGE,), replace(VXLAN, vni=78, master=BRIDGE.name), "vxlan"),
    "command": lambda ns: Sample(
        Command(network="web", subject="10.64.2.0/24", run="test $SUBNET = 10.64.2.0/24", undo="cat >/dev/null",
                environment=(("NETWORK", "10.64.0.0/16"), ("SUBNET", "10.64.2.0/24")), stdin="what it announces"), (),
        Command(network="web", subject="10.64.2.0/24", run="true", undo="true"),
    ),
    "ipip": lambda ns: Sample(
        Ipip(name="flannel.ipip", local=ip_address("192.0.2.1"), mtu=1400), (),
        Ipip(name="flannel.ipip", local=ip_address("192.0.2.2"), mtu=1300), "ipip",
    ),
    "vxlan with group policy": lambda ns: Sample(replace(VXLAN, gbp=True), (), replace(VXLAN, gbp=False), "vxlan"),
    "vxlan named as flannel does": lambda ns: Sample(
        replace(VXLAN, name="flannel.1", port=8472, vni=1), (), replace(VXLAN, name="flannel.1", port=8472, vni=2), "vxlan"
    ),
    "vxlan over IPv6": lambda ns: Sample(
        replace(VXLAN6, master=BRIDGE.name), (BRIDGE,), replace(VXLAN6, port=4791, learning=False),
        "vxlan",
    ),
    "moved link": lambda ns: Sample(
        MovedLink(ns=ns, name="eth0", origin=FOREIGN), (), MovedLink(ns=ns, name="eth0", origin=FOREIGN, mtu=1300)
    ),
    "link state": lambda ns: Sample(
        LinkState(ns=ns, name="eth0"), (BRIDGE, veth(ns)), LinkState(ns=ns, name="eth0", mtu=1300, mac="02:00:00:00:01:07")
    ),
    "link state of a port": lambda ns: Sample(
        LinkState(name="jb-test", master=OTHER.name, mtu=1450, link_local=False), (BRIDGE, OTHER, JOINT),
        LinkState(name="jb-test", master=BRIDGE.name),
    ),
    "pair within the host": lambda ns: Sample(JOINT, (BRIDGE,), replace(JOINT, isolated=True, mtu=1300)),
    "loopback": lambda ns: Sample(LinkState(ns=ns, name="lo"), (), LinkState(ns=ns, name="lo", up=False)),
    "address": lambda ns: Sample(Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24")), (BRIDGE,)),
    "address of a /31": lambda ns: Sample(Address(link=BRIDGE.name, address=ip_interface("10.64.0.0/31")), (BRIDGE,)),
    "address of a /32": lambda ns: Sample(Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/32")), (BRIDGE,)),
    "address, IPv6": lambda ns: Sample(Address(link=BRIDGE.name, address=ip_interface("fd64::1/64")), (BRIDGE,)),
    "address, link-local": lambda ns: Sample(Address(link=BRIDGE.name, address=ip_interface("fe80::1/64")), (BRIDGE,)),
    "address in a sandbox": lambda ns: _on_eth0(ns, Address(ns=ns, link="eth0", address=ip_interface("10.64.0.6/24"))),
    "default route": lambda ns: _on_eth0(
        ns, _route(ns, "0.0.0.0/0", "10.64.0.1"), _route(ns, "0.0.0.0/0", "10.64.0.2", source=ip_address("10.64.0.5"))
    ),
    "default route, IPv6": lambda ns: _on_eth0(ns, _route(ns, "::/0", "fd64::1"), _route(ns, "::/0", "fd64::2")),
    "route to the link": lambda ns: _on_eth0(ns, _route(ns, "10.70.0.0/16"), _route(ns, "10.70.0.0/16", "10.64.0.1")),
    "route to the link, IPv6": lambda ns: _on_eth0(ns, _route(ns, "fd70::/64")),
    "route onlink": lambda ns: _on_eth0(ns, _route(ns, "10.70.0.0/16", "10.99.0.1", onlink=True)),
    "route onlink, IPv6": lambda ns: _on_eth0(ns, _route(ns, "fd70::/64", "fd99::1", onlink=True)),
    "route with metric and table": lambda ns: _on_eth0(ns, _route(ns, "10.70.0.0/16", "10.64.0.1", metric=50, table=1000)),
    "route, IPv6, with metric and table": lambda ns: _on_eth0(ns, _route(ns, "fd70::/64", "fd64::1", metric=50, table=1000)),
    "route left open": lambda ns: _on_eth0(ns, replace(_route(ns, "10.70.0.0/16", "10.64.0.1"), link="")),
    "blackhole": lambda ns: _on_eth0(
        ns, Route(ns=ns, destination=ip_network("10.70.0.0/16"), blackhole=True), _route(ns, "10.70.0.0/16", "10.64.0.1")
    ),
    "blackhole, IPv6": lambda ns: _on_eth0(ns, Route(ns=ns, destination=ip_network("fd70::/64"), blackhole=True)),
    "rule": lambda ns: Sample(
        Rule(priority=900, table=1000, source=ip_network("10.64.0.0/24"), destination=ip_network("10.65.0.0/16"), fwmark=7),
        (),
        Rule(priority=900, table=12, source=ip_network("10.64.0.0/24"), iif="lo"),
    ),
    "rule, IPv6": lambda ns: Sample(Rule(family=6, priority=900, table=12, source=ip_network("fd64::/64"))),
    "neighbor": lambda ns: Sample(
        Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:01"),
        (BRIDGE,),
        Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:02"),
    ),
    "neighbor, IPv6": lambda ns: Sample(
        Neighbor(link=BRIDGE.name, address=ip_address("fd64::9"), mac="02:00:00:00:03:01"), (BRIDGE,)
    ),
    "tun": lambda ns: Sample(TUN, (), replace(TUN, mtu=1400), "tun"),
    "udp tunnel": lambda ns: Sample(TUNNEL, (BRIDGE, TUN), replace(TUNNEL, port=8286, bridge=""), "tun"),
    "udp tunnel whose bridge is not there": lambda ns: Sample(TUNNEL, (TUN,), replace(TUNNEL, blocks=()), "tun"),
    "udp tunnel over IPv6": lambda ns: Sample(TUNNEL6, (TUN,), feature="tun"),
    "udp peer": lambda ns: Sample(
        UdpPeer(link=TUN.name, block=ip_network("10.5.2.0/24"), remote=ip_address("192.0.2.2"), port=8285),
        (BRIDGE, TUN, TUNNEL),
        UdpPeer(link=TUN.name, block=ip_network("10.5.2.0/24"), remote=ip_address("192.0.2.3"), port=8286),
        "tun",
    ),
    "udp peer over IPv6": lambda ns: Sample(
        UdpPeer(link=TUN.name, block=ip_network("fd05:2::/64"), remote=ip_address("2001:db8::2"), port=8285),
        (TUN, TUNNEL6),
        feature="tun",
    ),
    "udp port": lambda ns: Sample(
        UdpPort(link="ve-test", tunnel=TUN.name), (BRIDGE, TUN, TUNNEL, OTHER_TUN, veth(ns)),
        UdpPort(link="ve-test", tunnel=OTHER_TUN.name), "tun",
    ),
    "wireguard": lambda ns: Sample(WIREGUARD, (), replace(WIREGUARD, port=51821, mtu=1400, fwmark=7), "wireguard"),
    "wireguard peer": lambda ns: Sample(
        WIREGUARD_PEER, (WIREGUARD,),
        replace(WIREGUARD_PEER, remote=ip_address("2001:db8::2"), port=1, allowed=(ip_network("10.5.4.0/24"),), keepalive=25),
        "wireguard",
    ),
    "wireguard peer with a pre-shared key": lambda ns: Sample(
        replace(WIREGUARD_PEER, psk=Secret(WIREGUARD_KEY), keepalive=25), (WIREGUARD,), WIREGUARD_PEER, "wireguard"
    ),
    "forwarding entry": lambda ns: Sample(
        ForwardingEntry(link=VXLAN.name, mac="02:00:00:00:04:01", remote=ip_address("192.0.2.9")), (VXLAN,), feature="vxlan"
    ),
    "forwarding entry for flooding": lambda ns: Sample(
        ForwardingEntry(link=VXLAN.name, mac=FLOOD, remote=ip_address("192.0.2.9")),
        (VXLAN, ForwardingEntry(link=VXLAN.name, mac=FLOOD, remote=ip_address("192.0.2.8"))),
        feature="vxlan",
    ),
    "shaper": lambda ns: Sample(
        Shaper(link=BRIDGE.name, rate=125_000), (BRIDGE,), Shaper(link=BRIDGE.name, rate=10_000_000_000)
    ),
    "shaper in a sandbox": lambda ns: _on_eth0(ns, Shaper(ns=ns, link="eth0", rate=1_000_000, burst=9000)),
    "sysctl": lambda ns: Sample(
        Sysctl(name="net/ipv4/ip_forward", value="1"), (), Sysctl(name="net/ipv4/ip_forward", value="0")
    ),
    "sysctl of a link": lambda ns: Sample(Sysctl(name=f"net/ipv4/conf/{BRIDGE.name}/forwarding", value="1"), (BRIDGE,)),
    "nft table": lambda ns: Sample(
        TABLE, (), NftTable(body=BODY + "chain more { type filter hook input priority 5; ip ttl 1 drop; }"), "nft"
    ),
    "nft element, prefix": lambda ns: _element("networks4", ["10.64.0.0/16"]),
    "nft element, prefix that is one address": lambda ns: _element("networks4", ["10.64.0.1"]),
    "nft element, IPv6 prefix": lambda ns: _element("networks6", ["fd64::/64"]),
    "nft element, pair of prefixes": lambda ns: _element("pairs", ["10.64.0.0/16", "10.65.0.0/24"]),
    "nft element, pair of equal prefixes": lambda ns: _element("pairs", ["10.64.0.0/16", "10.64.0.0/16"]),
    "nft element, interface": lambda ns: _element("names", ["br-0123456789ab"]),
    "nft element, interface named as a keyword": lambda ns: _element("names", ["map"]),
    "nft element, tcp port": lambda ns: _element("any4", ["tcp", "8080"], ["10.64.0.5", "80"]),
    "nft element, udp port": lambda ns: _element("any4", ["udp", "53"], ["10.64.0.5", "53"]),
    "nft element, sctp port": lambda ns: _element("any4", ["sctp", "99"], ["10.64.0.5", "99"]),
    "nft element, port of an address": lambda ns: _element("one4", ["192.0.2.1", "tcp", "8080"], ["10.64.0.5", "80"]),
    "nft element, port of an IPv6 address": lambda ns: _element("one6", ["2001:db8::1", "tcp", "8080"], ["fd64::5", "80"]),
}  # fmt: skip
