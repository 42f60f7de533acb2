"""Containers that come and go: their endpoints wait, and are attached again, as they were, when the containers are back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from wefted.model.network import Endpoint
from wefted.model.objects import HOST, Netns
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.runtime import search

from .attachment import Attachment
from .defaultroute import DefaultRoutes
from .host import Host
from .identities import Identities

log = logging.getLogger("wefted.engine")


class Following:
    """Where each container's namespace is, and its endpoints with it."""

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        defaults: DefaultRoutes,
        identities: Identities,
        detach: Callable[[list[Endpoint]], Awaitable[None]],
    ) -> None:
        self._host = host
        self._attachment = attachment
        self._defaults = defaults
        self._identities = identities
        self._detach = detach

    async def sandbox_changed(self, event: SandboxEvent) -> None:
        """Follow a container: its endpoints wait while it is gone, and are attached again, as they were, when it is back."""
        async with self._host.lock:
            await self._identities.follow(event)
            for endpoint in self._host.of(event.container):
                await (self.find(endpoint) if endpoint.transient else self.follow(endpoint, event.sandbox))

    async def follow(self, endpoint: Endpoint, sandbox: Sandbox | None) -> None:
        """Bring one endpoint in line with where its container is now; the lock is held."""
        network = self._host.view.networks.get(endpoint.network)
        if network is None or network.driver == "host" or endpoint.plugged:
            return
        if sandbox is None or (endpoint.transient and sandbox.identity != endpoint.identity):
            if endpoint.attached:
                log.info("container is gone", extra={"container": endpoint.container, "network": endpoint.network})
                endpoint = await self.left(endpoint)
            if endpoint.transient:
                await self._detach([endpoint])
        elif (endpoint.ns, endpoint.identity) != (sandbox.ns, sandbox.identity):
            log.info("container is back", extra={"container": endpoint.container, "network": endpoint.network})
            await self.moved(endpoint, sandbox)

    async def left(self, endpoint: Endpoint) -> Endpoint:
        """Detach an endpoint whose container is gone, and keep its record; the lock is held."""
        await self._attachment.remove([endpoint])
        await self._host.worker(self._host.reconciler.forget, endpoint.ns)
        gone = replace(endpoint, ns=HOST, identity="")
        await self._host.keep([gone])
        return gone

    async def moved(self, endpoint: Endpoint, sandbox: Sandbox) -> Endpoint:
        """Attach an endpoint where its container is now; the lock is held."""
        if endpoint.attached:
            endpoint = await self.left(endpoint)
        back = replace(endpoint, ns=sandbox.ns, identity=sandbox.identity, engine_id=sandbox.id)
        await self._host.worker(self._host.reconciler.forget, sandbox.ns)
        await self._host.keep([back])
        self._attachment.note(back, await self._attachment.ensure(back))
        return back

    async def find_all(self) -> None:
        """Look for the container of every endpoint (at start, after events may have been missed); the lock is held."""
        for endpoint in list(self._host.endpoints.values()):
            await self.find(endpoint)

    async def find(self, endpoint: Endpoint) -> Endpoint:
        """Look for the container of an endpoint and follow it there; return the endpoint as it is now. The lock is held."""
        runtime = self._host.runtimes.get(endpoint.container.partition(":")[0])
        if runtime is None or endpoint.plugged:
            return endpoint
        search.remind(self._host.runtimes, endpoint.container, endpoint.ns)
        sandbox = await self._identities.locate(endpoint, runtime)
        if sandbox is not None:
            await self._identities.recognise(sandbox)
        current = self._host.endpoints.get(endpoint.id)
        if current is not None:
            await self.follow(current, sandbox)
        return self._host.endpoints.get(endpoint.id, endpoint)

    async def drop_orphans(self) -> set[Netns]:
        """Forget the endpoints of networks that are gone; return their namespaces. The lock is held."""
        networks = self._host.view.networks
        orphans = [e for e in self._host.endpoints.values() if e.network not in networks]
        for endpoint in orphans:
            log.warning("network is gone", extra={"network": endpoint.network, "container": endpoint.container})
        await self._host.drop(orphans)
        for container in {endpoint.container for endpoint in orphans}:
            await self._defaults.bequeath(container)
        return {endpoint.ns for endpoint in orphans}
