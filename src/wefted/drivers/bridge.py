"""A Linux bridge on each host: every container has a veth in it, and the host is the gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model import naming
from wefted.model.link import Bridge, LinkState, Veth
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject
from wefted.model.route import Address

from . import checks, forwarding
from .sandbox import attached, interior


class BridgeDriver:
    """Joins containers by a bridge; goes with every backend, at both layers."""

    name = "bridge"
    needs: tuple[str, ...] = ("bridge", "veth", "nft")
    host_gateway = True
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for unknown options."""
        checks.known_options(network, self.options)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the bridge with the host's gateway addresses, then a veth for each endpoint."""
        yield from _bridge(segment)
        for endpoint in attached(endpoints):
            yield from _endpoint(segment, endpoint)


def _bridge(segment: Segment) -> Iterator[KernelObject]:
    network = segment.network
    # A MAC of its own: a bridge that borrows its first port's changes it, and every neighbour cache, when that port goes.
    mac = naming.mac_of("bridge", network.name, segment.node.id)
    yield Bridge(name=network.link, mac=mac, mtu=segment.mtu, alias=f"wefted {network.name}")
    for gateway in segment.gateways:
        yield Address(link=network.link, address=gateway)
    yield from forwarding.gateway_link(segment, network.link)
    yield from forwarding.uplink(segment)


def _endpoint(segment: Segment, endpoint: Endpoint) -> Iterator[KernelObject]:
    yield Veth(
        name=endpoint.link,
        master=segment.network.link,
        mtu=segment.mtu,
        alias=f"{endpoint.network} {endpoint.container}",
        peer_ns=endpoint.ns,
        peer_name=endpoint.ifname,
        peer_mac=endpoint.mac,
        # Where br_netfilter is on, a container that asks for its own published port is turned back to its own bridge port.
        hairpin=bool(endpoint.ports) and not segment.network.internal,
    )
    speaks_ipv6 = any(address.version == 6 for address in endpoint.addresses)
    yield LinkState(ns=endpoint.ns, name=endpoint.ifname, mac=endpoint.mac, mtu=segment.mtu, link_local=speaks_ipv6)
    yield from interior(segment.network, endpoint)
