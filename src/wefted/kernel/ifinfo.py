"""The link message of rtnetlink (`struct ifinfomsg`, linux/if_link.h): how it is written, and how it is read.

One link has some forty attributes, and a host has hundreds of links: reading takes only what wefted compares.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from struct import Struct

from .marks import DOOMED_GROUP
from .netlink import Message, as_int, as_mac, as_text, attribute, attributes, nested, text, u32

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_PROTINFO, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP = 12, 18, 20, 27
IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 26, 28, 29, 37
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_XDP = 31, 32, 43
_XDP_PROG_ID = 4

INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
BRPORT_MODE, BRPORT_ISOLATED = 4, 33
"""Of a bridge port: mode 1 is hairpin; isolated ports do not reach each other."""

HARDWARE = {1: "ether", 32: "infiniband", 772: "loopback"}
"""ARPHRD_* (linux/if_arp.h)."""
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_SKIP_STATISTICS = 0x8
"""RTEXT_FILTER_SKIP_STATS: they are most of a link's bytes, and we use none."""

_INFO = Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class RawLink:
    """What the kernel says of one link; "" and 0 where it says nothing, `link_netns` None where the parent is at home."""

    index: int
    up: bool
    name: str
    mtu: int
    mac: str
    group: int
    master: int
    parent: int
    link_netns: int | None
    alias: str
    kind: str
    info: bytes
    slave: bytes
    hardware: int = 1
    """ARPHRD_*, a key of `HARDWARE` where we have a word for it."""
    xdp: int = 0
    """The identifier of its XDP program."""
    carrier: bool = True
    """Of a TUN device: whether a process has it open."""


def header(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return _INFO.pack(family, 0, index, flags, change)


def up_header(index: int = 0, up: bool = True) -> bytes:
    """Return a header that takes the link up or down and leaves its other flags."""
    return header(index, IFF_UP if up else 0, IFF_UP)


def delete_named(name: str) -> Message:
    return Message(RTM_DELLINK, 0, header() + text(IFLA_IFNAME, name))


def move_to_doomed(name: str) -> Message:
    return Message(RTM_NEWLINK, 0, header() + text(IFLA_IFNAME, name) + u32(IFLA_GROUP, DOOMED_GROUP))


def delete_group() -> Message:
    """Delete every link of the group with one wait for the kernel's grace period."""
    return Message(RTM_DELLINK, 0, header() + u32(IFLA_GROUP, DOOMED_GROUP))


def dump_request() -> bytes:
    return header() + u32(IFLA_EXT_MASK, _SKIP_STATISTICS)


def link_info(kind: str, data: bytes = b"") -> bytes:
    """Return IFLA_LINKINFO of a kind with the attributes of its own."""
    parts = (text(INFO_KIND, kind), nested(INFO_DATA, data)) if data else (text(INFO_KIND, kind),)
    return nested(IFLA_LINKINFO, *parts)


def bridge_port(hairpin: bool, isolated: bool) -> bytes:
    """Return IFLA_LINKINFO that sets the modes of a bridge port; unlike the bridge's own message it goes by name."""
    modes = attribute(BRPORT_MODE, bytes([hairpin])) + attribute(BRPORT_ISOLATED, bytes([isolated]))
    data = nested(INFO_SLAVE_DATA, modes)
    return nested(IFLA_LINKINFO, text(INFO_SLAVE_KIND, "bridge"), data)


def no_link_local(index: int, name: str) -> Message:
    """Let a link come up without an IPv6 link-local address; in the message that raises it, it would come too late."""
    return Message(RTM_NEWLINK, 0, header(index) + (b"" if index else text(IFLA_IFNAME, name)) + without_link_local())


def without_link_local() -> bytes:
    return nested(IFLA_AF_SPEC, nested(socket.AF_INET6, attribute(_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))))


def echo(body: bytes) -> tuple[int, int, int | None]:
    """Return index, IFLA_LINK and IFLA_LINK_NETNSID: of a veth, the far end's index and its namespace's number."""
    found = attributes(body, _INFO.size)
    nsid = found.get(IFLA_LINK_NETNSID)
    return _INFO.unpack_from(body)[2], as_int(found.get(IFLA_LINK)), None if nsid is None else as_int(nsid)


def link_index(body: bytes) -> int:
    index: int = _INFO.unpack_from(body)[2]
    return index


def family(body: bytes) -> int:
    return body[0]


def port_info(body: bytes) -> tuple[int, bytes]:
    """Return the index of a bridge port and IFLA_PROTINFO, from a message of the bridge about it."""
    return _INFO.unpack_from(body)[2], attributes(body, _INFO.size).get(IFLA_PROTINFO, b"")


def decode(body: bytes) -> RawLink:
    """Read one link message."""
    _, hardware, index, flags, _ = _INFO.unpack_from(body)
    found = attributes(body, _INFO.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    netns = found.get(IFLA_LINK_NETNSID)
    return RawLink(
        index=index,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        name=as_text(found.get(IFLA_IFNAME)),
        mtu=as_int(found.get(IFLA_MTU)),
        mac=as_mac(found.get(IFLA_ADDRESS)),
        group=as_int(found.get(IFLA_GROUP)),
        master=as_int(found.get(IFLA_MASTER)),
        parent=as_int(found.get(IFLA_LINK)),
        link_netns=None if netns is None else as_int(netns),
        alias=as_text(found.get(IFLA_IFALIAS)),
        kind=as_text(info.get(INFO_KIND)),
        info=info.get(INFO_DATA, b""),
        slave=info.get(INFO_SLAVE_DATA, b"") if as_text(info.get(INFO_SLAVE_KIND)) == "bridge" else b"",
        hardware=hardware,
        xdp=as_int(attributes(found[IFLA_XDP]).get(_XDP_PROG_ID)) if IFLA_XDP in found else 0,
    )
