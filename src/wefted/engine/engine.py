"""LocalEngine: every operation, in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wefted import __version__
from wefted.backends import shared_addresses, unreachable
from wefted.errors import NotFound, Unreachable
from wefted.model import codec
from wefted.model.link import Link, LinkState
from wefted.model.nearest import guess
from wefted.model.objects import HOST, Change

from .apply import Documents
from .doctor import Doctor
from .endpoints import Endpoints
from .flannels import Flannels
from .host import Host
from .inspection import Inspection
from .names import Names
from .networks import Networks
from .operations import OPERATIONS, Nothing, Plan, Uninstall
from .publisher import Publisher
from .publishing import Publishing
from .reconcile import Report
from .removal import Removal
from .render import link_json
from .tunnels import tunnels

Handler = Callable[[Any], Awaitable[Any]]


class LocalEngine:
    """Implements `Engine` on one host's stores and kernel."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.endpoints = Endpoints(host)
        self.networks = Networks(host)
        self.publishing = Publishing(host, self.endpoints)
        self.publisher = Publisher(host)
        self.names = Names(host)
        self.flannels = Flannels(host)
        self._documents = Documents(host, self.networks, self.endpoints)
        self._inspection = Inspection(host)
        self._removal = Removal(host, self.endpoints.leases)
        self._doctor = Doctor(host, self._unreachable)
        self._started = time.time()
        self._handlers: Mapping[str, Handler] = {
            "status": self._status,
            "doctor": self._doctor.examine,
            "network.create": self.networks.create,
            "network.list": self.networks.list_all,
            "network.inspect": self.networks.inspect,
            "network.set": self.networks.change,
            "network.remove": self.networks.remove,
            "network.prune": self.networks.prune,
            "network.room": self._inspection.room,
            "network.connect": self.endpoints.connect,
            "network.disconnect": self.endpoints.disconnect,
            "network.expose": self.networks.expose,
            "network.hide": self.networks.hide,
            "endpoint.list": self.endpoints.list_all,
            "endpoint.inspect": self._inspection.endpoint,
            "endpoint.ports": self.publishing.list_all,
            "endpoint.publish": self.publishing.publish,
            "endpoint.unpublish": self.publishing.unpublish,
            "link.list": self._links,
            "host.list": self.networks.hosts,
            "host.inspect": self.networks.inspect_hosts,
            "host.remove": self.networks.remove_hosts,
            "dns.list": self.names.list_all,
            "dns.lookup": self.names.lookup,
            "flannel.join": self.flannels.join,
            "flannel.watch": self.flannels.watch,
            "flannel.list": self.flannels.list_all,
            "flannel.leave": self.flannels.leave,
            "plan": self._plan,
            "apply": self._apply,
            "reconcile": self._reconcile,
            "uninstall": self._uninstall,
        }
        assert set(self._handlers) == set(OPERATIONS), "an operation without a handler"

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        handler = self._handlers.get(operation)
        if handler is None:
            raise NotFound(f"there is no operation {operation!r}{guess(operation, self._handlers)}")
        request: Any = codec.decode(OPERATIONS[operation].parameters, dict(parameters))
        result = await handler(request)
        if not self.host.live and operation != "uninstall":
            await self._publish()
        return result

    async def close(self) -> None:
        """Release stores, kernel and thread."""
        host = self.host
        await host.worker(host.kernel.close)
        host.worker.close()
        await host.cluster.close()
        await host.local.close()

    async def _publish(self) -> None:
        """Tell the cluster at once: no agent will do it in a moment. What cannot be said now is said at the next start."""
        try:
            await self.publisher.flush()
        except Unreachable as error:
            self.host.store_error = error.message

    # -- the operations that are short ------------------------------------------------------------------------------

    async def _status(self, _: Nothing) -> Any:
        host = self.host
        if not host.live:
            await host.refresh()
        missing = {feature: reason for feature, reason in host.facts.features.items() if reason}
        return {
            "version": __version__,
            "agent": {
                "running": host.live,
                "pid": os.getpid() if host.live else None,
                "uptime": round(time.time() - self._started, 1) if host.live else 0,
            },
            "node": codec.encode(host.node),
            "store": {
                "kind": "cluster" if host.shared else "local",
                "url": host.cluster_url,
                "reachable": not host.store_error,
                "error": host.store_error,
            },
            "hosts": max(1, len(host.view.nodes)),
            "networks": len(host.view.networks),
            "endpoints": len(host.endpoints),
            "failed": [{"endpoint": i, "error": error} for i, error in sorted(host.failures.items())],
            "unreachable": self._unreachable(),
            "dns": {"address": None, "listening": [], "domain": host.domain, "names": 0, "error": ""} | host.dns,
            "kernel": {"missing": missing},
            "tunnels": await tunnels(host),
            "reconcile": {"at": None, "changes": 0, "failures": []} | host.last_pass,
            "unreadable": host.view.unreadable,
        }

    def _unreachable(self) -> list[dict[str, str]]:
        """Return the blocks of other hosts to which there is no way from here, or a doubtful one, and why."""
        host = self.host
        found = []
        for network in host.view.networks.values():
            segment = host.segment(network)
            peers = [lease for lease in host.view.leases_of(network.name) if lease.node != host.node.id]
            if not segment.leases or network.backend == "none":
                continue
            doubtful = {
                lease: f"it announces the same address {address} as {host.view.node_name(other)}; give each host its own"
                for lease, (address, other) in shared_addresses(peers).items()
            }
            for lease, reason in (doubtful | dict(unreachable(segment, peers))).items():
                host_name = host.view.node_name(lease.node)
                found.append({"network": network.name, "host": host_name, "block": str(lease.block), "reason": reason})
        return found

    async def _plan(self, request: Plan) -> Any:
        if request.document:
            return await self._documents.plan(request)
        async with self.host.lock:
            await self._look()
            await self.host.see_links(self.host.view.networks.values())
            changes = await self.host.worker(self.host.reconciler.drift, self.host.desired())
        return {"changes": [change_json(change) for change in changes]}

    async def _apply(self, request: Plan) -> Any:
        if request.document:
            return await self._documents.apply(request)
        async with self.host.lock:
            await self._look()
            report = await self.host.converge()
        return report_json(report)

    async def _reconcile(self, _: Nothing) -> Any:
        async with self.host.lock:
            await self._look()
            report = await self.host.converge()
        return {"changes": len(report.changes), "failures": [f"{o.change}: {o.error}" for o in report.failures]}

    async def _uninstall(self, request: Uninstall) -> Any:
        report = await self._removal.run(request.dry_run)
        if not request.dry_run and not report.failures:
            await self.flannels.release_all()
        return report_json(report)

    async def _links(self, _: Nothing) -> Any:
        state = await self.host.worker(self.host.kernel.read, HOST)
        links = [item for item in state.objects.values() if isinstance(item, Link | LinkState)]
        return [link_json(link) for link in sorted(links, key=lambda link: link.name)]

    async def _look(self) -> None:
        """Without an agent nobody has followed the containers and the cluster: look now."""
        if not self.host.live:
            await self.host.refresh()
            await self.endpoints.following.find_all()


def report_json(report: Report) -> dict[str, Any]:
    """Return what was done, and what the kernel refused."""
    failures = [change_json(o.change) | {"error": o.error} for o in report.failures]
    return {"changes": [change_json(change) for change in report.changes], "failures": failures}


def change_json(change: Change) -> dict[str, str]:
    """Return a change as users see it."""
    action = "create" if change.old is None else "delete" if change.new is None else "update"
    return {"action": action, "kind": type(change.subject).__name__, "ns": change.subject.ns, "text": str(change)}
