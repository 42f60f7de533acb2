"""The configuration of a flannel network, as it stands in etcd under `PREFIX/config`.

It is JSON, read as Go reads it: the case of keys does not matter, and unknown keys are nobody's business.

    Network SubnetLen SubnetMin SubnetMax EnableIPv4          the IPv4 side; on unless EnableIPv4 is false
    IPv6Network IPv6SubnetLen IPv6SubnetMin IPv6SubnetMax     the IPv6 side, with EnableIPv6
    Backend {Type ...}                                        udp where there is none; the type in any case

The rules are those of flannel's `subnet.CheckNetworkConfig`: each host gets a subnet of SubnetLen; the first one is never given
out; at least four must fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from wefted.errors import UsageError

from .objects import IPAddress, IPNetwork

DEFAULT_BACKEND = "udp"
_LONGEST = {4: 30, 6: 126}
"""A subnet must hold the addresses of a tunnel and of a bridge."""
_SMALLEST = {4: 28, 6: 124}
"""Four subnets of the longest length fit."""
_USUAL = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class Range:
    """One IP version of a network: hosts get subnets of length `length`, from the one at `first` to the one at `last`."""

    network: IPNetwork
    length: int
    first: IPAddress
    last: IPAddress

    @property
    def step(self) -> int:
        """How many addresses a host's subnet has."""
        return 1 << (self.network.max_prefixlen - self.length)

    def holds(self, subnet: IPNetwork) -> bool:
        """Tell whether a host may have this subnet."""
        same_kind = subnet.version == self.network.version and subnet.prefixlen == self.length
        return same_kind and int(self.first) <= int(subnet.network_address) <= int(self.last)


@dataclass(frozen=True, slots=True)
class Config:
    """What `PREFIX/config` says. `backend` holds the options beside Type, with the keys as they were written."""

    ranges: tuple[Range, ...]
    """IPv4 first; at least one."""
    backend_type: str = DEFAULT_BACKEND
    backend: tuple[tuple[str, Any], ...] = ()

    def option(self, key: str, default: Any = None) -> Any:
        """Return a backend option, whatever the case of its key."""
        return next((value for name, value in self.backend if name.lower() == key.lower()), default)


def parse(text: str, source: str = "config") -> Config:
    """Return what a configuration says. Raises `UsageError`, whose message names `source`."""
    fields = _object(text, source)
    ranges = []
    if _truth(fields, "EnableIPv4", True, source):
        ranges.append(_range(fields, 4, source))
    if _truth(fields, "EnableIPv6", False, source):
        ranges.append(_range(fields, 6, source))
    if not ranges:
        raise UsageError(f"{source}: neither IPv4 nor IPv6 is enabled", "leave EnableIPv4 out, or set EnableIPv6")
    kind, options = _backend(fields, source)
    return Config(tuple(ranges), kind, options)


def _object(text: str, source: str) -> Mapping[str, Any]:
    """Return the fields by their names in lower case; of two that differ in case only, the later one stays, as in Go."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{source}: it is not JSON: {error}", 'as in {"Network": "10.5.0.0/16"}') from None
    if not isinstance(found, dict):
        raise UsageError(f"{source}: it is JSON, but no object", 'as in {"Network": "10.5.0.0/16"}')
    return {key.lower(): value for key, value in found.items()}


def _backend(fields: Mapping[str, Any], source: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    backend = fields.get("backend")
    if backend is None:
        return DEFAULT_BACKEND, ()
    if not isinstance(backend, dict):
        raise UsageError(f"{source}: Backend is no object", 'as in "Backend": {"Type": "vxlan"}')
    kind = next((value for key, value in backend.items() if key.lower() == "type"), "")
    if not isinstance(kind, str) or not kind:
        raise UsageError(f"{source}: Backend has no Type", 'as in "Backend": {"Type": "vxlan"}; without Backend it is udp')
    return kind.lower(), tuple((key, value) for key, value in backend.items() if key.lower() != "type")


def _range(fields: Mapping[str, Any], version: int, source: str) -> Range:
    ipv6 = "IPv6" if version == 6 else ""
    network = _network(fields, f"{ipv6}Network", version, source)
    length = _length(fields, f"{ipv6}SubnetLen", network, source)
    step = 1 << (network.max_prefixlen - length)
    first = _bound(fields, f"{ipv6}SubnetMin", network, step, source) or network.network_address + step
    last = _bound(fields, f"{ipv6}SubnetMax", network, step, source)
    last = last or type(network.network_address)(int(network.broadcast_address) + 1 - step)
    if int(first) > int(last):
        raise UsageError(f"{source}: {ipv6}SubnetMin {first} lies behind {ipv6}SubnetMax {last}")
    return Range(network, length, first, last)


def _network(fields: Mapping[str, Any], key: str, version: int, source: str) -> IPNetwork:
    text = fields.get(key.lower())
    example = '"10.5.0.0/16"' if version == 4 else '"fd05::/48"'
    kind = IPv4Network if version == 4 else IPv6Network
    if not isinstance(text, str) or "/" not in text:
        raise UsageError(f"{source}: {key} is missing or no prefix", f'as in "{key}": {example}')
    try:
        return kind(text, strict=False)
    except ValueError as error:
        raise UsageError(f"{source}: {key}: {error}", f'as in "{key}": {example}') from None


def _length(fields: Mapping[str, Any], key: str, network: IPNetwork, source: str) -> int:
    version = network.version
    given = fields.get(key.lower(), 0)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise UsageError(f"{source}: {key} is no number", f'as in "{key}": {_USUAL[version]}')
    if not given:
        if network.prefixlen > _SMALLEST[version]:
            raise UsageError(
                f"{source}: {network} is too small", f"a network of /{_SMALLEST[version]} is the smallest possible"
            )
        return max(_USUAL[version], network.prefixlen + 2)
    if given > _LONGEST[version]:
        raise UsageError(f"{source}: {key} {given} leaves no room for containers", f"/{_LONGEST[version]} is the longest")
    if given < network.prefixlen + 2:
        raise UsageError(f"{source}: fewer than four subnets of /{given} fit into {network}", f"use /{network.prefixlen + 2}")
    return given


def _bound(fields: Mapping[str, Any], key: str, network: IPNetwork, step: int, source: str) -> IPAddress | None:
    text = fields.get(key.lower())
    if text in (None, "", "0.0.0.0", "::"):
        return None
    try:
        address = ip_address(text if isinstance(text, str) else "")
    except ValueError:
        raise UsageError(
            f"{source}: {key} is no address: {text!r}", f'as in "{key}": "{network.network_address + step}"'
        ) from None
    if address not in network:
        raise UsageError(f"{source}: {key} {address} lies outside {network}")
    if int(address) % step:
        length = network.max_prefixlen - step.bit_length() + 1
        aligned = ip_network((address, length), strict=False).network_address
        raise UsageError(f"{source}: {key} {address} is not where a subnet of /{length} begins", f"use {aligned}")
    return address


def _truth(fields: Mapping[str, Any], key: str, default: bool, source: str) -> bool:
    value = fields.get(key.lower(), default)
    if not isinstance(value, bool):
        raise UsageError(f"{source}: {key} is neither true nor false: {value!r}")
    return value
