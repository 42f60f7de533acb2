"""Telling systemd how we are (sd_notify(3)): one datagram to the socket that it names, nothing where it names none."""

from __future__ import annotations

import os
import socket


def ready() -> None:
    _send("READY=1")


def stopping() -> None:
    _send("STOPPING=1")


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(address)
        sender.sendall(state.encode())
