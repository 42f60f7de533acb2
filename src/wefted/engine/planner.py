"""From networks, leases and endpoints to everything that this node's kernel should hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wefted.backends import BACKENDS, before_lease, widest
from wefted.drivers import DRIVERS, USING_LINKS, host_is_gateway
from wefted.features import FEATURES
from wefted.interfaces import Backend, Driver
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.node import HostLink, Node
from wefted.model.objects import KernelObject, Key

from .diff import index


def is_island(network: Network) -> bool:
    """Tell whether each host has this network for itself alone, so that hosts need not share out its addresses."""
    return network.backend == "none" and host_is_gateway(network)


def path_mtu(network: Network, node: Node) -> int:
    """Return the network's MTU on this node in bytes: what was asked for, else what the underlay leaves."""
    if network.mtu:
        return network.mtu
    if network.backend == "none" and (network.guest_of or not DRIVERS[network.driver].host_gateway):
        return 0  # on a LAN it is that of the link below
    return node.mtu - BACKENDS[network.backend].overhead(widest(network, node))


def follows_underlay(network: Network) -> bool:
    """Tell whether the way to a peer depends on which segments this host is on now."""
    return network.backend in ("auto", "host-gw") or network.option("direct_routing") == "on"


def uses_links(network: Network) -> bool:
    """Tell whether what a network needs depends on links of this host that are not ours."""
    return network.driver in USING_LINKS


def segment_of(
    network: Network, node: Node, leases: Iterable[Lease], links: tuple[HostLink, ...] = (), programs: bool = True
) -> Segment:
    """Return `network` as `node` sees it; `leases` may be those of all nodes, `links` and `programs` are this host's."""
    own = tuple(sorted((lease for lease in leases if lease.node == node.id), key=_by_block))
    return Segment(
        network=network,
        node=node,
        leases=own,
        mtu=path_mtu(network, node),
        host_gateway=host_is_gateway(network),
        single=network.layer == 2 or network.backend == "none",
        links=links,
        programs=programs,
    )


def plan_network(segment: Segment, leases: Iterable[Lease], endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
    """Yield everything that one network needs on this node."""
    driver: Driver = DRIVERS[segment.network.driver]
    backend: Backend = BACKENDS[segment.network.backend]
    peers = sorted((lease for lease in leases if lease.node != segment.node.id), key=_by_block)
    if endpoints or not is_flannel(segment.network):
        yield from driver.plan(segment, endpoints)  # flannel leaves the subnet to whoever has containers in it, as Docker
    yield from backend.plan(segment, peers)
    for feature in FEATURES:
        yield from feature.plan(segment, endpoints)


def plan_endpoint(segment: Segment, endpoint: Endpoint) -> dict[Key, KernelObject]:
    """Return what one endpoint needs, its network's own objects on this node included; no other endpoint is looked at."""
    return _plan_members(segment, (endpoint,))


def own_objects(segment: Segment, endpoint: Endpoint, other: Endpoint | None = None) -> dict[Key, KernelObject]:
    """Return the objects that exist for this endpoint alone.

    Some exist for all attached endpoints of a network together: they stay as long as `other`, any further one, is there.
    """
    gone = replace(endpoint, ns=type(endpoint.ns)(""), ports=())
    shared = _plan_members(segment, (gone,) if other is None else (gone, other))
    return {key: value for key, value in plan_endpoint(segment, endpoint).items() if key not in shared}


def further_bridges(segment: Segment, after: int, last: int) -> dict[Key, KernelObject]:
    """Return what the network's bridges from the one `after` that number to the `last` are made of; no endpoint is in them."""
    nobody = Endpoint(network=segment.network.name, container="")
    kept = plan_endpoint(segment, replace(nobody, bridge=after))
    return {key: value for key, value in plan_endpoint(segment, replace(nobody, bridge=last)).items() if key not in kept}


def _plan_members(segment: Segment, members: Sequence[Endpoint]) -> dict[Key, KernelObject]:
    objects = list(DRIVERS[segment.network.driver].plan(segment, members))
    for feature in FEATURES:
        objects += feature.plan(segment, members)
    return index(objects)


def plan_node(
    node: Node,
    networks: Iterable[Network],
    leases: Sequence[Lease],
    endpoints: Iterable[Endpoint],
    links: tuple[HostLink, ...] = (),
    programs: bool = True,
) -> dict[Key, KernelObject]:
    """Return all that this node's kernel should hold; a network, as soon as the node has a block or an endpoint in it.

    Of a network of flannel's also the command that runs before there is a block.
    """
    by_network: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_network.setdefault(endpoint.network, []).append(endpoint)
    blocks: dict[str, list[Lease]] = {}
    for lease in leases:
        blocks.setdefault(lease.network, []).append(lease)
    objects: list[KernelObject] = []
    for network in networks:
        segment = segment_of(network, node, blocks.get(network.name, ()), links, programs)
        members = by_network.get(network.name, [])
        if segment.leases or members:
            objects += plan_network(segment, blocks.get(network.name, ()), members)
        elif is_flannel(network) and (first := before_lease(network)):  # it was joined, so a block is on its way
            objects.append(first)
    return index(objects)


def _by_block(lease: Lease) -> tuple[int, int]:
    return lease.block.version, int(lease.block.network_address)
