"""The JSON of flannel's client/server mode (flannel 0.5 to 0.10: `-listen`, `-remote`), as its Go types write it. Pure.

    Config              {"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.255.0","SubnetLen":24,"Backend":{...}}
    LeaseAttrs          {"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VtepMAC":"..."}}
    Lease               {"Subnet":"10.5.1.0/24","Attrs":LeaseAttrs,"Expiration":"2016-01-02T15:04:05Z"}
    LeaseWatchResult    {"events":[{"type":"added","lease":Lease}],"snapshot":null,"cursor":"17"}
                        {"events":null,"snapshot":[Lease],"cursor":"17"}      where the cursor is too old, or there was none
    NetworkWatchResult  the same with `network` in an event, and names in the snapshot
    Reservation         {"Subnet":"10.5.1.0/24","PublicIP":"192.0.2.1"}

Keys are read in whatever case, as Go reads them. A lease without an end is a reservation; Go writes its zero time for that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from wefted.errors import UsageError

from .flannel import Config
from .flannel_lease import FlannelLease, encode

UNNAMED = "_"
"""The network that stands right under the prefix, without a name."""
NODE_HEADER = "wefted-node"
"""Which host asks, where two have one public address: ours say so, flannel's do not, and each leaves the other's alone."""
DEFAULT_PORT = 8888
ZERO_TIME = "0001-01-01T00:00:00Z"
_FRACTION = re.compile(r"\.(\d{1,6})\d*")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lent:
    """A lease as the API tells of it; `ends` in seconds since 1970, None for a reservation."""

    lease: FlannelLease
    ends: float | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch of leases told: everything (`snapshot`), or what happened: keys with their leases, None for gone."""

    cursor: str
    snapshot: tuple[Lent, ...] | None
    events: tuple[tuple[IPv4Network, Lent | None], ...] = ()


# -- written ----------------------------------------------------------------------------------------------------------


def config(found: Config) -> Json:
    """Return a configuration. Raises `UsageError` for IPv6, which this API does not know."""
    if len(found.ranges) != 1 or found.ranges[0].network.version != 4:
        raise UsageError("the network has IPv6, which flannel's client/server mode does not know", "use etcd: -etcd-endpoints")
    (each,) = found.ranges
    return {
        "Network": str(each.network),
        "SubnetMin": str(each.first),
        "SubnetMax": str(each.last),
        "SubnetLen": each.length,
        "Backend": {"Type": found.backend_type, **dict(found.backend)},
    }


def attrs(lease: FlannelLease) -> Json:
    """Return what a host says of itself."""
    fields: Json = json.loads(encode(lease))
    del fields["PublicIPv6"]
    return fields


def lease(lent: Lent) -> Json:
    """Return a lease."""
    return {"Subnet": str(lent.lease.subnet), "Attrs": attrs(lent.lease), "Expiration": moment(lent.ends)}


def event(subnet: IPv4Network, lent: Lent | None) -> Json:
    """Return what happened to a lease; one that is gone has nothing but its subnet."""
    gone = {"Subnet": str(subnet), "Attrs": {"PublicIP": "0.0.0.0"}, "Expiration": ZERO_TIME}
    return {"type": "removed" if lent is None else "added", "lease": gone if lent is None else lease(lent)}


def network_event(name: str, there: bool) -> Json:
    """Return that a network came or went; Go writes an empty lease beside it."""
    nothing = {"Subnet": "0.0.0.0/0", "Attrs": {"PublicIP": "0.0.0.0"}, "Expiration": ZERO_TIME}
    return {"type": "added" if there else "removed", "lease": nothing, "network": name}


def result(cursor: int, events: Sequence[Json] | None, snapshot: Sequence[Any] | None) -> Json:
    """Return the answer to a watch."""
    return {"events": events, "snapshot": snapshot, "cursor": str(cursor)}


