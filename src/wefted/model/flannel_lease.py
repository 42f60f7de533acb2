"""Leases as flannel keeps them in etcd: the key names the subnets, the value the host that has them.

    PREFIX/subnets/10.5.34.0-24                         {"PublicIP":"172.31.99.1","PublicIPv6":null}
    PREFIX/subnets/10.5.34.0-24&fd00:12:13::-56         both versions of a host in one key

The value is what Go's encoder writes for flannel's `LeaseAttrs`, byte for byte, so that a tool which compares sees no change:
no spaces, this order of fields, `PublicIPv6` null without IPv6, nothing of a backend that announces nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice
from random import Random
from typing import Any

from wefted.errors import UsageError

from .flannel import Config, Range
from .objects import IPNetwork

TTL = 86400
"""Seconds that a lease holds unless it is renewed."""
KNOWN = 8192
"""Leases that are remembered as they were read: a large network is read again and again, and hardly changes."""
CANDIDATES = 100
"""A new host draws its subnet from so many of the first free ones, so that hosts that start together seldom clash."""

_KEY = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([a-f\d:]+)-(\d+))?", re.ASCII)
_SILENT = ("", "udp")
"""Backends whose leases have no BackendType."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlannelLease:
    """A host's subnets, and how others reach them. `data` and `data6` are the backend's own JSON values, None for none."""

    subnet: IPv4Network | None = None
    subnet6: IPv6Network | None = None
    public: IPv4Address | None = None
    public6: IPv6Address | None = None
    backend: str = ""
    data: Any = None
    data6: Any = None

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        return tuple(subnet for subnet in (self.subnet, self.subnet6) if subnet is not None)


def key(lease: FlannelLease) -> str:
    """Return the last part of the key of a lease."""
    both = [f"{subnet.network_address}-{subnet.prefixlen}" for subnet in lease.subnets]
    return "&".join(both)


@lru_cache(KNOWN)
def subnets_of(name: str) -> tuple[IPv4Network, IPv6Network | None] | None:
    """Return the subnets that a key names, or None for a key that flannel would not understand either."""
    match = _KEY.fullmatch(name)
    if match is None:
        return None
    try:
        first = IPv4Network(f"{match[1]}/{match[2]}")
        return first, IPv6Network(f"{match[3]}/{match[4]}") if match[3] else None
    except ValueError:
        return None


def encode(lease: FlannelLease) -> bytes:
    """Return the value of a lease, as flannel since 0.18 writes it."""
    fields: dict[str, Any] = {
        "PublicIP": str(lease.public or "0.0.0.0"),
        "PublicIPv6": str(lease.public6) if lease.public6 is not None else None,
    }
    if lease.backend not in _SILENT:
        fields["BackendType"] = lease.backend
    fields |= {
        name: value for name, value in (("BackendData", lease.data), ("BackendV6Data", lease.data6)) if value is not None
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def encode_first(lease: FlannelLease) -> bytes:
    """Return the value of a lease, as flannel before 0.15 wrote it: without IPv6, and in VXLAN with the MAC alone."""
    data = lease.data
    if isinstance(data, dict):
        data = {field: value for field, value in data.items() if field != "VNI"} or None
    found = json.loads(encode(replace(lease, data=data)))
    if found["PublicIPv6"] is None:
        del found["PublicIPv6"]
    return json.dumps(found, separators=(",", ":")).encode()


@lru_cache(KNOWN)
def decode(name: str, value: bytes) -> FlannelLease | None:
    """Return the lease of a key and its value, or None where one of the two is none: others' mistakes are not ours to make."""
    subnets = subnets_of(name)
    try:
        found = json.loads(value)
        fields = {field.lower(): content for field, content in found.items()}
        public, public6 = fields.get("publicip"), fields.get("publicipv6")
        return None if subnets is None else FlannelLease(
            subnet=subnets[0], subnet6=subnets[1],
            public=IPv4Address(public) if public else None, public6=IPv6Address(public6) if public6 else None,
            backend=str(fields.get("backendtype") or "").lower(), data=fields.get("backenddata"),
            data6=fields.get("backendv6data"),
        )  # fmt: skip
    except (ValueError, AttributeError, TypeError):
        return None


def choose(config: Config, taken: Iterable[IPNetwork], before: Sequence[IPNetwork], random: Random) -> tuple[IPNetwork, ...]:
    """Return a subnet of each IP version for a host that has none; empty when one version has no free subnet left.

    The subnets that it had `before` come first, where they are free and still fit; else one of the first free is drawn.
    """
    occupied = list(taken)
    chosen = []
    for each in config.ranges:
        mine = [subnet for subnet in before if each.holds(subnet) and not _clashes(subnet, occupied)]
        free = mine or list(islice(_free(each, occupied), CANDIDATES))
        if not free:
            return ()
        chosen.append(mine[0] if mine else random.choice(free))
    return tuple(chosen)


def subnet_env(config: Config, lease: FlannelLease, mtu: int, masquerade: bool) -> str:
    """Return the text of `subnet.env`: the host's first address in each of its subnets, not the subnets themselves."""
    lines = []
    for each in config.ranges:
        subnet = lease.subnet if each.network.version == 4 else lease.subnet6
        ipv6 = "IPV6_" if each.network.version == 6 else ""
        if subnet is None:
            raise UsageError(f"the lease {key(lease)!r} has no IPv{each.network.version} subnet")
        lines += [
            f"FLANNEL_{ipv6}NETWORK={each.network}",
            f"FLANNEL_{ipv6}SUBNET={subnet.network_address + 1}/{subnet.prefixlen}",
        ]
    lines += [f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={'true' if masquerade else 'false'}"]
    return "".join(f"{line}\n" for line in lines)


def previous_subnets(text: str) -> tuple[IPNetwork, ...]:
    """Return the subnets that a `subnet.env` of before speaks of; whatever else it holds is left alone."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    found = []
    for name in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"):
        try:
            found.append(ip_network(values.get(name, "").strip("\"' "), strict=False))
        except ValueError:
            continue
    return tuple(found)


def _free(each: Range, occupied: Sequence[IPNetwork]) -> Iterable[IPNetwork]:
    """Yield what no other subnet overlaps; those of the usual length, which are nearly all, are compared by number."""
    usual = {int(other.network_address) for other in occupied if other.prefixlen == each.length}
    others = [other for other in occupied if other.prefixlen != each.length]
    for number in range(int(each.first), int(each.last) + 1, each.step):
        subnet = ip_network((type(each.first)(number), each.length))
        if number not in usual and not _clashes(subnet, others):
            yield subnet


def _clashes(subnet: IPNetwork, occupied: Iterable[IPNetwork]) -> bool:
    return any(subnet.version == other.version and subnet.overlaps(other) for other in occupied)
