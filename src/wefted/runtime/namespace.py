"""Network namespaces as files: whether a path is one, which one, and whether it is the host's own.

A namespace file lives on nsfs (man 7 namespaces): its device number tells that it is a namespace, its inode number which one.
The kernel uses inode numbers again as soon as a namespace is gone, so they alone do not tell a re-created one from the old
one: a number that is never used again follows them, from ioctl_nsfs(2) where the kernel has it (NS_GET_ID, Linux 6.18), else
the time at which the file was bound or its process started.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from functools import cache
from pathlib import Path

from wefted.errors import UsageError
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox

OWN = "/proc/self/ns/net"

_NS_GET_NSTYPE = 0xB703
_NS_GET_ID = 0x8008B70D
_CLONE_NEWNET = 0x40000000
_OF_PROCESS = re.compile(r"/proc/([0-9]+)/(?:task/[0-9]+/)?ns/net")


def sandbox(container: str, path: str) -> Sandbox | None:
    """Return the sandbox whose namespace is at `path`, or None. Raises `UsageError` when it is the host's own namespace."""
    identity = identity_of(path)
    if identity is None:
        return None
    if is_own(path):
        raise UsageError(
            f"container {container!r} shares the host's network: it has no namespace of its own",
            "attach a container that has one; this one is reached at the host's addresses",
        )
    return Sandbox(container=container, ns=Netns(path), identity=identity)


def identity_of(path: str) -> str | None:
    """Return what tells this network namespace from every other since boot, or None when there is none at `path`."""
    try:
        if os.stat(path).st_dev != _filesystem():
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        return _identity(descriptor, path)
    except OSError:
        return None
    finally:
        os.close(descriptor)


@cache
def _filesystem() -> int:
    """Return the device number of the filesystem of all namespaces (nsfs)."""
    return os.stat(OWN).st_dev


def is_own(path: str) -> bool:
    """Tell whether the namespace at `path` is the one of this process."""
    try:
        return os.path.samefile(path, OWN)
    except OSError:
        return False


def _identity(descriptor: int, path: str) -> str | None:
    found = os.fstat(descriptor)
    if fcntl.ioctl(descriptor, _NS_GET_NSTYPE) != _CLONE_NEWNET:
        return None
    number = _number(descriptor) or _since(path) or found.st_ctime_ns
    return f"{found.st_dev}:{found.st_ino}:{number}"


def _number(descriptor: int) -> int:
    """Return the kernel's own number of the namespace, or 0 where the kernel has none."""
    try:
        return int(struct.unpack("Q", fcntl.ioctl(descriptor, _NS_GET_ID, bytes(8)))[0])
    except OSError:
        return 0


def _since(path: str) -> int:
    """Return, for the namespace file of a process, when that started (its inode's times mean nothing: it is made on demand)."""
    process = _OF_PROCESS.fullmatch(path) or _OF_PROCESS.fullmatch(_link(path))
    if process is None:
        return 0
    try:
        line = Path(f"/proc/{process[1]}/stat").read_text()
    except OSError:
        return 0
    return int(line.rpartition(")")[2].split()[19])


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
