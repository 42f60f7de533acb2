"""The kinds of link: for each one its name, its own attributes (IFLA_INFO_DATA, linux/if_link.h), and how it is read back."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from wefted.model.link import Bridge, Dummy, Ipip, Ipoib, Ipvlan, Link, Macvlan, Veth, Vlan, Vxlan
from wefted.model.objects import Netns
from wefted.model.tunnel import Tun
from wefted.model.wireguard import Wireguard

from .ifinfo import BRPORT_ISOLATED, BRPORT_MODE, RawLink
from .netlink import Refused, as_int, attribute, attributes, be16, u8, u16, u32

_BR_FORWARD_DELAY, _BR_STP_STATE = 1, 5
_MACVLAN_MODE = 1
_IPVLAN_MODE = 1
_VLAN_ID = 1
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6, _VXLAN_GBP = 1, 3, 4, 7, 15, 17, 23

_IPOIB_PKEY, _IPOIB_MODE = 1, 2
IPTUN_LOCAL = 2

IPOIB_MODES = {"datagram": 0, "connected": 1}
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_MACVLAN_NAMES = {number: name for name, number in MACVLAN_MODES.items()}
_IPOIB_NAMES = {number: name for name, number in IPOIB_MODES.items()}
_IPVLAN_NAMES = {number: name for name, number in IPVLAN_MODES.items()}


class Names(Protocol):
    """What turns indexes into names while a namespace is read."""

    ns: Netns

    def name(self, index: int) -> str:
        """Return the name of a link of this namespace, "" if there is none."""

    def is_ours(self, index: int) -> bool:
        """Tell whether a link of this namespace carries our mark."""

    def parent(self, link: RawLink) -> str:
        """Return the name of the link under this one, which may be in the host's namespace."""

    def far_end(self, link: RawLink) -> tuple[Netns, str]:
        """Return where the far end of a veth is, and its name if that is known."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: the kernel's word, its own attributes given the index below it, and its reader."""

    word: str
    data: Callable[[Any, int], bytes]
    read: Callable[[RawLink, Names], Link]
    below: str = ""
    """The field that names the link below it."""
    fixed: tuple[str, ...] = ()
    """Fields that cannot change while it lives: another value means another device."""


def _bridge_data(link: Bridge, below: int) -> bytes:
    return u32(_BR_FORWARD_DELAY, 0) + u32(_BR_STP_STATE, 0)


def _bridge(raw: RawLink, names: Names) -> Bridge:
    return Bridge(ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, mac=raw.mac)


def _no_data(link: Link, below: int) -> bytes:
    return b""


def _dummy(raw: RawLink, names: Names) -> Dummy:
    return Dummy(ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, mac=raw.mac)


def _veth_data(link: Veth, below: int) -> bytes:
    return b""  # the far end is described by the handler, which knows the namespaces


def _veth(raw: RawLink, names: Names) -> Veth:
    peer_ns, peer_name = names.far_end(raw)
    port = attributes(raw.slave)
    return Veth(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, master=names.name(raw.master),
        peer_ns=peer_ns, peer_name=peer_name, hairpin=as_int(port.get(BRPORT_MODE)) == 1,
        isolated=as_int(port.get(BRPORT_ISOLATED)) == 1, guest=bool(raw.master) and not names.is_ours(raw.master),
    )  # fmt: skip


def _macvlan_data(link: Macvlan, below: int) -> bytes:
    return u32(_MACVLAN_MODE, _choice(MACVLAN_MODES, link.mode))


def _macvlan(raw: RawLink, names: Names) -> Macvlan:
    mode = as_int(attributes(raw.info).get(_MACVLAN_MODE))
    return Macvlan(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, parent=names.parent(raw),
        mode=_MACVLAN_NAMES.get(mode, str(mode)), mac=raw.mac,
    )  # fmt: skip


def _ipvlan_data(link: Ipvlan, below: int) -> bytes:
    return u16(_IPVLAN_MODE, _choice(IPVLAN_MODES, link.mode))


def _ipvlan(raw: RawLink, names: Names) -> Ipvlan:
    mode = as_int(attributes(raw.info).get(_IPVLAN_MODE))
    return Ipvlan(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, parent=names.parent(raw),
        mode=_IPVLAN_NAMES.get(mode, str(mode)),
    )  # fmt: skip


