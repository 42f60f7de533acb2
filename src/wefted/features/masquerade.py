"""Containers reach the outside with their host's address. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from wefted.model.flannel_network import is_flannel
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from .elements import subnet
from .table import TABLE


class Masquerade:
    """Hides the network's addresses from everybody but networks of ours."""

    name = "masquerade"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the network's subnets, unless it is internal or its traffic does not pass the host."""
        network = segment.network
        if network.guest_of and network.masquerade:
            yield from _guests(network, endpoints)
        if not segment.host_gateway or not network.subnets or network.internal or not network.masquerade:
            return
        yield TABLE
        for each in network.subnets:
            yield subnet("overlay" if is_flannel(network) else "masquerade", each.prefix)
        if is_flannel(network):
            yield from (subnet("blocks", lease.block) for lease in segment.leases)


def _guests(network: Network, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
    """Yield our containers alone: what else is in that bridge has an owner."""
    yield TABLE
    for endpoint in endpoints:
        for address in endpoint.addresses if endpoint.attached else ():
            alone = ip_network(address.ip)
            yield subnet("masquerade", alone)
            for each in network.subnets:
                if each.prefix.version == alone.version:
                    yield subnet("together", alone, each.prefix)
