"""Every published port of the cluster, and from where it is reachable, as follows from the rules of `wefted.features`. Pure."""

from __future__ import annotations

from typing import Any

from wefted.model import codec
from wefted.model.network import Endpoint, PortMapping

from .host import Host
from .render import endpoint_json

EVERYWHERE = ("host", "others", "containers")
"""The host that publishes, other hosts, and the containers on it whose network is not internal."""


def port_rows(host: Host) -> list[dict[str, Any]]:
    """Return one row for each published port, sorted by host, port and address."""
    mine = [(host.node.id, endpoint) for endpoint in host.endpoints.values()]
    rows = [
        _row(host, owner, endpoint, port)
        for owner, endpoint in (*mine, *host.view.endpoints_elsewhere(host.node.id))
        for port in endpoint.ports
    ]
    return sorted(rows, key=lambda row: (row["host"], row["host_port"], row["protocol"], row["host_ip"] or ""))


def reachable_from(endpoint: Endpoint, port: PortMapping) -> tuple[str, ...]:
    """Return from where a port of an attached endpoint is reachable.

    What is published on the loopback is for the host itself, and only in IPv4: no answer finds back to ::1.
    """
    ip = port.host_ip
    if ip is None:
        return EVERYWHERE if endpoint.addresses else ()
    if not any(address.version == ip.version for address in endpoint.addresses):
        return ()
    if ip.is_loopback:
        return ("host",) if ip.version == 4 else ()
    return EVERYWHERE


def _row(host: Host, owner: str, endpoint: Endpoint, port: PortMapping) -> dict[str, Any]:
    shown = endpoint_json(host, owner, endpoint)
    encoded: dict[str, Any] = codec.encode(port)
    return encoded | {
        "host": shown["host"],
        "network": endpoint.network,
        "container": endpoint.container,
        "reachable_from": list(reachable_from(endpoint, port)) if shown["state"] == "up" else [],
    }
