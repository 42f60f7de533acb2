"""Asking the host's own name servers what is not ours to answer: the bytes go there and come back as they are.

The servers are those of resolv.conf(5), read again when the file changes, without our own addresses. They are asked in their
order; one that did not answer is asked last for a while. A query gets an ID and a port of its own, and an answer must come
from the server that was asked and carry that ID and the question (RFC 5452).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Collection
from typing import cast

import dns.rcode

from wefted.model.objects import IPAddress
from wefted.model.resolvconf import nameservers

from .answer import HEADER, refusal

PORT = 53
PATIENCE = 2.0
"""Seconds that a server may take."""
AVOIDED = 10.0
"""Seconds for which a server that did not answer is asked last."""
LOOK = 1.0
"""Seconds between two looks at the file."""
UNUSABLE = frozenset({dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})
"""Answers after which the next server is asked."""

Server = tuple[str, int]


class Forwarder:
    """Asks the servers of a file. `own` tells which addresses are ours, so that no question comes back to us."""

    def __init__(
        self,
        path: str = "/etc/resolv.conf",
        own: Callable[[], Collection[IPAddress]] = tuple,
        port: int = PORT,
        patience: float = PATIENCE,
    ) -> None:
        self._path = path
        self._own = own
        self._port = port
        self._patience = patience
        self._looked = float("-inf")
        self._seen: tuple[int, ...] | None = None
        self._listed: list[IPAddress] = []
        self._silent: dict[IPAddress, float] = {}

    async def ask(self, wire: bytes, *, stream: bool = False) -> bytes:
        """Return the answer of the first server that has one, with the query's ID; SERVFAIL when none has."""
        kept = None
        for server in self.servers():
            asked = secrets.token_bytes(2) + wire[2:]
            try:
                way = _over_tcp if stream else _over_udp
                found = await asyncio.wait_for(way((str(server), self._port), asked), self._patience)
            except (OSError, TimeoutError, EOFError):
                self._silent[server] = time.monotonic() + AVOIDED
                continue
            self._silent.pop(server, None)
            kept = wire[:2] + found[2:]
            if found[3] & 0xF not in UNUSABLE:
                return kept
        return kept or refusal(wire, dns.rcode.SERVFAIL)

    def servers(self) -> list[IPAddress]:
        """Return the servers in the order in which they are asked now."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._read()
        usable = [server for server in self._listed if server not in self._own()]
        return sorted(usable, key=lambda server: self._silent.get(server, 0.0) > now)

    def _read(self) -> None:
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._listed = nameservers(file.read())
            self._seen = seen
        except OSError:
            self._seen, self._listed = None, []


def _belongs(answer: bytes, asked: bytes) -> bool:
    """Tell whether bytes answer the question that was asked."""
    if len(answer) < HEADER or answer[:2] != asked[:2] or not answer[2] & 0x80:
        return False
    end = _end_of_question(asked)
    question = answer[HEADER:end]
    return answer[4:6] == b"\0\0" or question.lower() == asked[HEADER:end].lower()


def _end_of_question(wire: bytes) -> int:
    """Return where the first question ends; a query's own name is never compressed."""
    at = HEADER
    while at < len(wire) and wire[at]:
        at += wire[at] + 1
    return at + 5


async def _over_udp(server: Server, asked: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _One(asked), remote_addr=server)
    try:
        return await protocol.answer
    finally:
        transport.close()


class _One(asyncio.DatagramProtocol):
    """One question over a socket of its own, which the kernel keeps for this server's datagrams."""

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._asked)

    def datagram_received(self, data: bytes, address: object) -> None:
        if not self.answer.done() and _belongs(data, self._asked):
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def _over_tcp(server: Server, asked: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(asked).to_bytes(2, "big") + asked)
        found = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
    if not _belongs(found, asked):
        raise OSError("the answer does not belong to the question")
    return found