def _vlan_data(link: Vlan, below: int) -> bytes:
    return u16(_VLAN_ID, link.tag)


def _vlan(raw: RawLink, names: Names) -> Vlan:
    return Vlan(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, parent=names.parent(raw),
        tag=as_int(attributes(raw.info).get(_VLAN_ID)), mac=raw.mac,
    )  # fmt: skip


def _ipoib_data(link: Ipoib, below: int) -> bytes:
    return u16(_IPOIB_PKEY, link.pkey) + u16(_IPOIB_MODE, _choice(IPOIB_MODES, link.mode))


def _ipoib(raw: RawLink, names: Names) -> Ipoib:
    found = attributes(raw.info)
    mode = as_int(found.get(_IPOIB_MODE))
    return Ipoib(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, parent=names.parent(raw),
        pkey=as_int(found.get(_IPOIB_PKEY)), mode=_IPOIB_NAMES.get(mode, str(mode)),
    )  # fmt: skip


def _vxlan_data(link: Vxlan, below: int) -> bytes:
    local = attribute(_VXLAN_LOCAL if link.local.version == 4 else _VXLAN_LOCAL6, link.local.packed)
    device = u32(_VXLAN_LINK, below) if below else b""
    flags = u8(_VXLAN_LEARNING, link.learning) + (attribute(_VXLAN_GBP, b"") if link.gbp else b"")
    return u32(_VXLAN_ID, link.vni) + local + device + be16(_VXLAN_PORT, link.port) + flags


def _vxlan(raw: RawLink, names: Names) -> Vxlan:
    found = attributes(raw.info)
    local = found.get(_VXLAN_LOCAL) or found.get(_VXLAN_LOCAL6) or bytes(4)
    return Vxlan(
        ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, vni=as_int(found.get(_VXLAN_ID)),
        local=ip_address(local), device=names.name(as_int(found.get(_VXLAN_LINK))),
        port=int.from_bytes(found.get(_VXLAN_PORT, b""), "big"), learning=bool(as_int(found.get(_VXLAN_LEARNING))),
        gbp=_VXLAN_GBP in found, mac=raw.mac, master=names.name(raw.master),
    )  # fmt: skip


def _ipip_data(link: Ipip, below: int) -> bytes:
    return attribute(IPTUN_LOCAL, link.local.packed)


def _ipip(raw: RawLink, names: Names) -> Ipip:
    local = attributes(raw.info).get(IPTUN_LOCAL, bytes(4))
    return Ipip(ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, local=ip_address(local))


def _tun(raw: RawLink, names: Names) -> Tun:
    return Tun(ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias)


def _wireguard(raw: RawLink, names: Names) -> Wireguard:
    """Return what the link alone says; `wefted.kernel.wireguard` knows the rest."""
    return Wireguard(ns=names.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, port=0, public_key="", intact=False)


def _choice(modes: Mapping[str, int], mode: str) -> int:
    if mode not in modes:
        raise Refused(errno.EINVAL, f"mode {mode!r} is none of {', '.join(modes)}")
    return modes[mode]


KINDS: dict[type[Link], Kind] = {
    Bridge: Kind("bridge", _bridge_data, _bridge),
    Veth: Kind("veth", _veth_data, _veth),
    Macvlan: Kind("macvlan", _macvlan_data, _macvlan, "parent", ("parent", "mode")),
    Dummy: Kind("dummy", _no_data, _dummy),
    Ipvlan: Kind("ipvlan", _ipvlan_data, _ipvlan, "parent", ("parent", "mode")),
    Vlan: Kind("vlan", _vlan_data, _vlan, "parent", ("parent", "tag")),
    Ipoib: Kind("ipoib", _ipoib_data, _ipoib, "parent", ("parent", "pkey", "mode")),
    Ipip: Kind("ipip", _ipip_data, _ipip, "", ("local",)),
    Vxlan: Kind("vxlan", _vxlan_data, _vxlan, "device", ("vni", "local", "device", "port", "learning", "gbp")),
    Tun: Kind("tun", _no_data, _tun),
    Wireguard: Kind("wireguard", _no_data, _wireguard),
}
"""A new kind of link is one line here."""

READERS = {kind.word: kind.read for kind in KINDS.values()}
