"""What every driver puts inside a container's namespace besides the interface: loopback, addresses, routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import TypeVar

from wefted.model.link import Link, LinkState
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST, IPAddress, IPNetwork, KernelObject
from wefted.model.route import Address, Route

DEFAULT = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def attached(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return the endpoints whose container is there; the others get no objects."""
    return [endpoint for endpoint in endpoints if endpoint.attached]


L = TypeVar("L", bound=Link)


def placed(link: L, endpoint: Endpoint) -> L:
    """Return a container's link: in its namespace, or where the engine takes it from that asked for it through our plugin."""
    return replace(link, ns=HOST, name=endpoint.far_link, up=False, handed=True) if endpoint.plugged else link


SHADOWING_METRIC = 512
"""Before the 1024 that an IPv6 route has by itself. IPv4 takes the newer one of two routes with one metric, IPv6 uses both."""


def interior(network: Network, endpoint: Endpoint, *, gateways: bool = True, announce: bool = False) -> Iterator[KernelObject]:
    """Yield loopback, addresses and routes.

    `gateways` False is for links without ARP, which know no neighbour; `announce` True for links on which others may remember
    another MAC for an address (on a network of ours an address always has the same).
    """
    if endpoint.plugged:
        return  # its engine does that
    yield loopback(endpoint)
    for address in endpoint.addresses:
        yield Address(ns=endpoint.ns, link=endpoint.ifname, address=address, announce=announce)
    for destination, via in _routes(network, endpoint).items():
        hop = via if gateways else None
        onlink = hop is not None and not any(hop in address.network for address in endpoint.addresses)
        first = destination.prefixlen == 0 and endpoint.default_claim == "take"
        metric = SHADOWING_METRIC if first and destination.version == 6 else 0
        yield Route(
            ns=endpoint.ns, destination=destination, link=endpoint.ifname, via=hop, onlink=onlink, first=first, metric=metric
        )


def loopback(endpoint: Endpoint) -> LinkState:
    """Return the container's own loopback, up: runtimes that leave the network to us leave it down."""
    return LinkState(ns=endpoint.ns, name="lo")


def covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    """Tell whether `inner` lies in `outer`; networks of two versions never do."""
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def _routes(network: Network, endpoint: Endpoint) -> dict[IPNetwork, IPAddress | None]:
    """Return destination -> next hop; what the user asked for stands before what follows from the network."""
    routes: dict[IPNetwork, IPAddress | None] = {}
    for route in endpoint.routes:
        hop = None if route.direct else route.via or endpoint.gateway_for(route.destination.version)
        routes.setdefault(route.destination, hop)
    for gateway in endpoint.gateways:
        for destination in _behind(network, endpoint, gateway.version):
            routes.setdefault(destination, gateway)
    return routes


def _behind(network: Network, endpoint: Endpoint, version: int) -> Sequence[IPNetwork]:
    """Return what lies behind the gateway: everything, or the parts of the network that are not on the link."""
    if endpoint.default_route and not network.internal:
        return [DEFAULT[version]]
    onlink = [address.network for address in endpoint.addresses]
    subnets = [subnet.prefix for subnet in network.subnets if subnet.prefix.version == version]
    return [subnet for subnet in subnets if not any(covers(prefix, subnet) for prefix in onlink)]
