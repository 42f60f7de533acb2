"""Generic netlink (kernel: Documentation/networking/generic_netlink.rst): families by name, and their messages' header."""

from __future__ import annotations

from struct import Struct

from .netlink import Message, NetlinkSocket, as_int, attributes, text

NETLINK_GENERIC = 16
_CONTROLLER, _GET_FAMILY = 0x10, 3
_FAMILY_ID, _FAMILY_NAME = 1, 2

HEADER = Struct("=BBH")
"""struct genlmsghdr: command, version, reserved."""


def family(sock: NetlinkSocket, name: str) -> int:
    """Return the number of a family. Raises `Refused` (ENOENT) on a kernel without it."""
    request = Message(_CONTROLLER, 0, HEADER.pack(_GET_FAMILY, 1, 0) + text(_FAMILY_NAME, name))
    return as_int(attributes(sock.ask(request)[0], HEADER.size).get(_FAMILY_ID))
