"""What wakes the agent: the kernel, the cluster, the containers, and a slow clock. Every wake-up ends in the same reconcile."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from wefted.engine import keys, peers
from wefted.engine.addressing import Addressing
from wefted.engine.automatic import Automatic
from wefted.engine.engine import LocalEngine
from wefted.errors import WeftedError
from wefted.interfaces import Runtime
from wefted.model.objects import HOST, Netns
from wefted.model.records import Snapshot

from .docker import DockerService
from .flannel import FlannelService
from .names import NameService

log = logging.getLogger("wefted.agent")

QUIET = 0.05
"""Seconds without a further namespace in trouble before a pass starts: a burst of changes costs one pass."""
LATEST = 0.5
"""Seconds after which a pass starts although events go on."""
RETRY, LONGEST_RETRY = 0.5, 30.0
"""Seconds until a task that ended begins again; after a bug doubled each time, unless it lasted longer."""


class Loops:
    """The agent's tasks. One that fails is logged, with a traceback unless it is a `WeftedError`, and begins again.

    The others go on: a host whose names are not served for a moment still answers Docker and keeps its attachments.
    """

    def __init__(
        self, engine: LocalEngine, interval: float, names: NameService, docker: DockerService, automatic: Automatic
    ) -> None:
        self._engine = engine
        self._automatic = automatic
        self._names = names
        self._docker = docker
        self._host = engine.host
        self._interval = interval
        self._addressing = Addressing(engine.host)
        self._dirty: set[Netns] = set()
        self._woken = asyncio.Event()

    async def first_pass(self) -> None:
        """Complete what was interrupted, sweep what has no record, follow the containers: before anybody is answered."""
        async with self._host.lock:
            await self._engine.endpoints.following.drop_orphans()
            await self._engine.endpoints.following.find_all()
            report = await self._host.converge()
        log.info("first pass", extra={"changes": len(report.changes), "failures": len(report.failures)})

    async def run_until(self, stop: asyncio.Event, also: Coroutine[Any, Any, None] | None = None) -> None:
        """Run everything until `stop` is set; `also` may end before."""
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "the reconcile": self._reconcile,
            "the kernel's watch": self._watch_kernel,
            "the clock": self._timer,
            "the publisher": self._engine.publisher.run,
            "the name service": self._names.run,
            "flannel": lambda: FlannelService(self._engine.flannels).run(),
            "the leases": self._engine.endpoints.leases.run,
            "docker": self._docker.run,
            "the look for removed containers": self._automatic.run,
            **{f"the watch of {r.kind}": partial(self._watch_runtime, r) for r in self._host.runtimes.values()},
        }
        tasks = [_again(what, start) for what, start in works.items()]
        if also is not None:
            tasks.append(also)
        tasks.append(_again("the cluster's watch", self._watch_cluster))
        await _until(stop, tasks)

    # -- reconcile -------------------------------------------------------------------------------------------------

    def _wake(self, *namespaces: Netns) -> None:
        self._dirty.update(namespaces)
        self._woken.set()

    async def _reconcile(self) -> None:
        while True:
            await self._woken.wait()
            await self._settle()
            async with self._host.lock:
                self._woken.clear()
                dirty, self._dirty = self._dirty, set()
                try:
                    await self._pass(dirty)
                except BaseException:
                    self._wake(*dirty)
                    raise

    async def _pass(self, dirty: set[Netns]) -> None:
        """Make these namespaces as they should be; the lock is held."""
        if not dirty:
            return
        before = self._host.node
        report = await self._host.converge(dirty)
        if self._host.node != replace(before, wireguard=self._host.node.wireguard):
            await self._moved()
        if report.changes:
            log.info("repaired", extra={"changes": [str(c) for c in report.changes[:20]]})

    async def _settle(self) -> None:
        """Wait until no further event came for a moment, but not for ever."""
        end = time.monotonic() + LATEST
        before = -1
        while len(self._dirty) != before and time.monotonic() < end:
            before = len(self._dirty)
            await asyncio.sleep(QUIET)

    async def _timer(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            async with self._host.lock:
                await self._engine.endpoints.following.find_all()
                await self._host.converge()

    async def _watch_kernel(self) -> None:
        """Carry the kernel's events from their thread into the loop."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def everything() -> None:
            self._wake(HOST, *(endpoint.ns for endpoint in self._host.endpoints.values()))

        def follow() -> None:
            try:
                events = self._host.kernel.watch()
                loop.call_soon_threadsafe(everything)  # what happened before anybody listened
                for ns in events:
                    loop.call_soon_threadsafe(self._wake, ns)
            except BaseException as error:
                loop.call_soon_threadsafe(ended.set_exception, error)

        threading.Thread(target=follow, name="wefted-watch", daemon=True).start()
        await ended

    # -- cluster and containers --------------------------------------------------------------------------------------

    async def _watch_cluster(self) -> None:
        if not self._host.shared:  # only this process writes, but for networks of a flannel server
            await self._engine.flannels.served.wait()
        async for seen in self._host.cluster.watch(""):
            async with self._host.lock:
                before = dict(self._host.view.leases)
                changed = await self._host.take(seen)
                await peers.follow(self._host, before, changed)
                await self._follow_cluster(changed)
            if isinstance(seen, Snapshot):
                self._engine.publisher.everything()

    async def _follow_cluster(self, changed: set[str]) -> None:
        """Act on what others changed in the cluster (our own writes are known already); the lock is held."""
        mine = f"{keys.ENDPOINTS}{self._host.node.id}/"
        self._engine.flannels.heard(changed)
        self._host.announce(key.removeprefix(mine) for key in changed if key.startswith(mine))
        if not any(key.startswith((keys.NETWORKS, keys.LEASES, keys.NODES)) for key in changed):
            return
        edited = {key.removeprefix(keys.NETWORKS) for key in changed if key.startswith(keys.NETWORKS)}
        inside = {endpoint.ns for endpoint in self._host.endpoints.values() if endpoint.network in edited}
        self._wake(HOST, *inside, *await self._engine.endpoints.following.drop_orphans())
        await self._refresh_leases()

    async def _moved(self) -> None:
        """Tell the peers that this host's addresses on the underlay are others now; the lock is held."""
        log.info("the underlay has changed", extra={"addresses": [str(a) for a in self._host.node.underlay]})
        self._engine.flannels.moved()
        await self._refresh_leases()

    async def _refresh_leases(self) -> None:
        try:
            await self._addressing.refresh()
        except WeftedError as error:
            log.warning("cannot refresh the leases", extra={"error": error.message})

    async def _watch_runtime(self, runtime: Runtime) -> None:
        async for event in runtime.watch():
            await self._engine.endpoints.following.sandbox_changed(event)
            await self._automatic.sandbox_changed(event)


async def _again(what: str, start: Callable[[], Awaitable[None]]) -> None:
    """Do something until it ends by itself; begin again after each failure."""
    wait = RETRY
    while True:
        begun = time.monotonic()
        try:
            await start()
            return
        except WeftedError as error:
            log.warning("%s ended", what, extra={"error": error.message})
            await asyncio.sleep(RETRY)
        except Exception:
            log.exception("%s failed", what)
            wait = RETRY if time.monotonic() - begun > LONGEST_RETRY else wait
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY)


async def _until(stop: asyncio.Event, coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Run all of the coroutines until `stop` is set or one of them fails; cancel them then."""
    tasks = [asyncio.create_task(c) for c in coroutines]
    waiter = asyncio.create_task(stop.wait())
    pending = {*tasks, waiter}
    try:
        while not stop.is_set():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()
    finally:
        for task in (*tasks, waiter):
            task.cancel()
        await asyncio.gather(*tasks, waiter, return_exceptions=True)
