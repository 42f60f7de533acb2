"""Which address of a peer our packets go to, and why there may be none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.node import Node
from wefted.model.objects import IPAddress


def local(node: Node, version: int = 0) -> IPAddress | None:
    """Return the address that our tunnels come from: the preferred one of the underlay, or its first of an IP version."""
    return next((a for a in node.addresses if version in (0, a.version)), None)


def first(addresses: Sequence[IPAddress], version: int) -> IPAddress:
    """Return the first address of an IP version, of addresses that have one."""
    return next(a for a in addresses if a.version == version)


def remote(node: Node, peer: Lease, version: int = 0) -> IPAddress | None:
    """Return the peer's tunnel address: its first one of the IP version of ours, for a tunnel cannot mix versions."""
    mine = local(node, version)
    return next((a for a in peer.underlay if mine is not None and a.version == mine.version), None)


def next_hop(node: Node, peer: Lease) -> IPAddress | None:
    """Return the peer's address that can be a next hop: of its block's IP version, and on a link that both share."""
    same = (a for a in peer.underlay if a.version == peer.block.version and a not in node.addresses)
    return next((a for a in same if any(a in mine.network for mine in node.underlay)), None)


def no_tunnel(segment: Segment, peer: Lease, version: int = 0) -> str:
    """Return why no tunnel leads to a peer, or "". `version` is that of the outer packets, 0 the preferred one."""
    mine = local(segment.node, version)
    if mine is None:
        return f"this host has no {f'IPv{version} ' if version else ''}address on the underlay"
    theirs = remote(segment.node, peer, version)
    if theirs is None:
        return f"it has no IPv{mine.version} address on the underlay, and our tunnel comes from {mine}"
    if theirs in segment.node.addresses or any(theirs in lease.underlay for lease in segment.leases):
        return f"it announces our own address {theirs}; give each host its own: --advertise, -public-ip"
    return ""


def no_next_hop(segment: Segment, peer: Lease) -> str:
    """Return why no plain route leads to a peer, or ""."""
    if next_hop(segment.node, peer) is not None:
        return ""
    same = [a for a in peer.underlay if a.version == peer.block.version]
    if not same:
        return f"it has no IPv{peer.block.version} address on the underlay, which a route to {peer.block} needs"
    if same[0] in segment.node.addresses:
        return f"it announces our own address {same[0]}; give each host its own: --advertise, -public-ip"
    return f"{same[0]} is on no segment of {segment.node.device or 'this host'}: plain routes do not pass a router"


def widest(network: Network, node: Node) -> IPAddress | None:
    """Return the underlay address whose tunnel takes most of a packet: an IPv6 one where a second tunnel comes from it.

    flannel takes as much for WireGuard over IPv4, and all hosts of its networks should have one MTU.
    """
    if network.backend == "wireguard" and is_flannel(network):
        return local(node, 6) or ip_address("::")
    return (local(node, 6) if network.option("device6") else None) or local(node)


def shared_addresses(peers: Sequence[Lease]) -> Mapping[Lease, tuple[IPAddress, str]]:
    """Return the leases whose owner announces an address that another peer announces as well, with it and that peer's id.

    Behind one router that translates, or on machines that are copies of each other (10.0.2.15), hosts look the same from
    outside; their packets reach one of them at most.
    """
    owners: dict[IPAddress, dict[str, None]] = {}
    for peer in peers:
        for address in peer.underlay:
            owners.setdefault(address, {})[peer.node] = None
    found = {}
    for peer in peers:
        for address in peer.underlay:
            others = [node for node in owners[address] if node != peer.node]
            if others:
                found[peer] = address, others[0]
    return found
