"""Drivers whose link only one container on each host can have. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wefted.errors import InUse
from wefted.model.network import Endpoint, Network

EXCLUSIVE = frozenset({"phys", "vlan"})


def refuse_second(network: Network, endpoint: Endpoint, others: Iterable[Endpoint]) -> None:
    """Raise `InUse` when another of this host's endpoints holds the network's only link.

    It is asked before an endpoint is made. A plan never raises: one network that cannot be made must not keep a host from
    mending the others.
    """
    if network.driver not in EXCLUSIVE:
        return
    for other in others:
        if other.network == network.name and other.id != endpoint.id:
            raise InUse(
                f"network {network.name!r}: driver {network.driver} has one link on each host, and {other.container} has it",
                f"detach it first: wefted network disconnect {network.name} {other.container}",
            )
