"""Leaving: nothing of ours stays in this host's kernel, nor in the cluster in its name."""

from __future__ import annotations

from wefted.errors import Unreachable
from wefted.model.records import Delete

from . import keys
from .host import Host
from .leases import Leases
from .reconcile import Report

CHUNK = 100


class Removal:
    """The use case `uninstall`."""

    def __init__(self, host: Host, leases: Leases) -> None:
        self._host = host
        self._leases = leases

    async def run(self, dry_run: bool) -> Report:
        """Remove everything and return what was done; with `dry_run` what would be. Records stay while the kernel refuses."""
        host = self._host
        async with host.lock:
            await host.worker(host.reconciler.look, [endpoint.ns for endpoint in host.endpoints.values()])
            changes = await host.worker(host.reconciler.drift, {})
            if dry_run:
                return Report(changes)
            endpoints = list(host.endpoints.values())
            await self._leases.release(endpoints)
            report = await host.worker(host.reconciler.converge, {})
            if host.docker_user is not None:
                await host.worker(host.docker_user.close)
            if report.failures:
                self._leases.stay(endpoints)
            else:
                await host.drop(list(host.endpoints.values()))
                await self._leave()
        return report

    async def _leave(self) -> None:
        """Take our records out of the cluster; when it does not answer, `wefted host rm` on another host does it."""
        host = self._host
        doomed = host.view.block_keys(host.node.id)
        doomed += [key for key in host.view.endpoints if key.startswith(f"{keys.ENDPOINTS}{host.node.id}/")]
        doomed.append(keys.node(host.node.id))
        try:
            for start in range(0, len(doomed), CHUNK):
                await host.commit([Delete(key) for key in doomed[start : start + CHUNK]])
        except Unreachable as error:
            host.store_error = error.message
