"""A network whose containers may be reached from outside the hosts by their own addresses (`wefted expose`). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.network import Endpoint, Segment
from wefted.model.objects import KernelObject

from .elements import subnet
from .table import TABLE


class Expose:
    """Opens a network to the outside; other networks of ours stay outside of it all the same."""

    name = "expose"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the network's subnets while it is exposed; nothing for an internal one."""
        network = segment.network
        if not segment.host_gateway or not network.subnets or network.internal or not network.exposed:
            return
        yield TABLE
        for each in network.subnets:
            yield subnet("exposed", each.prefix)
