"""Names: keeps zone, name server and the containers' resolv.conf in step with the endpoints.

The server listens on this host's gateway addresses, where the containers of these networks reach it, and on one address of
the host's own loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from wefted.drivers import DRIVERS
from wefted.engine.engine import LocalEngine
from wefted.errors import UsageError
from wefted.model.network import Endpoint
from wefted.model.objects import IPAddress
from wefted.runtime import dockerresolv, resolvconf
from wefted.runtime.dockerresolv import DockerResolvConfs
from wefted.runtime.resolvconf import ResolvConfs, Resolvers, Written, text
from wefted.services.dns.server import Server
from wefted.services.dns.upstream import Forwarder
from wefted.services.dns.zone import folded, valid

log = logging.getLogger("wefted.names")

OFF = "off"
SETTLE = 0.003
"""Seconds between a change and the look at it: one attach moves its endpoint several times, and need not wait for its name."""
PACE = 0.03
"""Seconds from one look to the next: a hundred attaches in a row are some looks."""
RETRY = 5.0
"""Seconds until an address that was in use is tried again."""
PATIENCE = 10.0
"""Seconds that an engine has to write a container's resolv.conf, into which we write after it."""


class NameService:
    """One task of the agent. What fails is told in `status`, and the agent goes on."""

    def __init__(self, engine: LocalEngine, address: str, files: Mapping[str, Resolvers] | None = None) -> None:
        """Take the address for the host itself, or `off`. Raises `UsageError`."""
        self._host = engine.host
        self._names = engine.names
        self._own = own_address(address)
        self._files = files or {resolvconf.KIND: ResolvConfs(), dockerresolv.KIND: DockerResolvConfs()}
        self._server = Server(engine.names.zone, Forwarder(own=lambda: self._server.addresses).ask)
        self._unwritten: dict[str, str] = {}
        """Container -> why its resolv.conf is not what it should be."""
        self._written: dict[str, set[str]] = {}
        """Container -> the ids of the endpoints that its resolv.conf speaks of."""
        self._spoken_of: dict[str, str] = {}
        """The same the other way round: a look at what changed must not go through all containers."""
        self._later: dict[str, float] = {}
        """Container -> until when its engine may still write its resolv.conf, before we do."""
        self._deferred: dict[str, set[str]] = {}
        """Container -> its addresses, where another server knows further bare names."""
        self._engine_ids: dict[str, str] = {}
        """Container -> its engine's identifier, when its resolv.conf was written."""

    async def run(self) -> None:
        """Follow the host until cancelled."""
        self._sweep()
        try:
            while True:
                self._host.moved.clear()
                await self._follow(self._names.refresh())
                looked = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._host.moved.wait(), self._pause())
                    await asyncio.sleep(max(SETTLE, looked + PACE - time.monotonic()))
        finally:
            await self._server.close()

    async def _follow(self, dirty: set[str]) -> None:
        """Act on what changed: `dirty` has the keys of endpoints."""
        before, errors = self._server.addresses, self._server.errors
        await self._server.listen(self._wanted())
        for error in self._server.errors.values():
            if error not in errors.values():
                log.warning("no names", extra={"error": error})
        everything = self._server.addresses != before
        changed = {e.container for e in self._host.endpoints.values()} if everything else self._containers(dirty)
        self._write(changed | self._later.keys())
        self._tell()

    def _pause(self) -> float | None:
        """Return how many seconds may pass until the next look if nothing happens."""
        return PACE if self._later else RETRY if self._server.errors else None

    def _wanted(self) -> set[IPAddress]:
        if self._own is None:
            return set()
        networks = (network for network in self._host.view.networks.values() if network.driver in DRIVERS)
        return {self._own, *(g.ip for network in networks for g in self._host.segment(network).gateways)}

    def _tell(self) -> None:
        self._host.dns = {
            "address": str(self._own) if self._own in self._server.addresses else None,
            "listening": [str(a) for a in sorted(self._server.addresses, key=lambda a: (a.version, a))],
            "names": len(self._names.zone),
            "error": "; ".join([*self._server.errors.values(), *self._unwritten.values()]),
        }

    # -- resolv.conf -------------------------------------------------------------------------------------------------

    def _containers(self, dirty: Iterable[str]) -> set[str]:
        """Return the containers of this host that these keys are of, those that have just gone too."""
        identifiers = {key.rpartition("/")[2] for key in dirty}
        found = {self._host.endpoints[i].container for i in identifiers if i in self._host.endpoints}
        return found | {self._spoken_of[i] for i in identifiers if i in self._spoken_of}

    def _write(self, containers: Iterable[str]) -> None:
        for container in sorted(containers):
            kind = container.partition(":")[0]
            if kind in self._files:
                try:
                    self._write_one(container, self._files[kind])
                    self._unwritten.pop(container, None)
                except OSError as error:
                    self._unwritten[container] = f"cannot write the resolv.conf of {container}: {error.strerror}"

    def _write_one(self, container: str, files: Resolvers) -> None:
        endpoints = sorted(self._host.of(container), key=lambda e: (not e.default_route, e.ifname))
        servers = [server for endpoint in endpoints for server in self._servers(endpoint)]
        if servers:
            domain = self._host.domain
            search = [*(f"{e.network.lower()}.{domain}" for e in endpoints), domain, *_lease_domains(endpoints)]
            self._engine_ids[container] = endpoints[0].engine_id
            written = files.write(self._key(container), text(servers, search), any(e.plugged for e in endpoints))
            self._wait(container, written)
            self._defer(container, written, endpoints)
            self._note(container, {e.id for e in endpoints})
        else:
            self._wait(container, Written.NOT)
            self._defer(container, Written.NOT, endpoints)
            if not self._renamed(container):
                files.remove(self._key(container))
            self._note(container, set())
            self._engine_ids.pop(container, None)

    def _wait(self, container: str, written: Written) -> None:
        """Look at a container's file again until its engine has written it."""
        if written is not Written.LATER or self._later.setdefault(container, time.monotonic() + PATIENCE) < time.monotonic():
            self._later.pop(container, None)

    def _defer(self, container: str, written: Written, endpoints: Iterable[Endpoint]) -> None:
        """Leave bare names that we do not know to the engine's own server, when this container asks."""
        addresses = {str(i.ip) for e in endpoints for i in e.addresses} if written is Written.BEFORE_ENGINE else set()
        self._server.deferred -= self._deferred.pop(container, set()) - addresses
        if addresses:
            self._server.deferred |= addresses
            self._deferred[container] = addresses

    def _note(self, container: str, endpoints: set[str]) -> None:
        for gone in self._written.pop(container, set()) - endpoints:
            if self._spoken_of.get(gone) == container:  # a container that was renamed speaks of it under its new name
                del self._spoken_of[gone]
        if endpoints:
            self._written[container] = endpoints
            self._spoken_of |= dict.fromkeys(endpoints, container)

    def _key(self, container: str) -> str:
        """Return the word that tells a container's file from others: its name, or the identifier that its engine gives it."""
        kind, _, name = container.partition(":")
        return name if kind == resolvconf.KIND else self._engine_ids.get(container, "")

    def _renamed(self, container: str) -> bool:
        """Whether the file is that of a container which is known by another name now."""
        identifier = self._engine_ids.get(container, "")
        return bool(identifier) and any(e.engine_id == identifier for e in self._host.endpoints.values())

    def _servers(self, endpoint: Endpoint) -> list[IPAddress]:
        """Return whom a container asks through an endpoint: us, at gateways where we really listen, and its LAN's servers."""
        ours = [gateway for gateway in endpoint.gateways if gateway in self._server.addresses]
        lease = endpoint.dhcp.lease if endpoint.dhcp is not None else None
        return ours if lease is None else [*ours, *lease.dns]

    def _sweep(self) -> None:
        """Undo the files of containers that went while no agent ran."""
        used = {e.engine_id for e in self._host.endpoints.values()}
        for kind, files in self._files.items():
            for name in files.ours():
                if name not in used and not self._host.of(f"{kind}:{name}"):
                    with contextlib.suppress(OSError):
                        files.remove(name)


def _lease_domains(endpoints: Iterable[Endpoint]) -> list[str]:
    """Return the domains that DHCP servers gave."""
    leases = [e.dhcp.lease for e in endpoints if e.dhcp is not None]
    return [folded(lease.domain) for lease in leases if lease is not None and valid(folded(lease.domain))]


def own_address(text: str) -> IPAddress | None:
    """Return the address of the setting `dns_address`; None: off. Raises `UsageError`."""
    if text == OFF:
        return None
    try:
        return ip_address(text)
    except ValueError:
        raise UsageError(f"dns_address is an IP address of this host or `off`, not {text!r}") from None
