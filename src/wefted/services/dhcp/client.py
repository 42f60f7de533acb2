"""What drives a `Machine`: the frames of one link, and the clock. It listens only while an exchange is on."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from ipaddress import IPv4Address

from wefted.interfaces import FrameLink
from wefted.model.dhcp import DhcpLease

from . import frame
from .frame import Arp
from .machine import QUIET, Action, Ask, Bound, Lost, Machine, Send
from .message import Malformed, decode, encode

log = logging.getLogger("wefted.dhcp")

LONGEST_SLEEP = 60.0
"""Seconds: a host that was suspended looks at the clock this soon after it wakes."""

Open = Callable[[IPv4Address | None], Awaitable[FrameLink]]
"""Opens the link; with an address, also for packets from that address of its own."""


def clock() -> float:
    """Return seconds that go on while the host is suspended, as leases do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Client:
    """One endpoint's client in its namespace."""

    pid = 0
    """No process of its own: another kind of client has one."""

    def __init__(self, machine: Machine, open_link: Open) -> None:
        self.machine = machine
        self._unsent = ""
        """Why the last packet could not be sent."""
        self._open = open_link
        self._link: FrameLink | None = None
        self._ready = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Return why there is no lease."""
        return self._unsent or self.machine.trouble or self.machine.state.value

    async def run(self) -> AsyncGenerator[Bound | Lost, None]:
        """Yield each lease, extension and loss, for ever. Raises what opening the link raises."""
        try:
            self.machine.identity.mac = _octets((await self._opened()).mac)
            actions = self.machine.start(clock(), _age(self.machine.lease))
            while True:
                for action in actions:
                    if isinstance(action, Bound | Lost):
                        yield action
                    else:
                        await self._do(action)
                actions = await self._next()
        finally:
            self._close()

    async def _do(self, action: Send | Ask) -> None:
        link = await self._opened()
        try:
            if isinstance(action, Ask):
                sender = action.address if action.announce else frame.ANY
                link.send(frame.arp(self.machine.identity.mac, sender, action.address))
            else:
                self._send(link, action)
            self._unsent = ""
        except OSError as error:
            self._unsent = os.strerror(error.errno) if error.errno else str(error)  # as if it were lost on the way

    def _send(self, link: FrameLink, action: Send) -> None:
        payload = encode(action.message)
        lease = self.machine.lease
        if action.unicast and lease is not None:
            link.datagram(payload, lease.server)
        else:
            link.send(frame.datagram(payload, self.machine.identity.mac, source=action.message.ciaddr))

    async def _next(self) -> list[Action]:
        """Wait for a frame that changes something, or for the deadline."""
        machine = self.machine
        if machine.state in QUIET:
            self._close()
        while True:
            actions = self._take() if self._link is not None else []
            if actions:
                return actions
            now = clock()
            if now >= machine.deadline:
                return machine.tick(now)
            await self._wait(machine.deadline - now)

    def _take(self) -> list[Action]:
        """Read what is there, up to the first frame that changes something."""
        assert self._link is not None, "frames come from a link"
        self._ready.clear()
        for _ in range(64):
            found = self._link.receive()
            if found is None:
                return []
            actions = self._understood(*found)
            if actions:
                return actions
        return []  # let others have a turn: the descriptor is still readable

    def _understood(self, data: bytes, verified: bool) -> list[Action]:
        found = frame.parse(data, verified=verified)
        if isinstance(found, Arp):
            return self.machine.heard(found, clock())
        if found is None:
            return []
        try:
            message = decode(found.payload)
        except Malformed as error:
            log.debug("not understood", extra={"error": str(error)})
            return []
        return self.machine.received(message, found.mac.hex(":"), clock())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, LONGEST_SLEEP)):
                await self._ready.wait()
        except TimeoutError:
            pass

    async def _opened(self) -> FrameLink:
        """Open the link if it is not: from our own address while there is a lease."""
        if self._link is None:
            lease = self.machine.lease
            source = lease.address.ip if lease is not None else None
            self._link = await self._open(source if isinstance(source, IPv4Address) else None)
            asyncio.get_running_loop().add_reader(self._link.fileno(), self._ready.set)
        return self._link

    def _close(self) -> None:
        self._ready.clear()
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            self._link.close()
            self._link = None


async def release(machine: Machine, open_link: Open) -> None:
    """Give a lease back; its server hears of it once, or not at all. Raises what opening the link raises, and `OSError`."""
    lease = machine.lease
    if lease is None:
        return
    link = await open_link(None)
    try:
        machine.identity.mac = _octets(link.mac)
        message = machine.release(clock())
        server = IPv4Address(lease.server.packed)
        to_mac = _octets(lease.server_mac) if lease.server_mac else frame.EVERYBODY
        if message is not None:
            # A whole frame: a datagram would wait for ARP, and the link goes in the next moment.
            link.send(frame.datagram(encode(message), machine.identity.mac, to_mac, message.ciaddr, server))
    finally:
        link.close()


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _age(lease: DhcpLease | None) -> float:
    """Return how long ago a lease was obtained; a clock that was set back makes it new, not eternal."""
    return max(0.0, time.time() - lease.obtained) if lease is not None else 0.0
