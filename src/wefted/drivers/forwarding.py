"""What a host needs to be its containers' gateway: forwarding, and an IPv6 link-local address that works at once. Pure.

IPv4 forwards a packet when the device on which it came IN forwards (kernel: Documentation/networking/ip-sysctl.rst,
`conf/*/forwarding`), so both the containers' link and the uplink are set, and no other device of the host. IPv6 has one
switch for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Interface

from wefted.model import naming
from wefted.model.firewall import Sysctl
from wefted.model.network import Segment
from wefted.model.route import Address


def uplink(segment: Segment) -> Iterator[Sysctl]:
    """Yield what lets packets in from outside the host; nothing for an IPv4 network that has no outside."""
    network, device = segment.network, segment.node.device
    versions = {subnet.prefix.version for subnet in network.subnets}
    if 4 in versions and device and not network.internal:
        yield Sysctl(name=f"net/ipv4/conf/{device}/forwarding", value="1")
    if 6 in versions:
        yield Sysctl(name="net/ipv6/conf/all/forwarding", value="1")


def gateway_link(segment: Segment, link: str) -> Iterator[Sysctl | Address]:
    """Yield what the host's end of the containers' link needs."""
    versions = {subnet.prefix.version for subnet in segment.network.subnets}
    if 4 in versions:
        yield Sysctl(name=f"net/ipv4/conf/{link}/forwarding", value="1")
        if not segment.network.internal:
            # Without it the host cannot send to a container what came for a port published on 127.0.0.1.
            yield Sysctl(name=f"net/ipv4/conf/{link}/route_localnet", value="1")
    if 6 in versions:
        yield Address(link=link, address=link_local(segment))


def link_local(segment: Segment) -> IPv6Interface:
    """Return this host's link-local address in the network.

    The one that the kernel makes is tentative for a second or two (RFC 4862, 5.4), and until then the host cannot ask for
    a container's MAC when it forwards. Ours is as unique as the node's UUID, so it needs no duplicate address detection.
    """
    digest = naming.digest("gateway", segment.network.name, segment.node.id)
    return IPv6Interface((0xFE80 << 112 | int(digest, 16), 64))
