"""The devices that a packet passes between two containers, read from what is there: links, routes, forwarding entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wefted.errors import WeftedError

from .host import Host

_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A container as the other end of a path: its host, its namespace's name, one of its addresses."""

    host: Host
    container: str
    address: str


@dataclass(frozen=True, slots=True)
class Path:
    """Devices from one container to the other; `wire` of them lie before the cable between two hosts (0: there is none)."""

    devices: tuple[str, ...]
    wire: int

    def __str__(self) -> str:
        return shortened(self.devices, self.wire)


def shortened(devices: Sequence[str], wire: int) -> str:
    """Return a path as one line, with the names that we made shortened to their two letters."""
    names = [_short(name) for name in devices]
    if not wire:
        return "→".join(names)
    return "→".join(names[:wire]) + "⇒" + "→".join(names[wire:])


def between(source: Place, target: Place) -> Path:
    """Return the path of a packet from `source` to `target`. Raises `WeftedError` where it is lost."""
    there = _way(source, target)
    if source.host.name == target.host.name:
        return Path((*there, *_tail(there, target)), 0)
    back = _way(target, source)
    return Path((*there, *reversed(back)), len(there))


@dataclass(frozen=True, slots=True)
class _Attachment:
    """A container's interface and what it is connected to on the host: its veth's other end, or its parent."""

    interface: _Json
    outside: _Json

    @property
    def is_veth(self) -> bool:
        return _kind(self.interface) == "veth"


def _attachment(place: Place) -> _Attachment:
    """Return the attachment that holds the place's address."""
    shown = _ip(place.host, place.container, "address", "show", "to", place.address)
    if not shown:
        raise WeftedError(f"{place.container} does not have {place.address}")
    interface = _ip(place.host, place.container, "-d", "link", "show", "dev", shown[0]["ifname"])[0]
    outside = next((link for link in _links(place.host) if link["ifindex"] == interface.get("link_index")), None)
    if outside is None:
        raise WeftedError(f"{place.container}: {interface['ifname']} leads nowhere on {place.host.name}")
    return _Attachment(interface, outside)


def _way(source: Place, target: Place) -> list[str]:
    """Return the devices from the source to the edge of its host, or to the last device before the target."""
    route = _ip(source.host, source.container, "route", "get", target.address)[0]
    attachment = _attachment(source)
    devices = [str(route["dev"]), str(attachment.outside["ifname"])]
    if not attachment.is_veth:
        return devices
    bridge = attachment.outside.get("master")
    if bridge:
        devices.append(bridge)
    if bridge and "gateway" not in route:
        return [*devices, *_below(source.host, _port(source, bridge, target))]
    onward = _ip(source.host, "", "route", "get", target.address, "from", source.address, "iif", devices[-1])[0]
    return [*devices, *_below(source.host, str(onward["dev"]))]


def _below(host: Host, device: str) -> list[str]:
    """Return a device, and the one that carries it where it is a tunnel."""
    link = next(link for link in _links(host) if link["ifname"] == device)
    carrier = link.get("linkinfo", {}).get("info_data", {}).get("link")
    return [device, str(carrier)] if _kind(link) == "vxlan" and carrier else [device]


def _port(source: Place, bridge: str, target: Place) -> str:
    """Return the bridge's port behind which the target's MAC is."""
    mac = _attachment(target).interface["address"]
    entries = json.loads(source.host.run(["bridge", "-j", "fdb", "show", "br", bridge]).stdout)
    ports = [str(entry["ifname"]) for entry in entries if entry["mac"] == mac]
    if not ports:
        local = _attachment(target).outside
        if source.host.name == target.host.name and local.get("master") == bridge:
            return str(local["ifname"])
        raise WeftedError(f"{source.host.name}: {bridge} does not know where {mac} is")
    return ports[0]


def _tail(there: Sequence[str], target: Place) -> list[str]:
    """Return what lies between the last device of a way on the target's own host and the target's interface."""
    attachment = _attachment(target)
    names = [str(attachment.outside["ifname"]), str(attachment.interface["ifname"])]
    return names[1:] if there[-1] == names[0] else names


def _links(host: Host) -> list[_Json]:
    return _ip(host, "", "-d", "link", "show")


def _ip(host: Host, namespace: str, *words: str) -> list[_Json]:
    where = ["-n", namespace] if namespace else []
    found: list[_Json] = json.loads(host.run(["ip", *where, "-j", *words]).stdout or "[]")
    return found


def _kind(link: _Json) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _short(name: str) -> str:
    return name[:2] if len(name) == 15 and name[2] == "-" else name
