"""A routed veth for each container, without a bridge: no broadcast domain, and no limit of 1,023 ports. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network

from wefted.errors import Unsupported
from wefted.model.link import LinkState, Veth
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import IPAddress, IPNetwork, KernelObject
from wefted.model.route import Address, Route

from . import checks, forwarding, gateway
from .sandbox import attached, interior


class PtpDriver:
    """Routes each address to its container; goes with every backend that routes."""

    name = "ptp"
    needs: tuple[str, ...] = ("veth", "nft")
    host_gateway = True
    options: Mapping[str, str] = gateway.OPTIONS

    def validate(self, network: Network) -> None:
        """Raise `UsageError` without a subnet, `Unsupported` where hosts shall share a broadcast domain that is not there."""
        checks.known_options(network, self.options)
        checks.some_subnet(network)
        gateway.validate(network)
        if network.backend != "none" and network.layer == 2:
            raise Unsupported(
                f"network {network.name!r}: driver ptp has no broadcast domain, so its hosts cannot be joined at layer 2",
                "leave -o layer=2 out, or use --driver bridge",
            )

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the host's forwarding, then a veth with its routes for each endpoint."""
        yield from forwarding.uplink(segment)
        for endpoint in attached(endpoints):
            yield from _host_end(segment, endpoint)
            yield from _container_end(segment, endpoint)


def _host_end(segment: Segment, endpoint: Endpoint) -> Iterator[KernelObject]:
    yield Veth(
        name=endpoint.link,
        mtu=segment.mtu,
        alias=f"{endpoint.network} {endpoint.container}",
        peer_ns=endpoint.ns,
        peer_name=endpoint.ifname,
        peer_mac=endpoint.mac,
    )
    yield from forwarding.gateway_link(segment, endpoint.link)
    for hop in endpoint.gateways:
        yield Address(link=endpoint.link, address=ip_interface(hop))
    for address in endpoint.addresses:
        yield Route(destination=_alone(address.ip), link=endpoint.link)


def _container_end(segment: Segment, endpoint: Endpoint) -> Iterator[KernelObject]:
    yield LinkState(ns=endpoint.ns, name=endpoint.ifname, mac=endpoint.mac, mtu=segment.mtu)
    for hop in endpoint.gateways:
        yield Route(ns=endpoint.ns, destination=_alone(hop), link=endpoint.ifname)
    narrow = tuple(ip_interface(address.ip) for address in endpoint.addresses)
    yield from interior(segment.network, replace(endpoint, addresses=narrow))


def _alone(address: IPAddress) -> IPNetwork:
    return ip_network(address)
