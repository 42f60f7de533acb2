"""Wireless links: one cannot change its namespace, only its whole radio (wiphy) can, with every interface of it.

Generic netlink, family `nl80211` (linux/nl80211.h): what `iw phy PHY set netns` sends.
"""

from __future__ import annotations

import errno
from contextlib import closing

from .generic import HEADER, NETLINK_GENERIC, family
from .netlink import Message, NetlinkSocket, Refused, as_int, attributes, u32
from .netns import Namespaces

_GET_INTERFACE, _SET_WIPHY_NETNS = 5, 49
_WIPHY, _IFINDEX, _NETNS_FD = 1, 3, 219

_NOT_WIRELESS = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP})


def radio_of(spaces: Namespaces, fd: int, index: int) -> int | None:
    """Return the number of the radio to which a link of the namespace `fd` belongs, None for one that is not wireless."""
    with closing(_socket(spaces, fd)) as sock:
        try:
            answers = sock.ask(interface_message(family(sock, "nl80211"), index))
        except Refused as refused:
            if refused.errno in _NOT_WIRELESS:
                return None
            raise
    number = attributes(answers[0], HEADER.size).get(_WIPHY) if answers else None
    return None if number is None else as_int(number)


def move_radio(spaces: Namespaces, fd: int, radio: int, target: int) -> None:
    """Move a radio from the namespace `fd` into the one behind the descriptor `target`. Raises `Refused`."""
    with closing(_socket(spaces, fd)) as sock:
        sock.ask(move_message(family(sock, "nl80211"), radio, target))


def interface_message(number: int, index: int) -> Message:
    """Return the question which radio a link belongs to."""
    return Message(number, 0, HEADER.pack(_GET_INTERFACE, 0, 0) + u32(_IFINDEX, index))


def move_message(number: int, radio: int, target: int) -> Message:
    """Return the request to move a radio."""
    return Message(number, 0, HEADER.pack(_SET_WIPHY_NETNS, 0, 0) + u32(_WIPHY, radio) + u32(_NETNS_FD, target))


def _socket(spaces: Namespaces, fd: int) -> NetlinkSocket:
    return spaces.socket(fd, NETLINK_GENERIC)
