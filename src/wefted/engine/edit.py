"""What may be changed of a network that lives, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import replace

from wefted.backends import BACKENDS
from wefted.drivers import DRIVERS
from wefted.errors import NotFound, UsageError
from wefted.model import spec
from wefted.model.dockeroptions import translated
from wefted.model.network import Network, Subnet
from wefted.model.node import HostFacts
from wefted.model.options import reject_unknown

from .intent import dressed, fitting_mtu
from .operations import NetworkCreate, NetworkSet

LIVE = ("icc", "host_binding", "gateway_mode")
"""Options that may change while containers are there. `host_binding` is for ports that are published from then on."""


def edited(network: Network, request: NetworkSet, facts: HostFacts) -> Network:
    """Return the network as it is to be. Raises `UsageError` for what no network can become, `NotFound` for a label."""
    _refuse_fixed(network, request)
    if request.masquerade and network.internal:
        raise UsageError(f"network {network.name!r} is internal, so nothing of it is masqueraded", "leave --masquerade out")
    options, mode = _options(network, request)
    changed = replace(
        network,
        options=tuple(sorted(options.items())),
        exposed=network.exposed if mode is None else mode == "routed",
        mtu=network.mtu if request.mtu is None else request.mtu,
        masquerade=_masquerade(network, request, mode),
        isolated=network.isolated if request.isolated is None else request.isolated,
        labels=_labels(network, request),
        subnets=_ranges(network, request.ip_ranges) if request.ip_ranges else network.subnets,
    )
    if changed.mtu != network.mtu:
        underlay = facts.underlay[0].ip if facts.underlay else None
        fitting_mtu(changed, BACKENDS[network.backend].overhead(underlay), facts)
    if options != dict(network.options):
        DRIVERS[network.driver].validate(changed)
    return changed


def _options(network: Network, request: NetworkSet) -> tuple[dict[str, str], str | None]:
    """Return all options as they are to be, and the gateway mode if that is another one than before."""
    found = translated(request.options)
    if found.fields:
        raise UsageError(
            f"network {network.name!r}: {', '.join(found.fields)} is changed by a flag of its own",
            "see: wefted network set --help",
        )
    reject_unknown(network.name, found.options, DRIVERS[network.driver].options, BACKENDS[network.backend].options)
    options = dict(network.options)
    before = options.get("gateway_mode", "nat")
    for key, value in found.options.items():
        if key not in LIVE:
            raise UsageError(
                f"network {network.name!r}: option {key} cannot be changed, because its containers were made with it",
                f"these can: {', '.join(LIVE)}",
            )
        options.pop(key, None)
        if value:
            options[key] = value
    mode = options.get("gateway_mode", "nat")
    if mode != before and "isolated" in (mode, before):
        raise UsageError(
            f"network {network.name!r}: its gateway cannot become {mode}, because its containers have routes for {before}",
            "make another network, and connect the containers to it",
        )
    return options, mode if mode != before else None


def _masquerade(network: Network, request: NetworkSet, mode: str | None) -> bool:
    if request.masquerade is not None:
        return request.masquerade
    return network.masquerade if mode is None else mode == "nat" and not network.internal


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
