"""The way between a host and its containers in the LAN of one of its links, where the kernel lets nothing pass. Pure.

A macvlan (ipvlan) of ours on the same parent stands in the host's namespace, without an address in the LAN. Each container
has a route to it with the parent's own address as source, so both sides see the addresses that they know. The parent is not
touched.

Neither side asks for the other: both have permanent neighbours. An ARP request of the shim with the host's address would tell
the whole LAN a second MAC for it, and every host that knows the address would take it over (RFC 826, "Packet Reception"). An
IPv6 link answers only for its own addresses (RFC 4861, 7.2.3). And of ipvlans, which have their parent's MAC, the kernel gives
a frame to the one that has the address in it, so ARP answers to the host would arrive on the parent (drivers/net/ipvlan).

So the shim answers nobody (`arp_ignore`), drops what others in the LAN broadcast, which the host hears by the parent already
(`rp_filter`), and listens to no router. Kernel: Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from wefted.errors import Unsupported
from wefted.model import naming, options
from wefted.model.firewall import Sysctl
from wefted.model.link import Ipvlan, Macvlan
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.node import HostLink
from wefted.model.objects import IPInterface, KernelObject
from wefted.model.route import Neighbor, Route

OPTIONS: Mapping[str, str] = {
    "host_access": "on: the host and the containers reach each other, by a further link on the parent"
}

_BEHIND = 2000
"""Metric of a container's route to an address of the host that lies outside its subnet, plus the network's number: a container
in several networks on one parent has one for each."""


def validate(network: Network, mode: str, needed: str) -> None:
    """Raise `UsageError` for a bad value, `Unsupported` for a mode in which links on one parent do not reach each other."""
    if options.choice(network, "host_access", ("on", "off"), "off") == "on" and mode != needed:
        raise Unsupported(
            f"network {network.name!r}: in mode {mode} host and containers do not reach each other",
            f"use -o mode={needed}, or leave -o host_access=on out",
        )


def link(network: Network) -> str:
    """Return the name of the host's own link in the network."""
    return naming.link_name("sh", network.name)


def objects(segment: Segment, endpoints: Sequence[Endpoint], way: Macvlan | Ipvlan) -> Iterator[KernelObject]:
    """Yield the shim with a way to and from each container, once there is one; nothing for a host without an address there."""
    parent = segment.host_link(way.parent)
    if segment.network.option("host_access") != "on" or not endpoints or parent is None or not parent.addresses:
        return
    yield way
    yield from _settings(segment, way.name)
    for endpoint in endpoints:
        for address in endpoint.addresses:
            source = _source(parent, address)
            if source is not None:
                yield from _both_ways(segment.network, endpoint, address, source, parent, way)


def _settings(segment: Segment, name: str) -> Iterator[Sysctl]:
    yield Sysctl(name=f"net/ipv4/conf/{name}/arp_ignore", value="8")
    yield Sysctl(name=f"net/ipv4/conf/{name}/rp_filter", value="1")
    if any(subnet.prefix.version == 6 for subnet in segment.network.subnets):
        yield Sysctl(name=f"net/ipv6/conf/{name}/accept_ra", value="0")
    else:
        yield Sysctl(name=f"net/ipv6/conf/{name}/disable_ipv6", value="1")


def _both_ways(
    network: Network, endpoint: Endpoint, address: IPInterface, source: IPInterface, parent: HostLink, way: Macvlan | Ipvlan
) -> Iterator[KernelObject]:
    yield Neighbor(link=way.name, address=address.ip, mac=endpoint.mac if isinstance(way, Macvlan) else parent.mac)
    yield Neighbor(
        ns=endpoint.ns, link=endpoint.ifname, address=source.ip, mac=way.mac if isinstance(way, Macvlan) else parent.mac
    )
    yield Route(destination=ip_network(address.ip), link=way.name, source=source.ip)
    if source.ip not in address.network:
        back = ip_network(source.ip)
        yield Route(ns=endpoint.ns, destination=back, link=endpoint.ifname, metric=_BEHIND + network.number)


def _source(parent: HostLink, address: IPInterface) -> IPInterface | None:
    """Return the parent's address that the host uses towards a container: the one in its subnet, else the first."""
    candidates = [own for own in parent.addresses if own.version == address.version]
    return next((own for own in candidates if own.ip in address.network), candidates[0] if candidates else None)
