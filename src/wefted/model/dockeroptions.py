"""The `-o` keys of `docker network create`, in our own words: one table, so that what people type goes on to work. Pure.

Keys and values: docker/docs, network drivers; moby, libnetwork/netlabel and drivers/*/labels. Keys that are the same in both
(`parent`) are not in the table, nor is anything else translated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wefted.errors import Unsupported, UsageError

PREFIX = "com.docker.network."


@dataclass(frozen=True, slots=True)
class Translation:
    """`options`: keys of ours, and all that was none of Docker's; `fields`: parameters of `network.create`."""

    options: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Word:
    """Where a key goes (an option, or with `is_field` a parameter) and how its value is read; None says nothing."""

    target: str
    read: Callable[[str, str], Any]
    is_field: bool = False


def translated(pairs: Iterable[tuple[str, str]]) -> Translation:
    """Return options with Docker's keys in our words. Raises `UsageError` for a bad value, and for two that differ."""
    options: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for key, text in pairs:
        if key in _REFUSED:
            raise Unsupported(f"option {key} has no counterpart here", _REFUSED[key])
        word = WORDS.get(key)
        place: dict[str, Any] = fields if word is not None and word.is_field else options
        target = key if word is None else word.target
        value = text if word is None else word.read(key, text)
        if value is None:
            continue
        if place.setdefault(target, value) != value:
            raise UsageError(f"option {key}={text} contradicts another one about {target}", "leave one of them out")
    return Translation(options, fields)


def _boolean(key: str, text: str) -> bool:
    """Read what Docker takes for a boolean (Go's strconv.ParseBool)."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise UsageError(f"option {key} is {text!r}, not true or false", f"for example: -o {key}=true")


def _switch(key: str, text: str) -> str:
    return "on" if _boolean(key, text) else "off"


def _encrypting(key: str, text: str) -> str | None:
    """Return the backend that encrypts. Docker's overlay takes the bare key for a yes."""
    return "wireguard" if not text or _boolean(key, text) else None


def _bytes(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise UsageError(f"option {key} is {text!r}, not a number of bytes", f"for example: -o {key}=1400")
    return int(text)


def _same(key: str, text: str) -> str:
    return text


def _number_of_the_network(key: str, text: str) -> str:
    if "," in text:
        first = text.partition(",")[0]
        raise Unsupported(f"option {key}={text}: all subnets of a network are in one VXLAN", f"-o {key}={first}")
    return text


def _mode(key: str, text: str) -> str:
    if text == "nat-unprotected":
        raise Unsupported(
            f"option {key}={text}: containers are reached from outside by published ports, or they are exposed as a whole",
            f"-o {key}=nat, and then: wefted expose NETWORK",
        )
    return text


WORDS: Mapping[str, _Word] = {
    f"{PREFIX}driver.mtu": _Word("mtu", _bytes, is_field=True),
    f"{PREFIX}enable_ipv4": _Word("ipv4", _boolean, is_field=True),
    f"{PREFIX}enable_ipv6": _Word("ipv6", _boolean, is_field=True),
    f"{PREFIX}internal": _Word("internal", _boolean, is_field=True),
    f"{PREFIX}bridge.enable_ip_masquerade": _Word("masquerade", _boolean, is_field=True),
    f"{PREFIX}bridge.enable_icc": _Word("icc", _switch),
    f"{PREFIX}bridge.host_binding_ipv4": _Word("host_binding", _same),
    f"{PREFIX}bridge.gateway_mode_ipv4": _Word("gateway_mode", _mode),
    f"{PREFIX}bridge.gateway_mode_ipv6": _Word("gateway_mode", _mode),
    f"{PREFIX}bridge.name": _Word("name", _same),
    f"{PREFIX}container_iface_prefix": _Word("ifprefix", _same),
    f"{PREFIX}driver.overlay.vxlanid_list": _Word("vni", _number_of_the_network),
    "encrypted": _Word("backend", _encrypting, is_field=True),
    "macvlan_mode": _Word("mode", _same),
    "ipvlan_mode": _Word("mode", _same),
}
"""Docker's key, ours, and how its value is read."""

_REFUSED: Mapping[str, str] = {
    f"{PREFIX}bridge.inhibit_ipv4": "for a bridge without an address of the host: -o gateway_mode=isolated",
    f"{PREFIX}bridge.default_bridge": "there is no default network: every network has a name, and names are answered in each",
    f"{PREFIX}bridge.trusted_host_interfaces": "open the whole network instead: wefted expose NETWORK",
    f"{PREFIX}host_ipv4": "containers leave by the address that the host's route has",
    f"{PREFIX}host_ipv6": "containers leave by the address that the host's route has",
    "ipvlan_flag": "ipvlan is in its bridge flag here",
}
