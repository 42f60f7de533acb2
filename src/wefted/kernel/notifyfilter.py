"""A socket filter (socket(7), SO_ATTACH_FILTER) for notifications: the kernel then keeps back what could never concern us.

One attach causes some twenty notifications, most of them of our own doing or of the kernel's local and multicast routes. Each
one that does not arrive is a wake-up of Python less.
"""

from __future__ import annotations

import ctypes
import socket
from struct import Struct

from .classifier import RTM_NEWQDISC, RTM_NEWTFILTER
from .ifinfo import RTM_DELLINK, RTM_NEWLINK
from .netlink import PORTS
from .nsid import RTM_DELNSID, RTM_NEWNSID
from .route import RTM_DELROUTE, RTM_NEWROUTE

_KERNEL_MADE = 2  # RTPROT_KERNEL
_NEVER = (RTM_NEWQDISC, RTM_NEWTFILTER, 40, 41, 100, 101)
"""What comes to traffic control takes nothing away from us; RTM_NEWTCLASS, RTM_DELTCLASS, RTM_NEWCHAIN, RTM_DELCHAIN."""
_SO_ATTACH_FILTER = 26

_TYPE, _PORT, _PROTOCOL, _LENGTH = 4, 12, 16 + 5, 16 + 1
"""Offsets: nlmsg_type and nlmsg_pid of the header, rtm_protocol and rtm_dst_len of a route behind it."""
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND, _EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
_ALL = 0xFFFFFFFF

_INSTRUCTION = Struct("=HBBI")
_HALF, _WORD = Struct("=H"), Struct("=I")


def attach(sock: socket.socket) -> None:
    """Put the filter on a route socket. Raises `OSError`."""
    program = b"".join(_INSTRUCTION.pack(*step) for step in _program())
    code = ctypes.create_string_buffer(program)
    length = len(program) // _INSTRUCTION.size
    head = Struct("@HP").pack(length, ctypes.addressof(code))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _program() -> list[tuple[int, int, int, int]]:
    """Return (code, jump if true, jump if false, constant). Links and namespace numbers always pass: their history is kept."""
    links = [(_EQUAL, _half(kind), "keep", "") for kind in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWNSID, RTM_DELNSID)]
    steps: list[tuple[int, int, str, str]] = [
        (_LOAD_HALF, _TYPE, "", ""),
        *links,
        (_LOAD_WORD, _PORT, "", ""),
        (_AND, _word(PORTS.mask), "", ""),
        (_EQUAL, _word(PORTS.base), "drop", ""),  # of our own doing
        (_LOAD_HALF, _TYPE, "", ""),
        *((_EQUAL, _half(kind), "drop", "") for kind in _NEVER),
        (_EQUAL, _half(RTM_NEWROUTE), "route", ""),
        (_EQUAL, _half(RTM_DELROUTE), "route", "keep"),
        (_LOAD_BYTE, _PROTOCOL, "route", ""),
        (_EQUAL, _KERNEL_MADE, "", "keep"),
        (_LOAD_BYTE, _LENGTH, "", ""),
        (_EQUAL, 0, "keep", "drop"),  # a default route may be in our way, whoever made it
        (_RETURN, _ALL, "keep", ""),
        (_RETURN, 0, "drop", ""),
    ]
    # Where an instruction does not jump, its third field names the place itself.
    places = {step[2]: n for n, step in enumerate(steps) if step[0] != _EQUAL and step[2]}

    def distance(here: int, label: str) -> int:
        return places[label] - here - 1 if label else 0

    return [
        (code, distance(n, yes), distance(n, no), constant) if code == _EQUAL else (code, 0, 0, constant)
        for n, (code, constant, yes, no) in enumerate(steps)
    ]


def _half(value: int) -> int:
    """Return a half-word as the filter sees it: it loads in network order what the kernel wrote in the host's."""
    return int.from_bytes(_HALF.pack(value), "big")


def _word(value: int) -> int:
    return int.from_bytes(_WORD.pack(value & _ALL), "big")
