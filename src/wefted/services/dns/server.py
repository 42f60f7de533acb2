"""The server: UDP and TCP (RFC 7766) on a set of addresses that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import dns.rcode

from wefted.model.objects import IPAddress

from .answer import Upstream, answer, deferring, refusal
from .answers import Answers
from .zone import Zone

log = logging.getLogger("wefted.dns")

PORT = 53
IDLE = 10.0
"""Seconds that a TCP connection may be silent."""
MOST_FORWARDED = 512
"""Questions that wait for upstream servers at the same time; further ones get SERVFAIL at once."""
MOST_CONNECTIONS = 256
BURST = 32
"""Datagrams that are answered before others have a turn."""
LONGEST_QUESTION = 65535
"""Bytes: a datagram is never cut."""

_IPV6_FREEBIND = 78  # linux/in6.h; Python has no name for it
_IP_FREEBIND = 15

Ask = Callable[..., Awaitable[bytes]]


class Server:
    """Answers from a zone, and from `ask` (`Forwarder.ask`) what the zone does not know."""

    def __init__(self, zone: Zone, ask: Ask, port: int = PORT) -> None:
        self._zone = zone
        self._answers = Answers(zone)
        self._ask = ask
        self._port = port
        self._places: dict[IPAddress, _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()
        self.deferred: set[str] = set()
        """Addresses of those who ask another server for bare names that we refuse to answer."""
        self.errors: dict[IPAddress, str] = {}
        """Why we do not listen where we should."""

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """Where we listen."""
        return frozenset(self._places)

    def port_of(self, address: IPAddress) -> int:
        """Return the port at one of `addresses`: with `port` 0 the kernel has chosen it."""
        return self._places[address].port

    async def listen(self, addresses: Iterable[IPAddress]) -> None:
        """Listen on these addresses, whether the host has them yet or not, and on no others. `errors` says what failed."""
        wanted = set(addresses)
        for address in set(self._places) - wanted:
            self._places.pop(address).close()
        self.errors = {}
        for address in sorted(wanted - set(self._places), key=lambda a: (a.version, a)):
            try:
                self._places[address] = await self._open(address)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                self.errors[address] = f"cannot listen on {address} port {self._port}: {reason}"

    async def close(self) -> None:
        """Stop listening, and give up what waits."""
        for place in self._places.values():
            place.close()
        self._places.clear()
        for writer in list(self._connections):
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(self, address: IPAddress) -> _Place:
        with contextlib.ExitStack() as undo:
            datagrams = undo.enter_context(_bound(address, self._port, socket.SOCK_DGRAM))
            listener = undo.enter_context(_bound(address, datagrams.getsockname()[1], socket.SOCK_STREAM))
            stream = await asyncio.start_server(self._connected, sock=listener)
            undo.pop_all()
        return _Place(_Datagrams(self, datagrams), stream, listener.getsockname()[1])

    # -- questions -------------------------------------------------------------------------------------------------

    def datagram(self, wire: bytes, reply: Callable[[bytes], None], source: str = "") -> None:
        """Answer one datagram, at once if the answer is ours."""
        found = self._answer(wire, stream=False, source=source)
        if isinstance(found, bytes):
            reply(found)
        elif isinstance(found, Upstream):
            self._forward(wire, reply)

    def _answer(self, wire: bytes, stream: bool, source: str) -> bytes | Upstream | None:
        try:
            found = answer(self._zone, wire, stream=True) if stream else self._answers.to(wire)
            return deferring(wire, found) if source in self.deferred and isinstance(found, bytes) else found
        except Exception:  # one strange question must not end the service for all others
            log.exception("defect", extra={"query": wire[:64].hex()})
            return refusal(wire, dns.rcode.SERVFAIL)

    def _forward(self, wire: bytes, reply: Callable[[bytes], None]) -> None:
        if len(self._tasks) >= MOST_FORWARDED:
            reply(refusal(wire, dns.rcode.SERVFAIL))
            return

        async def forward() -> None:
            reply(await self._ask(wire, stream=False))

        task = asyncio.get_running_loop().create_task(forward())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        source = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            while True:
                wire = await asyncio.wait_for(_message(reader), IDLE)
                found = self._answer(wire, stream=True, source=source)
                if isinstance(found, Upstream):
                    found = await self._ask(wire, stream=True)
                if found is None:
                    break
                writer.write(len(found).to_bytes(2, "big") + found)
                await asyncio.wait_for(writer.drain(), IDLE)
        except (OSError, EOFError, TimeoutError):
            pass  # the client went away, or says nothing
        finally:
            self._connections.discard(writer)
            writer.close()


class _Place:
    """One address that we listen on."""

    def __init__(self, datagrams: _Datagrams, stream: asyncio.Server, port: int) -> None:
        self.port = port
        self._datagrams = datagrams
        self._stream = stream

    def close(self) -> None:
        self._datagrams.close()
        self._stream.close()


class _Datagrams:
    """A socket whose questions are read in bursts: asyncio's own transport takes one for each turn of the loop."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _ in range(BURST):
            try:
                wire, source = self._socket.recvfrom(LONGEST_QUESTION)
            except OSError:
                return  # nothing more, or an error that an earlier answer met
            self._server.datagram(wire, partial(self._reply, source), source[0])

    def _reply(self, source: tuple[Any, ...], wire: bytes) -> None:
        with contextlib.suppress(OSError):  # no room, or nobody there: over UDP whoever wants an answer asks again
            self._socket.sendto(wire, source)


async def _message(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


def _bound(address: IPAddress, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a socket on an address that the host need not have yet: a network's gateway comes with its first endpoint."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if address.version == 4:
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((str(address), port))
        if kind == socket.SOCK_STREAM:
            made.listen(64)
    except BaseException:
        made.close()
        raise
    return made
