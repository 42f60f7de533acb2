"""What a network card does for the kernel, switched on and off by the ioctl SIOCETHTOOL (linux/ethtool.h). Run as a program.

    card.py DEVICE on|off

Off: the device cuts and sums nothing that is sent, so the kernel makes each packet itself: a plain card. What is received is
joined (GRO) in both cases, as with every card. The devices of a lab pass 64 KiB packets uncut to each other; no cable does.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import sys

from wefted.errors import KernelError

SIOCETHTOOL = 0x8946
SWITCHES = {"tx checksum": 0x17, "tso": 0x1F}
"""Name -> the command that sets it: ETHTOOL_STXCSUM, _STSO."""
ALWAYS = {"gso": 0x24, "gro": 0x2C}
"""What the kernel does itself for every card: ETHTOOL_SGSO, _SGRO."""


def switch(device: str, on: bool) -> None:
    """Set all of them. Raises `KernelError` where the device refuses."""
    order = list(SWITCHES) if on else list(reversed(SWITCHES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for name in ALWAYS:
            _set(any_socket, device, name, True)
        for name in order:
            _set(any_socket, device, name, on)


def _set(any_socket: socket.socket, device: str, name: str, on: bool) -> None:
    value = array.array("I", [(SWITCHES | ALWAYS)[name], int(on)])
    address, _ = value.buffer_info()
    request = struct.pack("16sP16x", device.encode(), address)
    try:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
    except OSError as error:
        raise KernelError(f"{device} cannot switch {name}: {error.strerror}", errno=error.errno or 0) from None


def main() -> None:
    try:
        switch(sys.argv[1], sys.argv[2] == "on")
    except KernelError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
