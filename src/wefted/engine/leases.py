"""Leases: one task for each endpoint whose address comes by DHCP, from the first question to the release.

With an agent the tasks go on: they renew, rebind and start again, follow a container into its next namespace, and confirm after
a restart what the record says. Without one a task ends as soon as its lease is there, and the next agent takes over. The record
is written before the kernel is touched, so a crash loses nothing.

The protocol itself is imported with the first task.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from wefted.errors import KernelError, Unsupported, UsageError, WeftedError
from wefted.interfaces import FrameLink
from wefted.model.dhcp import DhcpLease
from wefted.model.network import Endpoint
from wefted.model.objects import HOST, IPAddress, Outcome
from wefted.model.route import Route

from .defaultroute import DefaultRoutes
from .dhcp import client_id, hostname, leased, needs_broadcast, same_plan, unleased
from .host import Host
from .planner import plan_endpoint
from .reconcile import Report

if TYPE_CHECKING:
    from wefted.services.dhcp.client import Client
    from wefted.services.dhcp.machine import Bound, Lost, Machine

    from .program import ProgramClient

log = logging.getLogger("wefted.dhcp")

RETRY = 5.0
"""Seconds until a link that could not be opened is tried again."""

Place = tuple[str, str, str]
"""Namespace, its identity, interface: a task ends when its endpoint has another one."""


class Leases:
    """The tasks of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._defaults = DefaultRoutes(host)
        self._tasks: dict[str, tuple[Place, asyncio.Task[None]]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._clients: dict[str, Client | ProgramClient] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        """Programs whose container is gone: they would keep its namespace alive."""
        self._leaving: set[str] = set()
        """Endpoints that are being detached: nothing may be asked for them any more."""
        self._trouble: dict[str, str] = {}
        """Endpoint id -> why its client cannot work."""

    # -- for the use cases -------------------------------------------------------------------------------------------

    async def acquire(self, endpoints: Iterable[Endpoint]) -> None:
        """Wait until all of them that ask for one have a lease; the lock is not held. Raises `WeftedError`."""
        asking = [e for e in endpoints if e.dhcp is not None and e.dhcp.lease is None and e.id in self._host.endpoints]
        if not asking:
            return
        try:
            async with asyncio.timeout(self._host.dhcp_timeout):
                await asyncio.gather(*(self._first(e) for e in asking))
        except TimeoutError:
            raise self._late(next(e for e in asking if e.id in self._waiting)) from None
        finally:
            for endpoint in asking:
                waiting = self._waiting.pop(endpoint.id, None)
                if waiting is not None:
                    waiting.cancel()
                if not self._host.live:
                    await self._end(endpoint.id)

    async def release(self, endpoints: Iterable[Endpoint]) -> None:
        """End the tasks of endpoints that go, and give their leases back while their links are there; the lock is held."""
        for endpoint in endpoints:
            if endpoint.dhcp is None:
                continue
            self._leaving.add(endpoint.id)
            waiting = self._waiting.get(endpoint.id)
            if waiting is not None and not waiting.done():
                waiting.set_exception(WeftedError(f"{endpoint.container} was disconnected while it waited for an address"))
            await self._end(endpoint.id)
            await self._stop(endpoint)
            await self._give_back(self._host.endpoints.get(endpoint.id, endpoint))

    def stay(self, endpoints: Iterable[Endpoint]) -> None:
        """Begin again for endpoints that could not go after all."""
        self._leaving.difference_update(endpoint.id for endpoint in endpoints)
        self._host.leases.set()

    async def run(self) -> None:
        """Keep every lease of this host, until cancelled."""
        host = self._host
        try:
            while True:
                host.leases.clear()
                self._follow()
                await host.leases.wait()
        finally:
            for identifier in list(self._tasks):
                await self._end(identifier)

    # -- tasks -------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Have one task for each endpoint that asks and is attached, in the place where it is now."""
        self._leaving &= self._host.leased
        for identifier in (set(self._tasks) | self._host.leased) - self._leaving:
            endpoint = self._host.endpoints.get(identifier)
            place = _place(endpoint) if endpoint is not None and endpoint.dhcp is not None and endpoint.attached else None
            current = self._tasks.get(identifier)
            if current is not None and (current[0] != place or current[1].done()):
                self._tasks.pop(identifier)[1].cancel()
                current = None
            if place is not None and current is None:
                self._begin(identifier, place)
            elif place is None and endpoint is not None and identifier not in self._stopping:
                self._stopping[identifier] = asyncio.get_running_loop().create_task(self._stop(endpoint))

    def _begin(self, identifier: str, place: Place) -> None:
        self._stopping.pop(identifier, None)
        self._tasks[identifier] = place, asyncio.get_running_loop().create_task(self._keep(identifier, place))

    async def _end(self, identifier: str) -> None:
        _, task = self._tasks.pop(identifier, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._trouble.pop(identifier, None)
        self._clients.pop(identifier, None)

    async def _first(self, endpoint: Endpoint) -> None:
        """Wait for an endpoint's first lease."""
        self._leaving.discard(endpoint.id)
        waiting = self._waiting[endpoint.id] = asyncio.get_running_loop().create_future()
        if endpoint.id not in self._tasks:
            self._begin(endpoint.id, _place(endpoint))
        await waiting
        self._waiting.pop(endpoint.id, None)

    def _late(self, endpoint: Endpoint) -> WeftedError:
        seconds = f"{self._host.dhcp_timeout:g}"
        client = self._clients.get(endpoint.id)
        spoken = client.trouble if client is not None else "there was no time to ask"
        reason = self._trouble.get(endpoint.id) or spoken
        return WeftedError(
            f"{endpoint.container} got no address in network {endpoint.network!r} within {seconds} s: {reason}",
            "nothing was left behind; is there a DHCP server in that LAN? To wait longer: WEFTED_DHCP_TIMEOUT=60",
        )

    async def _keep(self, identifier: str, place: Place) -> None:
        while True:
            try:
                await self._speak(identifier, place)
                return
            except UsageError as error:
                self._refuse(identifier, error)
                return
            except (WeftedError, OSError) as error:
                self._trouble[identifier] = str(error)
                log.warning("no DHCP", extra={"endpoint": identifier, "error": str(error)})
            await asyncio.sleep(RETRY)

    async def _speak(self, identifier: str, place: Place) -> None:
        """Be the client of an endpoint for as long as it is where it is."""
        from wefted.services.dhcp.client import Client

        from .program import ProgramClient

        async with self._host.lock:  # whoever wrote the record holds it until the link is there
            endpoint = self._host.endpoints.get(identifier)
        if endpoint is None or _place(endpoint) != place:
            return
        client: Client | ProgramClient
        if endpoint.dhcp is not None and endpoint.dhcp.program:
            client = ProgramClient(self._host, endpoint)
        else:
            client = Client(self._machine(endpoint), partial(self._open, endpoint))
        self._clients[identifier] = client
        async with contextlib.aclosing(client.run()) as events:
            async for event in events:
                async with self._host.lock:
                    if not await self._take(identifier, place, event):
                        return

    def _machine(self, endpoint: Endpoint) -> Machine:
        from wefted.services.dhcp.machine import Identity, Machine

        assert endpoint.dhcp is not None, "only who asks has a client"
        broadcast = needs_broadcast(self._host.view.networks[endpoint.network])
        who = Identity(client=client_id(self._host.node.id, endpoint), hostname=hostname(endpoint), broadcast=broadcast)
        return Machine(identity=who, random=random.Random(), lease=endpoint.dhcp.lease)

    async def _open(self, endpoint: Endpoint, source: IPAddress | None) -> FrameLink:
        if self._host.open_link is None:
            raise Unsupported("this host has no way to speak DHCP")
        return await self._host.worker(self._host.open_link, endpoint.ns, endpoint.ifname, source)

    async def _stop(self, endpoint: Endpoint) -> None:
        """End the program that is the client of an endpoint, if one is."""
        if endpoint.dhcp is not None and endpoint.dhcp.program and self._host.make_programs is not None:
            await asyncio.to_thread(self._host.programs.stop, endpoint.id)

    async def _give_back(self, endpoint: Endpoint) -> None:
        if endpoint.dhcp is None or endpoint.dhcp.lease is None or endpoint.ns == HOST:
            return
        from wefted.services.dhcp.client import release

        try:
            await release(self._machine(endpoint), partial(self._open, endpoint))
        except (WeftedError, OSError) as error:
            log.info("not released", extra={"container": endpoint.container, "error": str(error)})

    # -- what a lease changes ----------------------------------------------------------------------------------------

    async def _take(self, identifier: str, place: Place, event: Bound | Lost) -> bool:
        """Follow the client; the lock is held. Return whether the endpoint is still where it was."""
        from wefted.services.dhcp.client import clock
        from wefted.services.dhcp.machine import Bound

        before = self._host.endpoints.get(identifier)
        if before is None or before.dhcp is None or _place(before) != place:
            return False
        if isinstance(event, Bound):
            await self._bound(before, replace(event.lease, obtained=time.time() - (clock() - event.since)))
        else:
            await self._lost(before, event.reason)
        return True

    async def _bound(self, before: Endpoint, lease: DhcpLease) -> None:
        host = self._host
        client = self._clients.get(before.id)
        after = leased(before, lease, client.pid if client is not None else 0)
        if not before.default_route and after.gateways and not any(a.version == 4 for a in before.addresses):
            wins = self._defaults.wins(
                host.view.networks[before.network], before.container, before.gateway_priority, before.default_claim
            )
            after = replace(after, default_route=wins)
        losers = [] if before.default_route else self._defaults.losers(after)
        await host.keep([after, *losers])
        await self._defaults.take_from(losers)
        report = Report() if same_plan(before, after) else await self._change(before, after)
        if report.failures:
            self._fail(after, f"{lease.address} cannot be used: {report.failures[0].error}")
            return
        host.failures.pop(after.id, None)
        self._trouble.pop(after.id, None)
        log.info("leased", extra={"container": after.container, "network": after.network, "address": str(lease.address)})
        self._settle(after.id)

    async def _lost(self, before: Endpoint, reason: str) -> None:
        host = self._host
        after = unleased(before)
        address = ", ".join(str(a) for a in before.addresses if a not in after.addresses)
        log.warning("lease lost", extra={"container": before.container, "address": address, "reason": reason})
        await host.keep([after])
        await self._change(before, after)
        await self._defaults.inherit(before.container)
        host.failures[after.id] = f"the DHCP lease of {address} is lost: {reason}"

    async def _change(self, before: Endpoint, after: Endpoint) -> Report:
        """Make the kernel follow. Where an address goes, so do routes and other addresses that hung on it: look anew."""
        if not set(before.addresses) <= set(after.addresses):
            return await self._host.converge({after.ns})
        report = await self._exchange(before, after)
        if after.default_route and any(_is_foreign_default(failure) for failure in report.failures):
            humble = replace(after, default_route=False)
            await self._host.keep([humble])
            report = await self._exchange(before, humble)
        return report

    async def _exchange(self, before: Endpoint, after: Endpoint) -> Report:
        segment = self._host.segment(self._host.view.networks[after.network])
        return await self._host.exchange(plan_endpoint(segment, before), plan_endpoint(segment, after))

    def _settle(self, identifier: str) -> None:
        waiting = self._waiting.get(identifier)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _fail(self, endpoint: Endpoint, reason: str) -> None:
        error = KernelError(f"cannot attach {endpoint.container}: {reason}", "nothing was left behind")
        self._host.failures[endpoint.id] = reason
        self._refuse(endpoint.id, error)

    def _refuse(self, identifier: str, error: WeftedError) -> None:
        """Tell who waits for a lease that there will be none."""
        log.warning("no DHCP", extra={"endpoint": identifier, "error": str(error)})
        waiting = self._waiting.get(identifier)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


def _place(endpoint: Endpoint) -> Place:
    return endpoint.ns, endpoint.identity, endpoint.ifname


def _is_foreign_default(failure: Outcome) -> bool:
    subject = failure.change.subject
    return failure.errno == errno.EEXIST and isinstance(subject, Route) and subject.destination.prefixlen == 0
