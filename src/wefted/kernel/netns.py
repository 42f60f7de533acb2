"""Network namespaces: enter one for the time of one system call, and tell which one a path means.

A thread enters with setns(2) and leaves again at once; no process is forked and no thread is kept for a namespace. A netlink
socket stays in the namespace in which it was opened, so one visit of 8 microseconds is all that a sandbox costs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from wefted.model.objects import HOST, Netns

from .netlink import NetlinkSocket, Refused

CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENOTDIR, errno.ENXIO})
"""What open(2) says of a path that leads to no namespace; ENXIO of a socket."""

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace behind `fd`. Raises `OSError`."""
    if _libc.setns(fd, CLONE_NEWNET):
        raise _error("setns")


def unshare() -> None:
    """Move the calling thread into a new network namespace, which lives while something holds it. Raises `OSError`."""
    if _libc.unshare(CLONE_NEWNET):
        raise _error("unshare")


def become(ns: Netns, argv: Sequence[str]) -> NoReturn:
    """Let a program take this process's place, in the namespace at this path. Raises `Refused`, `FileNotFoundError`, `OSError`.

    The files of the host stay; /sys shows the host's links still, as with `nsenter --net`.
    """
    setns(open_netns(ns))
    os.execvp(argv[0], list(argv))


def identity(fd: int) -> str:
    """Return what tells a namespace from another one that later has the same path: device and inode."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def open_netns(ns: Netns) -> int:
    """Return a descriptor of the namespace at this path. Raises `Refused` (ENOENT) when there is none."""
    gone = Refused(errno.ENOENT, f"network namespace {ns} is gone")
    try:
        fd = os.open(ns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _GONE:
            raise gone from None
        raise Refused(error.errno or errno.EIO, f"cannot open network namespace {ns}") from None
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        os.close(fd)
        raise gone
    return fd


class _Held:
    """A descriptor that is closed with the last reference to it."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self.fd).st_ino

    def __del__(self) -> None:
        os.close(self.fd)


class _Origin(threading.local):
    """The namespace that the calling thread is in when it is not visiting; gone with the thread."""

    def __init__(self) -> None:
        self.netns = _Held("/proc/thread-self/ns/net")


class Namespaces:
    """The way into every namespace, for any thread. `home` is the host's own; by default that of the calling thread."""

    def __init__(self, home: Netns = HOST) -> None:
        self._origin = _Origin()
        self.home_fd = open_netns(home or Netns("/proc/thread-self/ns/net"))
        self._home_inode = os.fstat(self.home_fd).st_ino

    def open(self, ns: Netns) -> int:
        """Return a descriptor that the caller closes. Raises `Refused`."""
        return os.dup(self.home_fd) if ns == HOST else open_netns(ns)

    @contextmanager
    def inside(self, fd: int) -> Iterator[None]:
        """Be in a namespace; the thread must not wait for anything in there."""
        origin = self._origin.netns
        if fd == self.home_fd and origin.inode == self._home_inode:
            yield
            return
        setns(fd)
        try:
            yield
        finally:
            setns(origin.fd)

    def socket(self, fd: int, protocol: int = socket.NETLINK_ROUTE) -> NetlinkSocket:
        """Return a netlink socket of the namespace behind `fd`."""
        with self.inside(fd):
            return NetlinkSocket(protocol)

    def close(self) -> None:
        os.close(self.home_fd)


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
