"""Published ports: what comes for a port of the host goes to a container. Pure.

Each port is one element of a hash map; a range is that many elements, for the kernel finds one as fast as the other. A port
that says itself whom it is for is also one element of a set, and one for each prefix of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wefted.model.firewall import NftElement
from wefted.model.network import Endpoint, PortMapping, Segment
from wefted.model.objects import IPAddress, KernelObject

from .elements import listed, subnet
from .table import TABLE


class Publish:
    """Forwards the ports of attached containers, for tcp, udp and sctp, in each IP version that the container has."""

    name = "publish"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield whom ports are for, and each port in each IP version; nothing where no port can be published."""
        network = segment.network
        able = network.masquerade if network.guest_of else segment.host_gateway and network.subnets
        if not able or network.internal:
            return
        yield TABLE
        for prefix in segment.node.publish_from:
            yield subnet("publish_from", prefix)
        for endpoint in endpoints:
            for port in endpoint.ports if endpoint.attached else ():
                yield from _elements(endpoint, port)


def _elements(endpoint: Endpoint, port: PortMapping) -> Iterator[NftElement]:
    first = {address.version: address.ip for address in reversed(endpoint.addresses)}
    for version, target in first.items():
        if port.host_ip is None or port.host_ip.version == version:
            yield from _published(port, target)


def _published(port: PortMapping, target: IPAddress) -> Iterator[NftElement]:
    anywhere = port.host_ip is None or port.host_ip.is_unspecified
    kind = f"{'any' if anywhere else 'one'}{target.version}"
    service = (*(() if anywhere else (str(port.host_ip),)), port.protocol, str(port.host_port))
    yield NftElement(container=f"published_{kind}", match=service, value=(str(target), str(port.port)))
    if port.sources is None:
        return
    yield NftElement(container=f"limited_{kind}", match=service)
    for prefix in port.sources:
        if prefix.version == target.version:
            yield NftElement(container=f"sources_{kind}", match=(*service, listed(prefix)))
