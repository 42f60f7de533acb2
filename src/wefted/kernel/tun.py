"""TUN devices (kernel: Documentation/networking/tuntap.rst): made by an ioctl, for netlink cannot."""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct

from wefted.model.link import LINK_GROUP, Link

from .ifinfo import IFLA_GROUP, IFLA_IFALIAS, IFLA_IFNAME, IFLA_MTU, RTM_NEWLINK, up_header
from .link import LinkHandler
from .netlink import Message, Refused, text, u32
from .netns import Namespaces
from .transaction import Transaction

DEVICE = "/dev/net/tun"
_SET_INTERFACE, _SET_PERSIST = 0x400454CA, 0x400454CB
_TUN, _NO_HEADER, _EXCLUSIVE = 0x1, 0x1000, 0x8000
_REQUEST = Struct("16sH22x")


class TunHandler(LinkHandler):
    """Makes TUN devices that stay; changed and deleted they are as other links."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces

    def _create(self, wanted: Link, tx: Transaction) -> None:
        """Make it, mark it, and only then let it outlive the descriptor: a crash before that takes it away again."""
        if tx.exists(wanted.ns, wanted.name):
            raise Refused(errno.EEXIST, f"there is a link {wanted.name} already")
        with self._spaces.inside(tx.fd(wanted.ns)):
            fd = open_new(wanted.name)
        try:
            tx.ask(wanted.ns, Message(RTM_NEWLINK, 0, up_header() + text(IFLA_IFNAME, wanted.name) + _settings(wanted)))
            _ioctl(fd, _SET_PERSIST, 1, f"cannot keep {wanted.name}")
        finally:
            os.close(fd)


def open_new(name: str) -> int:
    """Make a TUN device in this thread's namespace; it goes when the descriptor is closed. Raises `Refused`."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"cannot open {DEVICE}") from None
    try:
        _ioctl(fd, _SET_INTERFACE, _REQUEST.pack(name.encode(), _TUN | _NO_HEADER | _EXCLUSIVE), f"cannot make {name}")
    except Refused:
        os.close(fd)
        raise
    return fd


def missing(name: str) -> str:
    """Return why no TUN device can be made here, as tried under this name, or ""."""
    try:
        os.close(open_new(name))
    except Refused as refused:
        return f"this kernel has no tun: {refused.explain(DEVICE)}"
    return ""


def _settings(link: Link) -> bytes:
    mtu = u32(IFLA_MTU, link.mtu) if link.mtu else b""
    alias = text(IFLA_IFALIAS, link.alias) if link.alias else b""
    return u32(IFLA_GROUP, LINK_GROUP) + mtu + alias


def _ioctl(fd: int, command: int, argument: bytes | int, what: str) -> None:
    try:
        fcntl.ioctl(fd, command, argument)
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"{what}: {error.strerror}") from None