def moment(ends: float | None) -> str:
    """Return a time as RFC 3339 has it, in UTC."""
    return ZERO_TIME if ends is None else datetime.fromtimestamp(ends, UTC).isoformat().replace("+00:00", "Z")


# -- read -------------------------------------------------------------------------------------------------------------


def parse(body: bytes) -> Mapping[str, Any]:
    """Return the fields of an object, by their names in lower case. Raises `UsageError`."""
    try:
        return _fields(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"JSON decoding error: {error}") from None


def read_attrs(found: Any, subnet: IPv4Network | None = None) -> FlannelLease:
    """Return the lease that a host asks for, or has. Raises `UsageError`."""
    fields = _fields(found)
    kind = fields.get("backendtype") or ""
    if not isinstance(kind, str):
        raise UsageError("JSON decoding error: BackendType is no string")
    public = _address(fields.get("publicip"))
    return FlannelLease(subnet=subnet, public=public, backend=kind.lower(), data=fields.get("backenddata"))


def read_lease(found: Any) -> Lent:
    """Return a lease. Raises `UsageError`."""
    fields = _fields(found)
    return Lent(read_attrs(fields.get("attrs"), _subnet(fields.get("subnet"))), _ends(fields.get("expiration")))


def read_reservation(found: Any) -> tuple[IPv4Network, IPv4Address]:
    """Return the subnet of a reservation and for whom it is. Raises `UsageError`."""
    fields = _fields(found)
    return _subnet(fields.get("subnet")), _address(fields.get("publicip"))


def read_watched(found: Any) -> Watched:
    """Return what a watch of leases told. Raises `UsageError`."""
    fields = _fields(found)
    events = fields.get("events") or []
    if not events:
        return Watched(_cursor(fields), tuple(read_lease(each) for each in _list(fields.get("snapshot"))))
    return Watched(_cursor(fields), None, tuple(map(_read_event, _list(events))))


def read_networks(found: Any) -> tuple[str, frozenset[str] | None, tuple[tuple[str, bool], ...]]:
    """Return the cursor, and all networks (or None), and those that came or went. Raises `UsageError`."""
    fields = _fields(found)
    events = [_fields(each) for each in _list(fields.get("events"))]
    names = frozenset(map(str, _list(fields.get("snapshot")))) if not events else None
    return _cursor(fields), names, tuple((str(each.get("network", "")), each.get("type") == "added") for each in events)


def _read_event(found: Any) -> tuple[IPv4Network, Lent | None]:
    fields = _fields(found)
    inner = _fields(fields.get("lease"))
    return _subnet(inner.get("subnet")), read_lease(inner) if fields.get("type") == "added" else None


def _fields(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise UsageError("JSON decoding error: an object is wanted")
    return {str(key).lower(): value for key, value in found.items()}


def _list(found: Any) -> list[Any]:
    if found is not None and not isinstance(found, list):
        raise UsageError("JSON decoding error: a list is wanted")
    return found or []


def _cursor(fields: Mapping[str, Any]) -> str:
    found = fields.get("cursor")
    if not isinstance(found, str) or not found:
        raise UsageError("watch returned non-string cursor")
    return found


def _address(text: Any) -> IPv4Address:
    try:
        return IPv4Address(text if isinstance(text, str) else "")
    except ValueError:
        raise UsageError(f"JSON decoding error: PublicIP is no IPv4 address: {str(text)[:80]!r}") from None


def _subnet(text: Any) -> IPv4Network:
    try:
        return IPv4Network(text if isinstance(text, str) and "/" in text else "")
    except ValueError:
        raise UsageError(f"JSON decoding error: Subnet is no IPv4 subnet: {str(text)[:80]!r}") from None


def _ends(text: Any) -> float | None:
    if text in (None, "", ZERO_TIME):
        return None
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r".\1", str(text)))
    except ValueError:
        raise UsageError(f"JSON decoding error: Expiration is no time: {str(text)[:80]!r}") from None
    return found.timestamp() if found.year > 1 else None
