"""Sockets that systemd has opened for us (sd_listen_fds(3)): they listen while we do not run."""

from __future__ import annotations

import os
import socket as sockets

FIRST = 3


def socket(name: str) -> sockets.socket | None:
    """Return the socket of this name (FileDescriptorName= in its unit), or None; whose variables are another process's."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS") or 0)
    for number, given in enumerate(names[:count]):
        if given == name:
            os.set_inheritable(FIRST + number, False)
            return sockets.socket(fileno=FIRST + number)
    return None
