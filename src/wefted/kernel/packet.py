"""Frames of a link in any namespace (packet(7)), and UDP from an address of it: what a DHCP client speaks through.

A socket stays in the namespace in which it was opened, so a visit makes both and nothing is left in there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence

from wefted.errors import KernelError
from wefted.model.objects import IPAddress, Netns

from .netlink import Refused
from .netns import Namespaces

CLIENT_PORT, SERVER_PORT = 68, 67
LARGEST = 65535

_ALL_PROTOCOLS = 0x0003
_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_AUXDATA, _IGNORE_OUTGOING = 8, 23
_OUTGOING = 4
_CHECKSUM_NOT_READY, _VLAN_VALID = 0x08, 0x10
_AUX = struct.Struct("=IIIHHHH")
_INSTRUCTION = struct.Struct("=HBBI")

_LDH, _LDB, _LDX_IHL, _LDH_X = 0x28, 0x30, 0xB1, 0x48
_JEQ, _JSET, _RET = 0x15, 0x45, 0x06

_FILTER = (
    (_LDH, 0, 0, 12),
    (_JEQ, 8, 0, 0x0806),  # ARP
    (_JEQ, 0, 8, 0x0800),
    (_LDB, 0, 0, 23),
    (_JEQ, 0, 6, 17),  # UDP
    (_LDH, 0, 0, 20),
    (_JSET, 4, 0, 0x1FFF),  # a later fragment has no ports
    (_LDX_IHL, 0, 0, 14),
    (_LDH_X, 0, 0, 16),
    (_JEQ, 0, 1, CLIENT_PORT),
    (_RET, 0, 0, LARGEST),
    (_RET, 0, 0, 0),
)
"""Classic BPF: ARP, and UDP to a DHCP client."""


class PacketLink:
    """Implements `FrameLink`. Raises `KernelError` when namespace, link or address is not there."""

    def __init__(self, ns: Netns, name: str, source: IPAddress | None = None) -> None:
        self._datagrams: socket.socket | None = None
        try:
            self._frames = _inside(ns, name, self, source)
        except Refused as refused:
            raise KernelError(refused.explain(f"link {name} of {ns}"), errno=refused.errno) from None
        except OSError as error:
            number = error.errno or 0
            raise KernelError(f"cannot listen on {name} of {ns}: {os.strerror(number)}", errno=number) from None
        self.mac: str = self._frames.getsockname()[4].hex(":")

    def fileno(self) -> int:
        return self._frames.fileno()

    def send(self, frame: bytes) -> None:
        self._frames.send(frame)

    def datagram(self, payload: bytes, target: IPAddress) -> None:
        if self._datagrams is None:
            raise OSError(errno.EADDRNOTAVAIL, "the link was opened without an address")
        self._datagrams.sendto(payload, (str(target), SERVER_PORT))

    def receive(self) -> tuple[bytes, bool] | None:
        """Return the next frame that came from outside and belongs to no VLAN on top of the link."""
        while True:
            try:
                frame, ancillary, _, sender = self._frames.recvmsg(LARGEST, socket.CMSG_SPACE(_AUX.size))
            except BlockingIOError:
                return None
            except OSError:
                return None  # the link went down; the error is told once
            status = _status(ancillary)
            if sender[2] != _OUTGOING and not status & _VLAN_VALID:
                return frame, bool(status & _CHECKSUM_NOT_READY)

    def close(self) -> None:
        self._frames.close()
        if self._datagrams is not None:
            self._datagrams.close()

    def bind(self, name: str, source: IPAddress) -> None:
        """Open the socket for packets from `source`; answers are read as frames, it only keeps the port. Raises `OSError`."""
        made = self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
        with contextlib.suppress(OSError):  # the address is not there (yet): then only frames go out
            made.bind((str(source), CLIENT_PORT))
            return
        made.close()
        self._datagrams = None


def _inside(ns: Netns, name: str, link: PacketLink, source: IPAddress | None) -> socket.socket:
    """Open the sockets in their namespace."""
    spaces = Namespaces()
    try:
        fd = spaces.open(ns)
        try:
            with spaces.inside(fd):
                frames = _frames()
                if source is not None:
                    link.bind(name, source)
        finally:
            os.close(fd)
    finally:
        spaces.close()
    try:
        frames.bind((name, _ALL_PROTOCOLS))
    except BaseException:
        frames.close()
        raise
    return frames


def _frames() -> socket.socket:
    """Return a socket that is bound to nothing yet: what it must not see, it does not even get in between."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        _attach(made, _FILTER)
        made.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        with contextlib.suppress(OSError):  # since Linux 4.20; else told by the sender's type
            made.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    except BaseException:
        made.close()
        raise
    return made


def _attach(made: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*line) for line in program))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def _status(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _AUXDATA) and len(data) >= _AUX.size:
            status: int = _AUX.unpack_from(data)[0]
            return status
    return 0
