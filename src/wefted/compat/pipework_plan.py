"""From a form of `pipework` and what the host has to what the engine is asked. Pure.

Each combination of host interface and kind of attachment is one implicit network, whose name follows from both; the next call
finds it again. Its addresses are the user's affair, as in the original: no subnet, no masquerading, no isolation.
"""

from __future__ import annotations

from . import pipework_address
from .hostlink import HostLink
from .pipework_address import Dhcp
from .pipework_grammar import Attach, Mistake
from .record import record

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LABEL = "pipework"
"""The label of an implicit network; its value is the host interface."""
PREFIX = "pipework-"
BRIDGES = ("own", "host", "ovs")
"""Kinds of attachment by a veth."""

_LINKS = {"ovs": "ovs", "infiniband": "ipoib", "wireless": "wireless", "ethernet": "macvlan"}
_NEW = {"br": "own", "ovs": "ovs", "dummy": "dummy"}
"""How the name of an interface that is not there begins -> what it becomes."""


@record
class Plan:
    """The implicit network, and the parameters of `network.create` and `network.connect`."""

    network: str
    kind: str
    create: Mapping[str, Any]
    connect: Mapping[str, Any]


def kind_of(form: Attach, link: HostLink | None, *, ovs: bool) -> str:
    """Return the kind of attachment; `ovs` tells whether Open vSwitch is installed. Raises `Mistake`."""
    kind = _kind(form.hostif, link, ovs)
    if kind == "macvlan" and (form.direct or form.host_access):
        return "phys" if form.direct else "access"
    if form.host_access:
        raise Mistake(f"--host-access is for physical interfaces, which {form.hostif} is not.")
    if kind == "ipoib" and form.mac:
        raise Mistake("MACADDR configuration unsupported for IPoIB interfaces.")
    if kind == "wireless":
        raise Mistake(
            f"{form.hostif} is a wireless interface: it can only move with its whole radio, which is not supported.\n"
            f"Move it yourself: iw phy $(cat /sys/class/net/{form.hostif}/phy80211/name) set netns <PID>"
        )
    return kind


def _kind(hostif: str, link: HostLink | None, ovs: bool) -> str:
    if link is not None and link.kind == "bridge":
        return "own" if link.ours else "host"
    if link is not None:
        return _LINKS[link.kind]
    kind = next((kind for begin, kind in _NEW.items() if hostif.startswith(begin)), "")
    if not kind:
        raise Mistake(f"I do not know how to setup interface {hostif}.")
    if kind == "ovs" and not ovs:
        raise Mistake("Need OVS installed on the system to create an ovs bridge")
    return kind


def network_name(hostif: str, kind: str, tag: str = "") -> str:
    """Return the implicit network's name; different arguments have different names.

    One underscore stands before each further word, and two for one in HOSTIF. A HOSTIF with other signs than a network's name
    may have is told by its digest.
    """
    plain = hostif.isascii() and all(char.isalnum() or char in "_.-" for char in hostif)
    words = [hostif.replace("_", "__") if plain else f"_{_digest(hostif)}"]
    words += [kind] if kind != "own" else []
    words += [f"v{tag}"] if tag else []
    return PREFIX + "_".join(words)


def plan(form: Attach, kind: str, link: HostLink | None, sub: HostLink | None = None) -> Plan:
    """Return what the engine is asked; `sub` is the host's link HOSTIF.VLAN, if there is one. Raises `Mistake`."""
    asked = pipework_address.address(form.address, form.family)
    tag = pipework_address.partition_key(form.vlan) if kind == "ipoib" else str(pipework_address.vlan(form.vlan) or "")
    name = network_name(form.hostif, kind, tag)
    ifname = form.ifname or ("ib0" if kind == "ipoib" else "eth1")
    connect: dict[str, Any] = {
        "network": name,
        "containers": [guest_of(form.guest)],
        "ifname": ifname,
        "additional": True,
        "mac": pipework_address.mac(form.mac),
        "host_ifname": form.local if kind in BRIDGES else "",
        "default_route": "never",
    }
    if isinstance(asked, Dhcp):
        connect |= _dhcp(asked)
    else:
        connect |= {"ip": list(asked.addresses), "gateways": list(asked.gateways)}
        connect["default_route"] = "take" if asked.gateways else "never"
    return Plan(network=name, kind=kind, create=_create(name, form, kind, tag, link, sub), connect=connect)


def guest_of(text: str) -> str:
    """Return the container as the engine names it: a path and a PID need their kind."""
    if text.startswith("/"):
        return f"path:{text}"
    return f"pid:{text}" if text.isascii() and text.isdigit() and len(text) <= 7 else text


def _create(name: str, form: Attach, kind: str, tag: str, link: HostLink | None, sub: HostLink | None) -> Mapping[str, Any]:
    driver, options = _driver(form.hostif, kind, tag, sub)
    return {
        "name": name,
        "driver": driver,
        "subnets": ["none"],
        "options": options,
        "masquerade": False,
        "isolated": False,
        "mtu": min(link.mtu, 65535) if link is not None and kind in ("host", "macvlan", "access") else 0,
        "labels": {LABEL: form.hostif},
    }


def _driver(hostif: str, kind: str, tag: str, sub: HostLink | None) -> tuple[str, dict[str, str]]:
    """Return the driver with its options. A sub-interface that the host has already is taken as it is."""
    vlan = {"vlan": tag} if tag else {}
    if kind == "own":
        return "bridge", {"name": hostif, **vlan}
    if kind in ("host", "ovs"):
        return ("bridge" if kind == "host" else "ovs"), {"bridge": hostif, **vlan}
    if kind == "phys":
        return ("vlan", {"parent": hostif, "tag": tag}) if tag else ("phys", {"device": hostif})
    if kind == "ipoib":
        return "ipoib", {"parent": hostif, **({"pkey": tag} if tag else {})}
    if kind == "dummy":
        return "dummy", {}
    access = {"host_access": "on"} if kind == "access" else {}
    if tag and sub is not None and not sub.ours:
        if sub.vlan != int(tag):
            raise Mistake(f"{sub.name} already exists but is not a VLAN device for tag {tag}")
        return "macvlan", {"parent": sub.name, **access}
    return "macvlan", {"parent": hostif, **({"tag": tag} if tag else {}), **access}


def _dhcp(asked: Dhcp) -> dict[str, Any]:
    """Return what the engine is asked of DHCP. The built-in client stays and renews by itself, so it needs no -f."""
    words = asked.options.split()
    if asked.client == "dhcp":
        client, words = "builtin", [word for word in words if word != "-f"]
    else:
        client = f"{asked.client}-f" if asked.stays else asked.client
    return {"dhcp": True, "dhcp_client": client, "dhcp_options": words, "default_route": "take"}


def _digest(text: str) -> str:
    from hashlib import blake2s

    return blake2s(text.encode(errors="surrogateescape"), digest_size=6).hexdigest()
