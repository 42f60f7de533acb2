"""A Linux bridge on each host: every container has a veth in it, and the host is the gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from wefted.errors import UsageError
from wefted.model import naming, options
from wefted.model.firewall import Sysctl
from wefted.model.link import Bridge, LinkState, PortVlan, Veth
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import HOST, KernelObject
from wefted.model.route import Address, Route

from . import checks, forwarding, gateway
from .sandbox import attached, interior
from .trunk import TAGS


class BridgeDriver:
    """Joins containers by a bridge; goes with every backend, at both layers."""

    name = "bridge"
    needs: tuple[str, ...] = ("bridge", "veth", "nft")
    host_gateway = True
    options: Mapping[str, str] = {
        **gateway.OPTIONS,
        "bridge": "a bridge of the host that is not ours and stays as it is: the containers become ports of it",
        "name": "what the network's own bridge is called on the hosts; networks of one name share it",
        "vlan": "802.1Q VLAN of the bridge in which the containers are, 1 to 4094; the host is not in it",
        "icc": "on; off: containers of one host do not reach each other, except by published ports",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for unknown options, and for values that they do not take."""
        checks.known_options(network, self.options)
        options.choice(network, "icc", ("on", "off"), "on")
        options.interface(network, "name")
        if options.integer(network, "vlan", 0, TAGS):
            _validate_vlan(network)
        gateway.validate(network)
        if options.interface(network, "bridge"):
            _validate_guests(network)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the bridge with the host's gateway addresses, the further bridges, then a veth for each endpoint."""
        if not segment.network.guest_of:
            yield from _bridge(segment)
            last = max((endpoint.bridge for endpoint in endpoints), default=0)
            yield from _further(segment.network, segment.node.id, segment.mtu, last)
        for endpoint in attached(endpoints):
            yield from _endpoint(segment, endpoint)


def _bridge(segment: Segment) -> Iterator[KernelObject]:
    network = segment.network
    # A MAC of its own: a bridge that borrows its first port's changes it, and every neighbour cache, when that port goes.
    named = network.option("name")
    mac = naming.mac_of("bridge", named or network.name, segment.node.id)
    yield Bridge(name=network.link, mac=mac, mtu=segment.mtu, alias=f"wefted {named or network.name}")
    if network.vlan:
        return
    if gateway.is_isolated(network):
        yield from _without_host(network)
        return
    for address in segment.gateways:
        yield Address(link=network.link, address=address)
    yield from forwarding.gateway_link(segment, network.link)
    yield from forwarding.uplink(segment)


def _without_host(network: Network) -> Iterator[KernelObject]:
    """Yield what a bridge needs in which the host has no address.

    The kernel gives it an IPv6 link-local one as long as IPv6 is on there. Where br_netfilter is on, the firewall looks where
    answers would go, so the route stays; nobody answers what the host sends by it, for nobody has a route back.
    """
    yield Sysctl(name=f"net/ipv6/conf/{network.link}/disable_ipv6", value="1")
    for subnet in network.subnets:
        yield Route(destination=subnet.prefix, link=network.link)


def _further(network: Network, node: str, mtu: int, last: int) -> Iterator[KernelObject]:
    """Yield the bridges after the first one, up to the `last`, each joined to the one before it.

    A chain and not a star: the kernel queues each copy of a flooded frame, at most 1,000 for a CPU (netdev_max_backlog), and
    in a chain the copies for one bridge are gone before those for the next but one are made.
    """
    for number in range(1, last + 1):
        yield from _joined(network, node, mtu, number)


@lru_cache(maxsize=1024)
def _joined(network: Network, node: str, mtu: int, number: int) -> tuple[KernelObject, ...]:
    """Return one further bridge and the pair that joins it; the same objects each time, so that an attach compares no fields.

    The host is in the network by the first bridge alone, so it must neither answer ARP on this one nor speak IPv6.
    """
    name = network.bridge(number)
    near, far = network.joint(number)
    mac = naming.mac_of("bridge", network.name, node, str(number))
    alias = f"wefted {network.name} {number}"
    return (
        Bridge(name=name, mac=mac, mtu=mtu, alias=alias),
        Sysctl(name=f"net/ipv4/conf/{name}/arp_ignore", value="8"),
        Sysctl(name=f"net/ipv6/conf/{name}/disable_ipv6", value="1"),
        # Isolated where it leads away from the gateway: containers of two bridges are kept apart, and all reach the gateway.
        Veth(
            name=near, master=network.bridge(number - 1), mtu=mtu, alias=alias, peer_ns=HOST, peer_name=far,
            isolated=_isolated(network),
        ),
        LinkState(name=far, master=name, mtu=mtu, link_local=False),
    )  # fmt: skip


def _isolated(network: Network) -> bool:
    return network.option("icc") == "off"


def _endpoint(segment: Segment, endpoint: Endpoint) -> Iterator[KernelObject]:
    yield Veth(
        name=endpoint.link,
        master=segment.network.bridge(endpoint.bridge),
        mtu=segment.mtu,
        alias=f"{endpoint.network} {endpoint.container}",
        peer_ns=endpoint.ns,
        peer_name=endpoint.ifname,
        peer_mac=endpoint.mac,
        # Where br_netfilter is on, a container that asks for its own published port is turned back to its own bridge port.
        hairpin=bool(endpoint.ports) and not segment.network.internal,
        isolated=_isolated(segment.network),
        guest=bool(segment.network.guest_of),
    )
    if segment.network.vlan:
        yield PortVlan(link=endpoint.link, tag=segment.network.vlan)
    if endpoint.plugged:
        return
    speaks_ipv6 = any(address.version == 6 for address in endpoint.addresses)
    yield LinkState(ns=endpoint.ns, name=endpoint.ifname, mac=endpoint.mac, mtu=segment.mtu, link_local=speaks_ipv6)
    yield from interior(segment.network, endpoint, announce=not segment.host_gateway or not segment.network.subnets)


def _validate_guests(network: Network) -> None:
    """Check a network whose containers are ports of somebody else's bridge."""
    checks.no_backend(network, "a bridge that is not ours joins whatever its owner joined")
    for key in ("name", "gateway_mode"):
        if network.option(key):
            raise UsageError(f"network {network.name!r}: option {key} is for a bridge of its own", "leave -o bridge out")


def _validate_vlan(network: Network) -> None:
    """Check a network that is one VLAN of a bridge: what joins its hosts is what the bridge's other ports lead to."""
    checks.no_backend(network, "its VLAN reaches other hosts by the trunk ports of the bridge")
    if network.option("gateway_mode"):
        raise UsageError(
            f"network {network.name!r}: the host is not in VLAN {network.vlan}, so it cannot be a gateway there",
            "leave -o gateway_mode out; a router in the VLAN is named with --gateway",
        )
