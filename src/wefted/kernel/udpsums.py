"""The detour on which wrapped packets get their checksums and are cut, where the underlay would leave that to nobody.

A veth hands packets to its far end as they are: 64 KiB long and without the inner checksum, for within one kernel nothing can
have happened to them. A process at the far end (flanneld's proxy, our relay) cannot know that, and passes rubbish on. Only the
sender can mend it, and the kernel has it done when a packet enters a link without these abilities. So what is wrapped for such
an underlay enters a veth of ours whose abilities are switched off, and the program at its far end sends it to the next hop.

One pair of links serves all tunnels of the host. It belongs to the programs, as their filters do: nobody plans it.
"""

from __future__ import annotations

import errno

from wefted.model.link import LINK_GROUP

from .classifier import EXISTS
from .ifinfo import (
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_MTU,
    RTM_NEWLINK,
    RawLink,
    delete_named,
    header,
    link_info,
    no_link_local,
    up_header,
)
from .marks import SUMS_LINKS, is_our_group
from .netlink import CREATE, EXCL, Message, NetlinkSocket, Refused, nested, text, u32
from .offload import sums
from .transaction import GONE

_PEER = 1
_LONGEST = 65535
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})
_PASS_ON = frozenset({"veth", "macvlan", "ipvlan"})
"""Kinds of links that hand a packet to others on this machine as it is. Cards do sum, and the other kinds (bridge, bond, those
of virtual machines) do not claim it for what is wrapped (`hw_enc_features`), so the kernel does."""


def needs_sums(underlay: RawLink) -> bool:
    """Tell whether packets would leave an underlay without their checksums. Blocking; for a thread in its namespace."""
    return underlay.kind in _PASS_ON and sums(underlay.name)


def is_ours(link: RawLink) -> bool:
    """Tell whether a link is one end of the detour."""
    return link.name in SUMS_LINKS and is_our_group(link.group)


def make(sock: NetlinkSocket) -> None:
    """Make both ends where they are missing, up and marked. Raises `Refused`."""
    near, far = SUMS_LINKS
    marks = u32(IFLA_GROUP, LINK_GROUP) + u32(IFLA_MTU, _LONGEST)
    peer = nested(_PEER, header() + text(IFLA_IFNAME, far) + marks)
    made = Message(RTM_NEWLINK, CREATE | EXCL, header() + text(IFLA_IFNAME, near) + marks + link_info("veth", peer))
    replies = sock.transact([made, *(message for name in SUMS_LINKS for message in _raise(name))])
    for reply in replies:
        if reply.errno and reply.errno not in EXISTS | _NO_IPV6:
            raise Refused(reply.errno, reply.text)


def _raise(name: str) -> tuple[Message, ...]:
    """Return what takes a link up, without an IPv6 address of its own."""
    alias = text(IFLA_IFNAME, name) + text(IFLA_IFALIAS, "wefted udp sums")
    return no_link_local(0, name), Message(RTM_NEWLINK, 0, up_header() + alias)


def remove(sock: NetlinkSocket) -> None:
    """Delete both ends; that there are none is no error. Raises `Refused`."""
    reply = sock.transact([delete_named(SUMS_LINKS[0])])[0]
    if reply.errno and reply.errno not in GONE | {errno.EINVAL}:
        raise Refused(reply.errno, reply.text)
