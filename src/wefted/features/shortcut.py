"""A shorter way between containers of a network of `udp` on several hosts: past their bridges. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.network import Endpoint, Segment
from wefted.model.objects import KernelObject
from wefted.model.tunnel import UdpPort
from wefted.model.udp_network import BACKEND, device, direct_bridge


class Shortcut:
    """Joins the ports of containers to their network's tunnel."""

    name = "shortcut"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield one object for each attached endpoint, but for those whose host's end is shaped: nothing may pass that by."""
        network = segment.network
        has_tunnel = network.backend == BACKEND and segment.leases and segment.node.addresses
        if not has_tunnel or not segment.programs or not direct_bridge(network):
            return
        for endpoint in endpoints:
            if endpoint.attached and not endpoint.bandwidth.ingress_rate:
                yield UdpPort(link=endpoint.link, tunnel=device(network))
