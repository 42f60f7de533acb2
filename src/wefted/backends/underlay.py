"""Which address of a peer our packets go to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wefted.model.lease import Lease
from wefted.model.network import Segment
from wefted.model.node import Node
from wefted.model.objects import IPAddress


def local(node: Node) -> IPAddress | None:
    """Return the address that our tunnels come from: the preferred one of the underlay."""
    return node.addresses[0] if node.addresses else None


def remote(node: Node, peer: Lease) -> IPAddress | None:
    """Return the peer's tunnel address: its first one of the IP version of ours, for a tunnel cannot mix versions."""
    mine = local(node)
    return next((a for a in peer.underlay if mine is not None and a.version == mine.version), None)


def next_hop(node: Node, peer: Lease) -> IPAddress | None:
    """Return the peer's address that can be a next hop: of its block's IP version, and on a link that both share."""
    same = (a for a in peer.underlay if a.version == peer.block.version)
    return next((a for a in same if any(a in mine.network for mine in node.underlay)), None)


def unreachable(segment: Segment, peers: Sequence[Lease]) -> tuple[Lease, ...]:
    """Return the leases of `peers` that the network's backend cannot reach from here, and so plans nothing for."""
    backend = segment.network.backend
    if backend == "none":
        return ()
    hop = next_hop if backend == "host-gw" else remote
    return tuple(peer for peer in peers if hop(segment.node, peer) is None)
