"""Plain routes to peers on our own segment: nothing is wrapped, and nothing is lost of the MTU. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.firewall import Sysctl
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.options import choice
from wefted.model.route import Route

from .underlay import next_hop

SWITCH = ("off", "on")
HELP = "on: a plain route, without the tunnel, to each host on the same segment (default off)"


def wanted(network: Network) -> bool:
    """Tell whether option direct_routing is on. Raises `UsageError`."""
    return choice(network, "direct_routing", SWITCH, "off") == "on"


def routes(segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
    """Yield what lets peers in that come without a tunnel, and a route to each block whose owner is on our segment."""
    yield from _forwarding(segment)
    for peer in peers:
        via = next_hop(segment.node, peer)
        if via is not None:
            source = _source(segment, peer.block.version)
            yield Route(destination=peer.block, link=segment.node.device, via=via, source=source)


def _forwarding(segment: Segment) -> Iterator[Sysctl]:
    """Yield what lets the peers' packets in, which come through the underlay even when the network is internal."""
    versions = {subnet.prefix.version for subnet in segment.network.subnets}
    if 4 in versions and segment.node.device:
        yield Sysctl(name=f"net/ipv4/conf/{segment.node.device}/forwarding", value="1")
    if 6 in versions:
        yield Sysctl(name="net/ipv6/conf/all/forwarding", value="1")


def _source(segment: Segment, version: int) -> IPAddress | None:
    """Return the address that this host itself uses towards the block.

    With its gateway address it is a member of the network in the peer's eyes; with its underlay address it would be a
    stranger, and the peer's firewall lets no stranger in. Only a bridge has the address for as long as the network lives,
    and in a network of flannel's the bridge may be Docker's: there everybody may reach containers.
    """
    if segment.network.driver != "bridge" or is_flannel(segment.network):
        return None
    return next((g.ip for g in segment.gateways if g.version == version), None)
