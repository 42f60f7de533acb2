"""Hosts on one segment route each other's blocks by plain routes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject

from . import checks, direct, underlay


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

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why a peer cannot be the next hop, or ""."""
        return underlay.no_next_hop(segment, peer)

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield a route to each block whose owner is on our segment."""
        return direct.routes(segment, peers)
