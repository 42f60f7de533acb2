"""What may be changed of a network that lives, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import replace

from wefted.backends import BACKENDS
from wefted.errors import NotFound, UsageError
from wefted.model import spec
from wefted.model.network import Network, Subnet
from wefted.model.node import HostFacts

from .intent import dressed, fitting_mtu
from .operations import NetworkCreate, NetworkSet


def edited(network: Network, request: NetworkSet, facts: HostFacts) -> Network:
    """Return the network as it is to be. Raises `UsageError` for what no network can become, `NotFound` for a label."""
    _refuse_fixed(network, request)
    if request.masquerade and network.internal:
        raise UsageError(f"network {network.name!r} is internal, so nothing of it is masqueraded", "leave --masquerade out")
    changed = replace(
        network,
        mtu=network.mtu if request.mtu is None else request.mtu,
        masquerade=network.masquerade if request.masquerade is None else request.masquerade,
        isolated=network.isolated if request.isolated is None else request.isolated,
        labels=_labels(network, request),
        subnets=_ranges(network, request.ip_ranges) if request.ip_ranges else network.subnets,
    )
    if changed.mtu != network.mtu:
        underlay = facts.underlay[0].ip if facts.underlay else None
        fitting_mtu(changed, BACKENDS[network.backend].overhead(underlay), facts)
    return changed


def _refuse_fixed(network: Network, request: NetworkSet) -> None:
    for word, asked in (("driver", request.driver), ("backend", request.backend), ("subnet", request.subnets)):
        if asked:
            raise UsageError(
                f"network {network.name!r}: its {word} cannot be changed, because its containers were made with it",
                f"make another network, and connect the containers to it: wefted network create NAME --{word} ...",
            )


def _labels(network: Network, request: NetworkSet) -> tuple[tuple[str, str], ...]:
    labels = dict(network.labels)
    for key in request.unlabel:
        if labels.pop(key, None) is None:
            raise NotFound(f"network {network.name!r} has no label {key!r}", f"see them: wefted network inspect {network.name}")
    return tuple(sorted((labels | dict(request.labels)).items()))


def _ranges(network: Network, texts: tuple[str, ...]) -> tuple[Subnet, ...]:
    """Return the subnets with other ranges; a range that is the whole subnet lifts the restriction."""
    asked = [spec.subnet(text) for text in texts]
    kept = [
        subnet.ip_range
        for subnet in network.subnets
        if subnet.ip_range is not None
        and not any(subnet.prefix.overlaps(a) for a in asked if a.version == subnet.prefix.version)
    ]
    request = NetworkCreate(
        name=network.name,
        gateways=tuple(str(s.gateway) for s in network.subnets if s.gateway is not None),
        ip_ranges=tuple(map(str, (*asked, *kept))),
        auxiliary=tuple(str(a) for s in network.subnets for a in s.auxiliary),
    )
    found = dressed([subnet.prefix for subnet in network.subnets], request)
    return tuple(replace(s, ip_range=None) if s.ip_range == s.prefix else s for s in found)
