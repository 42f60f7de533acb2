"""Networks do not reach each other, and internal ones nothing at all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.firewall import NftElement
from wefted.model.network import Endpoint, Segment
from wefted.model.objects import KernelObject

from .elements import subnet
from .table import TABLE


class Isolation:
    """Tells the table which subnets are networks of ours, and which of them belong together."""

    name = "isolation"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the network's subnets, or its bridge where it has none; nothing where its traffic does not pass the host."""
        network = segment.network
        if not segment.host_gateway:
            return
        yield TABLE
        for key in ("device", "device6") if network.driver != "phys" else ():
            if network.option(key):
                yield NftElement(container="tunnels", match=(network.option(key),))
        if not network.subnets:
            yield NftElement(container="unrouted", match=(network.link, network.link))
        prefixes = [s.prefix for s in network.subnets]
        for prefix in prefixes:
            yield subnet("networks", prefix)
            if network.internal:
                yield subnet("internal", prefix)
            elif not network.isolated:
                yield subnet("open", prefix)
            for other in prefixes:
                if other.version == prefix.version:
                    yield subnet("together", prefix, other)
