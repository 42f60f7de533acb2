"""Published ports: what comes for a port of the host goes to a container. Pure.

Each port is one element of a hash map; a range is that many elements, for the kernel finds one as fast as the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.firewall import NftElement
from wefted.model.network import Endpoint, PortMapping, Segment
from wefted.model.objects import IPAddress, KernelObject

from .table import TABLE


class Publish:
    """Forwards the ports of attached containers, for tcp, udp and sctp, in each IP version that the container has."""

    name = "publish"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield one element for each port and IP version; nothing for networks that are internal or do not pass the host."""
        if not (segment.host_gateway or segment.network.guest_of) or segment.network.internal:
            return
        publishing = [endpoint for endpoint in endpoints if endpoint.attached and endpoint.ports]
        if publishing:
            yield TABLE
        for endpoint in publishing:
            for port in endpoint.ports:
                yield from _elements(endpoint, port)


def _elements(endpoint: Endpoint, port: PortMapping) -> Iterator[NftElement]:
    first = {address.version: address.ip for address in reversed(endpoint.addresses)}
    for version, target in first.items():
        if port.host_ip is None or port.host_ip.version == version:
            yield _element(port, target)


def _element(port: PortMapping, target: IPAddress) -> NftElement:
    service = (port.protocol, str(port.host_port))
    anywhere = port.host_ip is None or port.host_ip.is_unspecified
    return NftElement(
        container=f"published_{'any' if anywhere else 'one'}{target.version}",
        match=service if anywhere else (str(port.host_ip), *service),
        value=(str(target), str(port.port)),
    )
