"""A DHCP client that is a program of the host, as an endpoint's client: the same events as from our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from wefted.errors import KernelError
from wefted.model.network import Endpoint
from wefted.runtime.inotify import Inotify

from .dhcp import client_id, hostname
from .host import Host

if TYPE_CHECKING:
    from wefted.services.dhcp.machine import Bound, Lost

REPORT, SCRIPT, CONFIG, LEASES = "report", "news", "config", "leases"
LOOK = 5.0
"""Seconds between two looks at whether the program still runs."""


class ProgramClient:
    """The client of one endpoint in one namespace. A program that stays is taken over by the next agent."""

    def __init__(self, host: Host, endpoint: Endpoint) -> None:
        assert endpoint.dhcp is not None, "only who asks has a client"
        self._host = host
        self._endpoint = endpoint
        self._dhcp = endpoint.dhcp
        self.pid = 0

    @property
    def trouble(self) -> str:
        return f"{self._dhcp.program} has got no lease"

    async def run(self) -> AsyncGenerator[Bound | Lost, None]:
        """Yield each lease, extension and loss, for ever. Raises `KernelError` when the program ends by itself."""
        here = self._dhcp.lease is not None and self._dhcp.identity == self._endpoint.identity
        if here and not self._dhcp.stays:
            await asyncio.get_running_loop().create_future()  # it has done all that it was asked for
        inotify = Inotify()
        try:
            await self._begin(inotify, here)
            async for event in self._news(inotify):
                yield event
        finally:
            inotify.close()

    async def _begin(self, inotify: Inotify, here: bool) -> None:
        programs, identifier = self._host.programs, self._endpoint.id
        self.pid = await asyncio.to_thread(programs.running, identifier) if here else 0
        if not self.pid:
            await asyncio.to_thread(programs.stop, identifier)
            self.pid = await asyncio.to_thread(self._start)
        inotify.follow(programs.folder(identifier))

    def _start(self) -> int:
        from wefted.services.dhcp import program

        programs, endpoint = self._host.programs, self._endpoint
        folder = programs.folder(endpoint.id)
        call = program.Call(
            link=endpoint.ifname,
            hostname=hostname(endpoint),
            client_id=client_id(self._host.node.id, endpoint),
            script=f"{folder}/{SCRIPT}",
            config=f"{folder}/{CONFIG}",
            leases=f"{folder}/{LEASES}",
            options=self._dhcp.options,
        )
        files = {SCRIPT: program.script(f"{folder}/{REPORT}"), CONFIG: program.config(call)}
        return programs.start(endpoint.id, endpoint.ns, program.command(self._dhcp.program, call), files)

    async def _news(self, inotify: Inotify) -> AsyncGenerator[Bound | Lost, None]:
        bound, seen = self._dhcp.lease is not None, 0.0
        while True:
            report, written = await asyncio.to_thread(self._host.programs.read, self._endpoint.id, REPORT)
            event = _event(report, written) if written != seen else None
            seen = written
            if event is not None and (bound or not _is_loss(event)):
                bound = not _is_loss(event)
                await self._done(bound)
                yield event
            if bound and not self._dhcp.stays:
                await asyncio.get_running_loop().create_future()
            if not await asyncio.to_thread(self._host.programs.running, self._endpoint.id):
                raise KernelError(f"{self._dhcp.program} has ended: {await self._last_words()}")
            await inotify.wait(LOOK)

    async def _done(self, bound: bool) -> None:
        """End a program that was asked for one lease."""
        if bound and not self._dhcp.stays:
            self.pid = 0
            await asyncio.to_thread(self._host.programs.stop, self._endpoint.id)

    async def _last_words(self) -> str:
        log, _ = await asyncio.to_thread(self._host.programs.read, self._endpoint.id, "log")
        lines = log.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _event(report: bytes, written: float) -> Bound | Lost | None:
    from wefted.services.dhcp import program
    from wefted.services.dhcp.client import clock
    from wefted.services.dhcp.machine import Bound, Lost

    what, said = program.event(report)
    lease = program.lease_in(said) if what in program.BOUND else None
    if lease is not None:
        return Bound(lease, clock() - max(0.0, time.time() - written))
    return Lost(f"its client says {what}") if what in program.LOST else None


def _is_loss(event: Bound | Lost) -> bool:
    return not hasattr(event, "lease")
