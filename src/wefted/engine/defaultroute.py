"""Which of a container's networks holds its default route: the one of the highest priority, and of equals the first.

A container has one default route of ours at most. It moves when a network of a higher priority is connected, and when its
holder is disconnected. A default route that somebody else gave the container is never taken away.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from wefted.model.network import Endpoint, Network

from .host import Host
from .planner import plan_endpoint


class DefaultRoutes:
    """Uses the host's records; the lock is held."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def wins(self, network: Network, container: str, priority: int, claim: str) -> bool:
        """Tell whether a new endpoint gets the default route of its container; `claim` is its `default_claim`."""
        if claim != "auto":
            return claim == "take"
        others = self._host.of(container)
        return not network.internal and all(e.gateway_priority < priority for e in others if e.default_route)

    def losers(self, winner: Endpoint) -> list[Endpoint]:
        """Return, as they will be, the endpoints whose default route `winner` takes."""
        if not winner.default_route:
            return []
        others = [e for e in self._host.of(winner.container) if e.default_route and e.id != winner.id]
        return [replace(e, default_route=False) for e in others]

    async def take_from(self, losers: list[Endpoint]) -> None:
        """Take the default route of endpoints that are recorded without it already."""
        for endpoint in losers:
            await self._exchange(replace(endpoint, default_route=True), endpoint)

    def heirs(self, container: str) -> list[Endpoint]:
        """Return who may have the default route, the best first; nobody while somebody has it."""
        members = self._host.of(container)
        if any(e.default_route for e in members):
            return []
        networks = self._host.view.networks
        willing = [e for e in members if e.gateways and e.default_claim != "never"]
        able = [e for e in willing if e.network in networks and not networks[e.network].internal]
        return sorted(able, key=lambda e: (-e.gateway_priority, e.network))

    async def inherit(self, container: str) -> None:
        """Give a default route that has no holder to the next one; where the container has a foreign one, to nobody.

        In a container that has ended without our notice nothing can be made now: the record stays, for when it is back.
        """
        for heir in self.heirs(container)[:1]:
            holder = replace(heir, default_route=True)
            await self._host.keep([holder])
            if errno.EEXIST in await self._exchange(heir, holder):
                await self._exchange(holder, heir)
                await self._host.keep([heir])

    async def bequeath(self, container: str) -> None:
        """Only write down who is the next holder: a pass over the kernel follows."""
        await self._host.keep([replace(heir, default_route=True) for heir in self.heirs(container)[:1]])

    async def _exchange(self, before: Endpoint, after: Endpoint) -> set[int]:
        """Make the difference; return the error numbers of what the kernel refused."""
        host = self._host
        segment = host.segment(host.view.networks[after.network])
        report = await host.exchange(plan_endpoint(segment, before), plan_endpoint(segment, after))
        return {outcome.errno for outcome in report.failures}
