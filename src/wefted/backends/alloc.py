"""Hosts that share out the subnet and nothing else: whoever routes the blocks is no business of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject

from . import checks


class AllocBackend:
    """Leases a block to each host, as flannel's backend of the same name; plans nothing."""

    name = "alloc"
    needs: tuple[str, ...] = ()
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `Unsupported` for layer 2, `UsageError` without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return 0: nothing is wrapped, as far as we know."""
        return 0

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return nothing."""
        return {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return "": the way to a peer is made by others."""
        return ""

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield nothing."""
        yield from ()
