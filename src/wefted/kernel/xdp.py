"""XDP programs in the driver of a card (linux/if_link.h, IFLA_XDP): attached by netlink, so that they outlive us."""

from __future__ import annotations

from struct import Struct

from .ifinfo import IFLA_XDP, RTM_NEWLINK, RawLink, header
from .netlink import Message, NetlinkSocket, attribute, nested, u32
from .offload import cuts

_FD, _FLAGS = 1, 3
_IF_NONE, _NATIVE = 1, 4
"""XDP_FLAGS_UPDATE_IF_NOEXIST: never in the place of somebody else's; XDP_FLAGS_DRV_MODE."""
_ETHERNET = 1
_INT = Struct("=i")


def may_unwrap(link: RawLink) -> bool:
    """Tell whether a program in the driver is worth it: on a card, which delivers packets as they came over the wire.

    A veth that passes 64 KiB packets uncut would have to copy each of them for the program, and its far end would have to cut
    them from then on; with segmentation switched off it is like a card. Blocking; for a thread in the link's namespace.
    """
    if link.hardware != _ETHERNET:
        return False
    return link.kind == "" or (link.kind == "veth" and not cuts(link.name))


def attach_native(sock: NetlinkSocket, index: int, program: int, *, ours: bool) -> bool:
    """Attach a program; return False where the driver has no place for it, or somebody else's is there."""
    return _set(sock, index, program, _NATIVE if ours else _NATIVE | _IF_NONE)


def detach_native(sock: NetlinkSocket, index: int) -> None:
    """Take the program away; that there is none is no error."""
    _set(sock, index, -1, _NATIVE)


def _set(sock: NetlinkSocket, index: int, program: int, flags: int) -> bool:
    body = nested(IFLA_XDP, attribute(_FD, _INT.pack(program)), u32(_FLAGS, flags))
    return sock.transact([Message(RTM_NEWLINK, 0, header(index) + body)])[0].errno == 0
