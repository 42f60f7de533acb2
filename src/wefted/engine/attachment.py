"""Endpoints in the kernel: what is made for one, what goes with it, and what its network leaves behind with its last one."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Collection, Iterable, Mapping

from wefted.errors import KernelError
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST, Change, KernelObject, Key

from .diff import index
from .host import Host
from .planner import further_bridges, own_objects, plan_endpoint, plan_network, uses_links
from .reconcile import Report

DYING = 1.0
"""Seconds for which a namespace that has ended may hold its links: the kernel takes it down in the background (`cleanup_net`),
and so long no other macvlan of the parent can have its MAC."""
AGAIN = 0.01


class Attachment:
    """Everything here is called with the host's lock held."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def ensure(self, endpoint: Endpoint, whole: bool = False) -> Report:
        """Make what an endpoint needs; with `whole` also what its network needs on this host to reach the others."""
        host = self._host
        network = host.view.networks[endpoint.network]
        segment = host.segment(network)
        if whole or not host.live:
            objects = index(plan_network(segment, host.view.leases_of(network.name), (endpoint,)))
        else:
            objects = plan_endpoint(segment, endpoint)
        return await self.make(objects)

    async def make(self, objects: Mapping[Key, KernelObject], handing: bool = False) -> Report:
        """Make objects, as `Reconciler.ensure`; wait for a namespace that is just dying where that has a link's MAC."""
        host = self._host
        end = time.monotonic() + DYING
        report = await host.worker(host.reconciler.ensure, objects, handing)
        while any(outcome.errno == errno.EADDRINUSE for outcome in report.failures) and time.monotonic() < end:
            await asyncio.sleep(AGAIN)
            report = await host.worker(host.reconciler.ensure, objects, handing)
        return report

    async def remove(self, endpoints: Collection[Endpoint]) -> Report:
        """Remove what exists in the kernel for these endpoints alone."""
        host = self._host
        objects: dict[Key, KernelObject] = {}
        going = {endpoint.id for endpoint in endpoints}
        for endpoint in endpoints:
            network = host.view.networks.get(endpoint.network)
            if network is not None:
                other = host.another_of(network.name, going) if uses_links(network) else None
                objects |= own_objects(host.segment(network), endpoint, other)
        return await host.worker(host.reconciler.remove, objects)

    async def abandon(self, network: Network) -> None:
        """Remove what a network has on this host when neither a block nor an endpoint keeps it there."""
        host = self._host
        if not host.segment(network).leases and network.name not in host.members:
            await host.converge({HOST})

    async def vacate(self, endpoints: Iterable[Endpoint]) -> None:
        """Remove the bridges behind the last one in use; what cannot be removed now goes with the next pass."""
        host = self._host
        left: dict[str, int] = {}
        for endpoint in endpoints:
            left[endpoint.network] = max(endpoint.bridge, left.get(endpoint.network, 0))
        for name, last in left.items():
            used = host.places.last(name)
            if last > used and name in host.view.networks:
                segment = host.segment(host.view.networks[name])
                await host.worker(host.reconciler.remove, further_bridges(segment, used, last))

    def note(self, endpoint: Endpoint, report: Report) -> None:
        """Remember whether an attachment works, for whoever asks."""
        if report.failures:
            self._host.failures[endpoint.id] = report.failures[0].error
        else:
            self._host.failures.pop(endpoint.id, None)


def refused(endpoint: Endpoint, report: Report) -> KernelError:
    """Return the error of a change of an endpoint that the kernel refused and that was undone."""
    first = report.failures[0]
    others = f" ({len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
    what = f"cannot attach {endpoint.container} to network {endpoint.network!r}"
    return KernelError(f"{what}: {_told(first.change)}: {first.error}{others}", "nothing was left behind", first.errno)


def _told(change: Change) -> str:
    return str(change).removeprefix("+ ").removeprefix("~ ")
