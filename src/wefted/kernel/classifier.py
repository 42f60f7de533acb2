"""Programs at the clsact hooks of links (linux/pkt_cls.h, `cls_bpf` with direct action): attached, found again, taken away.

A filter holds its program, and the program its maps, so all of them outlive the process that made them. The filter's name is
the mark by which it is known to be ours.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from .netlink import CREATE, EXCL, REPLACE, Message, NetlinkSocket, Refused, as_int, as_text, attributes, nested, text, u32

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
EXISTS = frozenset({errno.EEXIST})
"""What the kernel says to a second clsact; programs of others may be there."""
NOT_THERE = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})
"""What it says when there is no such filter, or no clsact at all."""

_KIND, _OPTIONS, _INGRESS_BLOCK = 1, 2, 13
_BPF_CLASS = 3
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_EVERY_PROTOCOL = 3

_TC = Struct("=BxxxiIII")
"""struct tcmsg: family, link, handle, parent, info."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A program at a hook, as found."""

    name: str
    program: int
    """The kernel's identifier of the program."""
    priority: int
    handle: int


BLOCKS = -1
"""In place of a link's index: the hook is the number of a block of filters, which any number of links have at their ingress."""


def hooks(index: int, block: int = 0) -> Message:
    """Return what gives a link its hooks, at its ingress those of a block; with them already there the kernel says `EXISTS`."""
    return _qdisc(RTM_NEWQDISC, CREATE | EXCL, index, _CLSACT_HANDLE, u32(_INGRESS_BLOCK, block) if block else b"")


def no_hooks(index: int) -> Message:
    """Return what takes a link's hooks away, with all programs on them."""
    return _qdisc(RTM_DELQDISC, 0, index, 0)


def attach(
    index: int, hook: int, program: int, name: str, priority: int = 1, *, replace: bool = False, number: int = 0
) -> Message:
    """Return what attaches a program, by its descriptor; only with `replace` may one be there with this priority.

    The program reads the lower half of `number` as the packet's class.
    """
    about = u32(_BPF_CLASS, number) if number else b""
    options = nested(_OPTIONS, about, u32(_BPF_FD, program), text(_BPF_NAME, name), u32(_BPF_FLAGS, _DIRECT_ACTION))
    head = _TC.pack(0, index, 1, hook, _info(priority))
    return Message(RTM_NEWTFILTER, CREATE | (REPLACE if replace else EXCL), head + text(_KIND, "bpf") + options)


def detach(index: int, hook: int, found: Attached) -> Message:
    """Return what takes one program away."""
    return Message(RTM_DELTFILTER, 0, _TC.pack(0, index, found.handle, hook, _info(found.priority)) + text(_KIND, "bpf"))


def taken_away(body: bytes) -> tuple[int, str | None]:
    """Return whose filter a notification says is deleted: the link's index, and its name; None where all of a hook's are."""
    index: int = _TC.unpack_from(body)[1]
    name = attributes(attributes(body, _TC.size).get(_OPTIONS, b"")).get(_BPF_NAME)
    return index, None if name is None else as_text(name)


def discipline(body: bytes) -> tuple[int, int, bool]:
    """Return a queueing discipline's link and handle, and whether it is what gives the link its hooks."""
    _, index, handle, parent, _ = _TC.unpack_from(body)
    return index, handle, parent == _CLSACT


def links_with_hooks(sock: NetlinkSocket) -> dict[int, int]:
    """Return the links that have a clsact queueing discipline, by index, and the block at their ingress: 0 for none."""
    found = {}
    for body in sock.dump(RTM_GETQDISC, _TC.pack(0, 0, 0, 0, 0)):
        _, index, _, parent, _ = _TC.unpack_from(body)
        if parent == _CLSACT:
            found[index] = as_int(attributes(body, _TC.size).get(_INGRESS_BLOCK))
    return found


def attached(sock: NetlinkSocket, index: int, hook: int) -> Iterator[Attached]:
    """Yield the programs at a hook of a link; none where it has no hooks, or is gone."""
    try:
        bodies = sock.dump(RTM_GETTFILTER, _TC.pack(0, index, 0, hook, 0))
    except Refused as refused:
        if refused.errno in NOT_THERE:
            return
        raise
    for body in bodies:
        _, _, handle, _, info = _TC.unpack_from(body)
        options = attributes(attributes(body, _TC.size).get(_OPTIONS, b""))
        if _BPF_NAME in options:
            yield Attached(as_text(options[_BPF_NAME]), as_int(options.get(_BPF_ID)), info >> 16, handle)


def is_bare(sock: NetlinkSocket, index: int) -> bool:
    """Tell whether a link's hooks have no filter of any kind."""
    return not any(sock.dump(RTM_GETTFILTER, _TC.pack(0, index, 0, hook, 0)) for hook in (INGRESS, EGRESS))


def _qdisc(kind: int, flags: int, index: int, handle: int, rest: bytes = b"") -> Message:
    return Message(kind, flags, _TC.pack(0, index, handle, _CLSACT, 0) + text(_KIND, "clsact") + rest)


def _info(priority: int) -> int:
    return priority << 16 | socket.htons(_EVERY_PROTOCOL)
