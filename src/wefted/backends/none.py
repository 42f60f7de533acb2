"""Hosts that are not joined: each has the network for itself, or a LAN joins them already. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject


class NoneBackend:
    """Plans nothing."""

    name = "none"
    needs: tuple[str, ...] = ()
    layers: tuple[int, ...] = (3, 2)
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Accept every network."""

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return 0: nothing is wrapped."""
        return 0

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return nothing: nobody needs to find us."""
        return {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return "": nobody is to be reached."""
        return ""

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield nothing."""
        yield from ()
