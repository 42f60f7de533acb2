"""Addresses that a DHCP server gives: what may ask for one, and how a lease becomes part of an endpoint. Pure."""

from __future__ import annotations

import uuid
from dataclasses import replace

from wefted.drivers import DRIVERS
from wefted.errors import Unsupported, UsageError
from wefted.model import naming, spec
from wefted.model.dhcp import BUILTIN, CLIENTS, Dhcp, DhcpLease
from wefted.model.nearest import guess
from wefted.model.network import Endpoint, Network, StaticRoute
from wefted.model.node import Node

from .operations import Connect

WITHOUT = ("host", "none", "ptp")
"""Drivers whose links have no broadcast domain in which a server could be."""
IPAM = "dhcp"
"""The value of a network's option `ipam` that makes every endpoint ask."""


def drafted(request: Connect, network: Network, draft: Endpoint, node: Node) -> Endpoint:
    """Return the draft of a new endpoint, with what DHCP needs where it was asked for. Raises `UsageError`."""
    if not (request.dhcp or network.option("ipam") == IPAM):
        if request.dhcp_client != BUILTIN or request.dhcp_options:
            raise UsageError("a DHCP client was chosen, but no DHCP", "add --dhcp")
        return draft
    _possible(network)
    _client(request)
    given = [text for text in (*request.ip, *request.gateways) if _version(text) == 4]
    if given:
        raise UsageError(
            f"{given[0]} cannot be asked for: with DHCP the server chooses", "reserve it on the server, or leave --dhcp out"
        )
    # The same words on another host of the LAN must not make the same MAC.
    mac = draft.mac or naming.mac_of(node.id, network.name, draft.container)
    return replace(draft, mac=mac, dhcp=Dhcp(client=request.dhcp_client, options=request.dhcp_options))


def _possible(network: Network) -> None:
    driver = DRIVERS[network.driver]
    routed = driver.name == "ipvlan" and network.option("mode", "l2") != "l2"
    if driver.name in WITHOUT or routed:
        what = f"driver {driver.name}" + (f" in mode {network.option('mode')}" if routed else "")
        raise Unsupported(
            f"network {network.name!r}: with {what} no DHCP server can be reached",
            "use a driver that is in a LAN: macvlan, ipvlan, vlan, phys, bridge",
        )
    if network.backend != "none":
        raise Unsupported(
            f"network {network.name!r}: its addresses come from blocks of its hosts (backend {network.backend}), not from DHCP",
            "leave --dhcp out",
        )


def _version(text: str) -> int:
    return spec.interface_address(text).version if "/" in text else spec.address(text).version


def _client(request: Connect) -> None:
    if request.dhcp_client not in CLIENTS:
        close = guess(request.dhcp_client, CLIENTS)
        raise UsageError(f"there is no DHCP client {request.dhcp_client!r}{close}", f"clients: {', '.join(CLIENTS)}")
    if request.dhcp_client == BUILTIN and request.dhcp_options:
        raise UsageError("our own DHCP client takes no options", "leave them out, or choose another --dhcp-client")


def client_id(node_id: str, endpoint: Endpoint) -> bytes:
    """Return option 61 as RFC 4361 has it: 255, four bytes for the interface, a DUID made of a UUID (RFC 6355).

    It says the same after a restart, in a new namespace and with another MAC, so the server gives the same address.
    """
    host = uuid.uuid5(uuid.NAMESPACE_OID, node_id).bytes
    return b"\xff" + bytes.fromhex(endpoint.id)[:4] + b"\x00\x04" + host


def hostname(endpoint: Endpoint) -> str:
    """Return the container's bare name, or its first alias; an empty string where neither can be a host's name."""
    for name in (endpoint.container.partition(":")[2], *endpoint.aliases):
        label = name.partition(".")[0]
        if len(label) <= 63 and label.isascii() and label.replace("-", "").isalnum() and label.strip("-") == label:
            return label
    return ""


def leased(endpoint: Endpoint, lease: DhcpLease, pid: int = 0) -> Endpoint:
    """Return an endpoint as the lease makes it: its IPv4 address, gateway and routes; what was asked for besides stays.

    `pid` is the program that keeps the lease, where one does.
    """
    bare = unleased(endpoint)
    gateways = () if lease.gateway is None else (lease.gateway,)
    routes = tuple(StaticRoute(destination=r.destination, via=r.via, direct=r.via is None) for r in lease.routes)
    assert endpoint.dhcp is not None, "a lease is for an endpoint that asked"
    return replace(
        endpoint,
        addresses=(lease.address, *bare.addresses),
        gateways=(*gateways, *bare.gateways),
        routes=(*bare.routes, *(route for route in routes if route not in bare.routes)),
        default_route=endpoint.default_route and bool(gateways or bare.gateways),
        dhcp=replace(endpoint.dhcp, lease=lease, identity=endpoint.identity, pid=pid),
    )


def unleased(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint without what its lease gave it."""
    dhcp = endpoint.dhcp
    given = set() if dhcp is None or dhcp.lease is None else {(r.destination, r.via) for r in dhcp.lease.routes}
    gateways = tuple(g for g in endpoint.gateways if g.version == 6)
    return replace(
        endpoint,
        addresses=tuple(a for a in endpoint.addresses if a.version == 6),
        gateways=gateways,
        routes=tuple(r for r in endpoint.routes if (r.destination, r.via) not in given),
        default_route=endpoint.default_route and bool(gateways),
        dhcp=None if dhcp is None else replace(dhcp, lease=None),
    )


def same_plan(one: Endpoint, other: Endpoint) -> bool:
    """Tell whether two states of an endpoint differ in nothing that the kernel holds."""
    return replace(one, dhcp=other.dhcp) == other


def needs_broadcast(network: Network) -> bool:
    """Tell whether answers must go to everybody: links that share a MAC are told apart by an address that is not there yet."""
    return network.driver == "ipvlan"
