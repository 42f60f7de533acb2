"""Runs inside a virtual host, where namespaces can be entered: who hears whose datagrams. A JSON request on standard input.

{"pairs": [["c1", "c2", "10.1.0.3"], ...], "calls": [["c1", "255.255.255.255", ["c2", ""]], ...]}
-> {"unheard": [the pairs whose datagram did not arrive], "copies": [for each call, how many arrived at each listener]}

The listener "" is the host itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
PORT = 5400
DEADLINE = 5.0
TRIES = 5


def opened(ns: str, family: int, address: str = "") -> socket.socket:
    """Return a datagram socket of a namespace; one with an address listens there."""
    made: list[socket.socket] = []

    def enter() -> None:
        if ns:
            fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {ns}")
            os.close(fd)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if address:
            sock.bind((address, PORT))
        made.append(sock)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


def heard(source: str, target: str, address: str) -> bool:
    """Tell whether a datagram arrives; a lost one is sent again, as every protocol above does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with opened(source, family) as sender, opened(target, family, address) as listener:
        for _ in range(TRIES):
            sender.sendto(b"to one", (address, PORT))
            if select.select([listener], [], [], DEADLINE / TRIES)[0]:
                return listener.recv(100) == b"to one"
    return False


def copies(source: str, address: str, listeners: list[str]) -> list[int]:
    """Send a datagram to all; return the most copies of one that each listener got. Whoever missed it hears a second one."""
    most = [0] * len(listeners)
    for _ in range(TRIES):
        most = list(map(max, most, _copies(source, address, listeners)))
        if all(most):
            break
    return most


def _copies(source: str, address: str, listeners: list[str]) -> list[int]:
    sockets = [opened(name, socket.AF_INET, "0.0.0.0") for name in listeners]
    counts = dict.fromkeys(sockets, 0)
    with opened(source, socket.AF_INET) as sender:
        sender.sendto(b"to all", (address, PORT))
        end = time.monotonic() + DEADLINE / TRIES
        while 0 in counts.values() and time.monotonic() < end:
            _count(counts, 0.05)
        _count(counts, 0.1)
    for sock in sockets:
        sock.close()
    return [counts[sock] for sock in sockets]


def _count(counts: dict[socket.socket, int], patience: float) -> None:
    while ready := select.select(list(counts), [], [], patience)[0]:
        for sock in ready:
            sock.recv(100)
            counts[sock] += 1


def main() -> None:
    asked = json.load(sys.stdin)
    unheard = [pair for pair in asked.get("pairs", ()) if not heard(*pair)]
    json.dump({"unheard": unheard, "copies": [copies(*call) for call in asked.get("calls", ())]}, sys.stdout)


if __name__ == "__main__":
    main()
