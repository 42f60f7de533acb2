"""Every published port of the cluster, and from where it is reachable, as follows from the rules of `wefted.features`. Pure.

What other programs of a host let pass, they alone know. Of this host it is told which of them drop what they do not know, and
which rules of firewalld cannot be followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wefted.model import codec
from wefted.model.network import Endpoint, PortMapping
from wefted.model.node import ANYWHERE
from wefted.model.objects import IPNetwork

from .host import Host
from .render import endpoint_json

EVERYWHERE = ("host", "others", "containers")
"""The host that publishes, other hosts, and the containers on it whose network is not internal."""


def port_rows(host: Host, filters: Sequence[str], unfollowed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row for each published port, sorted by host, port and address; `filters` are the chains of other programs.

    `unfollowed` are rules of them that open nothing of ours, whatever they say.
    """
    mine = [(host.node.id, endpoint) for endpoint in host.endpoints.values()]
    rows = [
        _row(host, owner, endpoint, port, filters) | {"unfollowed": list(unfollowed) if owner == host.node.id else None}
        for owner, endpoint in (*mine, *host.view.endpoints_elsewhere(host.node.id))
        for port in endpoint.ports
    ]
    return sorted(rows, key=lambda row: (row["host"], row["host_port"], row["protocol"], row["host_ip"] or ""))


def reachable_from(endpoint: Endpoint, port: PortMapping, sources: Sequence[IPNetwork]) -> tuple[str, ...]:
    """Return from where a port of an attached endpoint is reachable; `others` stands for those of `sources`.

    What is published on the loopback is for the host itself, and only in IPv4: no answer finds back to ::1.
    """
    ip = port.host_ip
    versions = {address.version for address in endpoint.addresses if ip is None or address.version == ip.version}
    if not versions:
        return ()
    if ip is not None and ip.is_loopback:
        return ("host",) if ip.version == 4 else ()
    open_to = any(source.version in versions for source in sources)
    return tuple(place for place in EVERYWHERE if place != "others" or open_to)


def _row(host: Host, owner: str, endpoint: Endpoint, port: PortMapping, filters: Sequence[str]) -> dict[str, Any]:
    shown = endpoint_json(host, owner, endpoint)
    here = owner == host.node.id
    node = host.node if here else host.view.nodes.get(owner)
    default = node.publish_from if node is not None else ANYWHERE
    sources = default if port.sources is None else port.sources
    places = reachable_from(endpoint, port, sources) if shown["state"] == "up" else ()
    encoded: dict[str, Any] = codec.encode(port)
    return encoded | {
        "host": shown["host"],
        "network": endpoint.network,
        "container": endpoint.container,
        "sources": [str(source) for source in sources],
        "reachable_from": list(places),
        "filtered_by": list(filters) if here else None,
    }
