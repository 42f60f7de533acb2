"""What a link does for the kernel when packets are sent, asked and set by the ioctl SIOCETHTOOL (linux/ethtool.h).

Blocking; for a thread in the link's namespace.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
from struct import Struct

from .netlink import Refused

_SIOCETHTOOL = 0x8946
_GET_SUMS, _SET_SUMS, _GET_TSO = 0x16, 0x17, 0x1E
"""ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM, ETHTOOL_GTSO."""
_IFREQ = Struct("@16sP16x")


def cuts(name: str) -> bool:
    """Tell whether a link takes packets that are cut later (TSO)."""
    return _get(name, _GET_TSO)


def sums(name: str) -> bool:
    """Tell whether a link takes packets whose transport checksum is missing."""
    return _get(name, _GET_SUMS)


def leave_sums_to_the_kernel(name: str) -> None:
    """Let the kernel sum packets, and cut them, before it hands them to the link. Raises `Refused`."""
    try:
        _ask(name, _SET_SUMS, 0)
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"{name} goes on without checksums: {error.strerror}") from None


def _get(name: str, command: int) -> bool:
    try:
        return bool(_ask(name, command, 0))
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP


def _ask(name: str, command: int, value: int) -> int:
    values = array.array("I", [command, value])
    request = _IFREQ.pack(name.encode(), values.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    return values[1]
