"""Questions to a name server, as fast as it answers: a few sockets, each with a window of questions under way.

It runs in a process of its own beside the server that is asked, and looks at every answer: the ID, the code, how many records.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from wefted.errors import WeftedError

SOCKETS = 4
WINDOW = 16
"""Questions under way on each socket."""
PATIENCE = 0.5
"""Seconds of silence after which what is under way counts as lost, and is asked again."""

_A, _PTR, _AAAA, _IN = 1, 12, 28, 1
_NOERROR, _NXDOMAIN = 0, 3


@dataclass(frozen=True, slots=True)
class Question:
    """A query without its ID, and what the answer must be: its code and the number of its records."""

    wire: bytes
    code: int
    records: int


def mixed(names: Sequence[str], addresses: Sequence[Sequence[str]], domain: str) -> list[Question]:
    """Return for each name A, AAAA, PTR of its first address, and a name that does not exist."""
    found = []
    for name, own in zip(names, addresses, strict=True):
        found += [
            _question(name, _A, _NOERROR, 1),
            _question(name, _AAAA, _NOERROR, 1),
            _question(ip_address(own[0]).reverse_pointer, _PTR, _NOERROR, 1),
            _question(f"no-{name.partition('.')[0]}.{domain}", _A, _NXDOMAIN, 0),
        ]
    return found


def one(name: str, known: bool) -> Question:
    """Return the question for the IPv4 address of a name that there is, or is not."""
    return _question(name, _A, *((_NOERROR, 1) if known else (_NXDOMAIN, 0)))


def ask(server: str, questions: Sequence[Question], count: int) -> tuple[float, int]:
    """Ask `count` questions; return seconds and how many were lost. Raises `WeftedError` for a wrong answer."""
    streams = [_Stream(server, questions, number * len(questions) // SOCKETS, count // SOCKETS) for number in range(SOCKETS)]
    poller = select.epoll()
    by_fd = {stream.socket.fileno(): stream for stream in streams}
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    start = time.perf_counter()
    try:
        for stream in streams:
            stream.fill()
        while any(stream.busy for stream in streams):
            ready = poller.poll(PATIENCE)
            for fd, _ in ready:
                by_fd[fd].drain()
            if not ready:
                for stream in streams:
                    stream.repeat()
        return time.perf_counter() - start, sum(stream.lost for stream in streams)
    finally:
        poller.close()
        for stream in streams:
            stream.socket.close()


class _Stream:
    """One socket. The ID of a query is its number, so an answer tells which question it is for."""

    def __init__(self, server: str, questions: Sequence[Question], first: int, count: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.connect((server, 53))
        self.lost = 0
        self._questions = questions
        self._first = first
        self._count = min(count, 1 << 16)
        self._sent = 0
        self._waiting: set[int] = set()

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def fill(self) -> None:
        """Send until the window is full."""
        while self._sent < self._count and len(self._waiting) < WINDOW:
            self._waiting.add(self._sent)
            self._send(self._sent)
            self._sent += 1

    def drain(self) -> None:
        """Take every answer that is there, and ask on."""
        while True:
            try:
                wire = self.socket.recv(512)
            except BlockingIOError:
                break
            self._take(wire)
        self.fill()

    def repeat(self) -> None:
        self.lost += len(self._waiting)
        for number in self._waiting:
            self._send(number)

    def _question(self, number: int) -> Question:
        return self._questions[(self._first + number) % len(self._questions)]

    def _send(self, number: int) -> None:
        self.socket.send(number.to_bytes(2, "big") + self._question(number).wire)

    def _take(self, wire: bytes) -> None:
        number = int.from_bytes(wire[:2], "big")
        asked = self._question(number)
        if number not in self._waiting:
            return  # the second answer to a question that was repeated
        if (wire[3] & 0xF, wire[7]) != (asked.code, asked.records):
            raise WeftedError(f"a wrong answer: code {wire[3] & 0xF} with {wire[7]} records to {asked.wire[10:]!r}")
        self._waiting.discard(number)


def _question(name: str, kind: int, code: int, records: int) -> Question:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return Question(struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, _IN), code, records)
