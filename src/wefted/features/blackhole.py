"""Packets for addresses of this host's blocks that nobody has are dropped here, and not sent to the default gateway. Pure.

flannel has it as `-ip-blackhole-route`: while the bridge of a subnet is away, the host's default route would lead packets for
it out, and a router that sends them back would make them circle until their time to live is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.network import Endpoint, Segment
from wefted.model.objects import KernelObject
from wefted.model.route import Route

METRIC = 9999
"""Behind that of every bridge."""


class Blackhole:
    """One route for each block of this node, where the network asks for it."""

    name = "blackhole"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the routes; nothing unless the option `blackhole` is on."""
        if segment.network.option("blackhole") != "on":
            return
        for lease in segment.leases:
            yield Route(destination=lease.block, metric=METRIC, blackhole=True)
