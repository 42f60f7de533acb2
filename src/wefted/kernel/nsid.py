"""Numbers of namespaces (nsid, net/core/net_namespace.c): how one namespace calls another in what it hears of it.

The kernel keeps no index from a namespace to its number. For every notification, for every socket that hears other namespaces,
it goes through the numbers from the lowest up until it has found the namespace (__peernet2id). By itself it gives the lowest
free number, so the newest namespace, the one that is just being attached and has most to tell, would be found last: with 1,500
of them that was a quarter of an attach. So we give numbers downwards.
"""

from __future__ import annotations

import errno

from .netlink import Message, NetlinkSocket, as_int, attributes, u32

RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90

_NETNSA_NSID, _NETNSA_FD = 1, 3
_ANY = 0xFFFFFFFF
_HEADER = bytes(4)  # struct rtgenmsg, padded
_HIGHEST, _LOWEST = 1 << 20, 1 << 16
"""Ours are between these; the kernel's own begin at 0."""


class Numbers:
    """Gives numbers downwards from the lowest of ours that is in use."""

    def __init__(self, sock: NetlinkSocket) -> None:
        used = [number_in(body) for body in sock.dump(RTM_GETNSID, _HEADER)]
        self._next = min((n for n in used if n is not None and _LOWEST < n <= _HIGHEST), default=_HIGHEST + 1)

    def give(self, fd: int) -> Message:
        """Return the message that numbers a namespace. Where it has one, or this one is taken, it is refused: no harm."""
        self._next = self._next - 1 if self._next > _LOWEST else _HIGHEST
        return _give(fd, self._next)


def assign(sock: NetlinkSocket, fd: int) -> int | None:
    """Give a namespace a number, if it has none, and return it."""
    made, asked = sock.transact([_give(fd, _ANY), Message(RTM_GETNSID, 0, _HEADER + u32(_NETNSA_FD, fd))])
    if made.errno not in (0, errno.EEXIST) or not asked.answers:
        return None
    return number_in(asked.answers[0])


def number_in(body: bytes) -> int | None:
    """Return the number in a message about one, None where it says that there is none."""
    nsid = as_int(attributes(body, len(_HEADER)).get(_NETNSA_NSID), _ANY)
    return None if nsid == _ANY else nsid


def _give(fd: int, nsid: int) -> Message:
    return Message(RTM_NEWNSID, 0, _HEADER + u32(_NETNSA_FD, fd) + u32(_NETNSA_NSID, nsid))
