"""What users see of networks, endpoints and hosts: the stable JSON of the API and of `--json`."""

from __future__ import annotations

from typing import Any

from wefted.drivers import DRIVERS
from wefted.model import codec
from wefted.model.flannel_network import without_secrets
from wefted.model.link import Link, LinkState
from wefted.model.network import Endpoint, Network
from wefted.model.node import Node

from .host import Host


def network_json(host: Host, network: Network) -> dict[str, Any]:
    """Return a network with the number of its endpoints and all of its blocks."""
    members = len(host.members.get(network.name, ()))
    members += sum(e.network == network.name for _, e in host.view.endpoints_elsewhere(host.node.id))
    blocks = sorted(str(lease.block) for lease in host.view.leases_of(network.name))
    encoded: dict[str, Any] = codec.encode(without_secrets(network))
    return encoded | {"endpoints": members, "blocks": blocks}


def endpoint_json(host: Host, node_id: str, endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint with its host and its state: up, down (the container is gone) or failed (see `error`)."""
    error = host.failures.get(endpoint.id, "") if node_id == host.node.id else ""
    network = host.view.networks.get(endpoint.network)
    shares_host = network is not None and DRIVERS[network.driver].name == "host"
    up = endpoint.attached or shares_host
    encoded: dict[str, Any] = codec.encode(endpoint)
    return encoded | {
        "id": endpoint.id,
        "host": host.view.node_name(node_id) if node_id != host.node.id else host.node.name,
        "state": "failed" if error else "up" if up else "down",
        "error": error,
    }


def host_json(host: Host, node: Node) -> dict[str, Any]:
    """Return a node with the numbers of its blocks and endpoints."""
    mine = node.id == host.node.id
    members = len(host.endpoints) if mine else sum(o == node.id for o, _ in host.view.endpoints_elsewhere(host.node.id))
    blocks = sum(lease.node == node.id for lease in host.view.leases.values())
    encoded: dict[str, Any] = codec.encode(node)
    return encoded | {"self": mine, "blocks": blocks, "endpoints": members}


def link_json(link: Link | LinkState) -> dict[str, Any]:
    """Return a link of the host; `kind` is the kernel's word for a virtual one (bridge, bond), else the hardware's (ether)."""
    ours = isinstance(link, Link)
    return {
        "name": link.name,
        "kind": link.kind if isinstance(link, LinkState) else type(link).__name__.lower(),
        "mac": getattr(link, "mac", ""),
        "mtu": link.mtu,
        "up": link.up,
        "ours": ours,
    }
