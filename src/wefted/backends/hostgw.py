"""Hosts on one link route each other's blocks by plain routes: nothing is wrapped, and nothing is lost of the MTU. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.firewall import Sysctl
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.route import Route

from . import checks
from .underlay import next_hop


class HostGatewayBackend:
    """Routes each peer's block through that peer; both must be on one link."""

    name = "host-gw"
    needs: tuple[str, ...] = ()
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `Unsupported` for layer 2, `UsageError` without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return 0: nothing is wrapped."""
        return 0

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return nothing: the underlay address in the lease is all that a peer needs."""
        return {}

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield a route to each block whose owner is on our link; `underlay.unreachable` has the others."""
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
    stranger, and the peer's firewall lets no stranger in. Only a bridge has the address for as long as the network lives.
    """
    if segment.network.driver != "bridge":
        return None
    return next((g.ip for g in segment.gateways if g.version == version), None)
