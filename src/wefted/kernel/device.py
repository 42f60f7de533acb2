"""One link of this host, asked for by its name: two calls of the kernel, whatever else is there (netdevice(7))."""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFHWADDR = 0x8927
_SIOCGIFMTU = 0x8921
_REQUEST = struct.Struct("16s24s")


def device(name: str) -> tuple[str, int]:
    """Return the MAC and the MTU of a link, or "" and 0 where there is none of this name."""
    request = _REQUEST.pack(name.encode()[:15], b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        try:
            mac = fcntl.ioctl(asking, _SIOCGIFHWADDR, request)[18:24]
            mtu = fcntl.ioctl(asking, _SIOCGIFMTU, request)[16:20]
        except OSError:
            return "", 0
    return mac.hex(":"), int(struct.unpack("i", mtu)[0])
