"""Containers that are attached because they say so, by a label, or because the host's settings do, when they are seen to run.

What a hook or an engine's plugin has attached already, with the container's first instruction, is left to them. An automatic
endpoint waits while its container is stopped, as every other one does, and goes when the container is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from wefted.errors import NotFound, Unreachable, WeftedError
from wefted.interfaces import Kept
from wefted.model.network import Endpoint
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.model.wishes import Wish, wishes

from .endpoints import Endpoints
from .host import Host
from .operations import Connect

log = logging.getLogger("wefted.engine")

FIRST_LOOK, SLOWEST_LOOK = 0.1, 30.0
"""Seconds between two looks for containers that are no more, and for networks that were not there: soon after one has ended."""


class Automatic:
    """Follows what the runtimes tell; only an agent has one."""

    def __init__(self, host: Host, endpoints: Endpoints, default: str = "") -> None:
        """Take the networks of containers that say nothing, with commas between."""
        self._host = host
        self._endpoints = endpoints
        self._default = default
        self._waiting: dict[str, Sandbox] = {}
        """Containers whose network could not be had yet, by name."""
        self._ended = asyncio.Event()

    async def sandbox_changed(self, event: SandboxEvent) -> None:
        """Attach a container that has come, where it wants to be; look soon for one that may have been removed."""
        self._waiting.pop(event.renamed, None)
        self._waiting.pop(event.container, None)
        if event.sandbox is None:
            self._ended.set()
        elif event.sandbox.said is not None:
            await self._come(event.sandbox)

    async def run(self) -> None:
        """Detach what was attached for containers that are no more, and try again what failed, until cancelled."""
        await self._begin()
        wait = FIRST_LOOK
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._ended.wait()
                    self._ended.clear()
                    wait = FIRST_LOOK
            await self.sweep()
            await asyncio.sleep(FIRST_LOOK)
            wait = min(wait * 2, SLOWEST_LOOK)

    async def _begin(self) -> None:
        """Look at the containers that are known already: of those the runtimes do not tell that they run."""
        for container in dict.fromkeys(endpoint.container for endpoint in self._host.endpoints.values()):
            kind, _, name = container.partition(":")
            runtime = self._host.runtimes.get(kind)
            if isinstance(runtime, Kept):
                with contextlib.suppress(WeftedError):
                    sandbox = await runtime.find(name)
                    if sandbox is not None and sandbox.container == container and sandbox.said is not None:
                        await self._come(sandbox)

    async def sweep(self) -> None:
        """Do that once."""
        stopped = [e for e in self._host.endpoints.values() if e.automatic and not e.attached]
        await self._detach([endpoint for endpoint in stopped if not await self._exists(endpoint)])
        for sandbox in list(self._waiting.values()):
            await self._come(sandbox)

    async def _come(self, sandbox: Sandbox) -> None:
        wanted = wishes(dict(sandbox.said or ()), self._default)
        names = {wish.network for wish in wanted}
        await self._detach([e for e in self._host.of(sandbox.container) if e.automatic and e.network not in names])
        missing = [wish for wish in wanted if not self._in(sandbox, wish.network)]
        refused = [wish for wish in missing if not await self._attached(wish, sandbox)]
        if refused:
            self._waiting[sandbox.container] = sandbox
        else:
            self._waiting.pop(sandbox.container, None)

    def _in(self, sandbox: Sandbox, network: str) -> bool:
        return any(endpoint.network == network for endpoint in self._endpoints_of(sandbox))

    def _endpoints_of(self, sandbox: Sandbox) -> Iterator[Endpoint]:
        """Yield the endpoints of a container, under its own name and under that of the hook."""
        yield from self._host.of(sandbox.container)
        if sandbox.id:
            yield from self._host.of(f"oci:{sandbox.id}")

    async def _attached(self, wish: Wish, sandbox: Sandbox) -> bool:
        words = Connect(
            network=wish.network, containers=(sandbox.container,), ip=wish.ip, aliases=wish.aliases, publish=wish.publish
        )
        told = {"container": sandbox.container, "network": wish.network}
        try:
            async with self._host.lock:
                endpoint, fresh = await self._endpoints.attach(words, sandbox.container, automatic=True)
            await self._endpoints.lease([endpoint], [endpoint] if fresh else [])
        except WeftedError as error:
            if sandbox.container not in self._waiting:
                log.warning("cannot attach a container as it says", extra={**told, "error": error.message})
            return False
        log.info("attached a container as it says", extra=told)
        return True

    async def _exists(self, endpoint: Endpoint) -> bool:
        """Tell whether the container of an endpoint may still be started; what its engine does not say is believed to exist."""
        runtime = self._host.runtimes.get(endpoint.container.partition(":")[0])
        if not isinstance(runtime, Kept) or not endpoint.engine_id:
            return True
        try:
            return await runtime.exists(endpoint.engine_id)
        except (NotFound, Unreachable):
            return True

    async def _detach(self, endpoints: list[Endpoint]) -> None:
        """Detach what still is as it was when somebody looked."""
        if not endpoints:
            return
        async with self._host.lock:
            doomed = [endpoint for endpoint in endpoints if self._host.endpoints.get(endpoint.id) == endpoint]
            for endpoint in doomed:
                log.info("detached a container", extra={"container": endpoint.container, "network": endpoint.network})
            await self._endpoints.detach(doomed)
