"""Docker's plugin in the agent: the socket that Docker asks, and what we ask Docker, never while it waits for us.

Docker forgets to say things: that a container was stopped while we were away, and always what a network or a container is
called. So its own lists are read, after a network or a container has come and on a slow clock, and ours are brought in line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from wefted.engine.docker import DockerDesk
from wefted.engine.docker_endpoints import ORPHAN_AGE, Member
from wefted.engine.engine import LocalEngine
from wefted.errors import NotFound, UsageError, WeftedError
from wefted.model.objects import HOST
from wefted.plugins import docker_ipam, docker_network
from wefted.plugins.docker_protocol import DockerProtocol
from wefted.runtime.docker import SOCKET as DOCKER
from wefted.runtime.dockerresolv import DockerResolvConfs
from wefted.runtime.engineapi import EngineApi
from wefted.runtime.resolvers import containers_ask_themselves, docker_resolvers, host_asks_itself

from .http import Connection, Request, Response

log = logging.getLogger("wefted.docker")

PLACE = Path("/run/docker/plugins/wefted.sock")
"""Where Docker looks for a driver of this name (docs/extend/plugin_api.md)."""
WHERE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/snap/bin"
FIRST_WAIT, LONGEST_WAIT = 0.01, 2.0
"""Seconds until the next try of what Docker or the cluster did not let us do."""
BACKLOG = 1024
AGAIN = 5.0
"""Seconds after which a container that comes is reason to look at Docker's firewall again: it may have been made anew."""
GREETING = 0.5
"""Seconds that our start waits for Docker, which may be waiting for us."""
SWEEP = 10.0
"""Seconds between two looks at what Docker has."""


class DockerService:
    """One agent's plugin."""

    def __init__(self, engine: LocalEngine, setting: str, managed: Path, docker: str = DOCKER) -> None:
        """Take the setting `docker` (`auto`, `off` or the path to listen on), and where a managed plugin finds us."""
        self._desk = DockerDesk(engine)
        self._setting = setting
        self._managed = managed
        self._api = EngineApi("docker", docker)
        self._files = DockerResolvConfs()
        self._passed = 0.0
        self._running: set[asyncio.Task[None]] = set()
        self._protocol = DockerProtocol(
            self._desk,
            {"NetworkDriver": docker_network.METHODS, "IpamDriver": docker_ipam.METHODS},
            {"NetworkDriver": docker_network.ERROR, "IpamDriver": docker_ipam.ERROR},
        )

    async def prepare(self) -> None:
        """Read what Docker has asked for before, and let go what ended while nobody looked."""
        await self._desk.records.load()
        await self._desk.endpoints.look()
        if self._desk.records.networks and self._path() is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GREETING):
                    await self._quietly(self._compare, 0.0)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer Docker, and a managed plugin of it, as long as the context lasts."""
        path = self._path()
        async with contextlib.AsyncExitStack() as stack:
            if path is not None:
                await stack.enter_async_context(self._listening(self._managed))
                if not _answered(path):  # by the relay, which then asks us
                    await stack.enter_async_context(self._listening(path))
            yield

    async def run(self) -> None:
        """Follow Docker until cancelled."""
        if self._path() is None:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle())
            tasks.create_task(self._name())
            tasks.create_task(self._sweep())

    @contextlib.asynccontextmanager
    async def _listening(self, path: Path) -> AsyncIterator[None]:
        bound, inode = _bound(path)
        server = await asyncio.get_running_loop().create_unix_server(self._connection, sock=bound, backlog=BACKLOG)
        try:
            yield
        finally:
            server.close()
            _remove(path, inode)

    def _path(self) -> Path | None:
        if self._setting == "auto":
            installed = shutil.which("dockerd", path=WHERE) is not None or PLACE.parent.parent.exists()
            return PLACE if installed else None
        return None if self._setting == "off" else Path(self._setting)

    def _connection(self) -> Connection:
        return Connection(self._answer, self._malformed, self._running)

    async def _answer(self, request: Request) -> Response:
        return Response(*await self._protocol.answer(request.method, request.path, request.body))

    def _malformed(self, status: int, reason: str) -> Response:
        return Response(*self._protocol.refusal("", status, reason))

    # -- what we ask -----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Name, make and give up networks whenever there is one to settle."""
        networks = self._desk.networks
        wait = FIRST_WAIT
        while True:
            if await networks.settle(self._name_of):
                wait = FIRST_WAIT
                await self._pass()
                await networks.wanted.wait()
            else:
                await _either(networks.wanted, wait)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _name(self) -> None:
        """Ask for the names of containers that have just come, until all are known."""
        endpoints = self._desk.endpoints
        wait = FIRST_WAIT
        while True:
            endpoints.joined.clear()
            if time.monotonic() - self._passed > AGAIN:
                await self._pass()
            for identifier in endpoints.nameless():
                await self._quietly(self._learn, identifier)
            if endpoints.nameless():
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                wait = FIRST_WAIT
                await endpoints.joined.wait()

    async def _sweep(self) -> None:
        """Bring our lists in line with Docker's, on a slow clock."""
        while True:
            await self._pass()
            if self._desk.records.networks:
                self._tell(await self._quietly(self._compare))
            else:
                self._desk.host.docker = {}
            await asyncio.sleep(SWEEP)

    async def _compare(self, age: float = ORPHAN_AGE) -> None:
        """Drop what Docker has not known for `age` seconds; what stood here before our start it knows, or has forgotten."""
        await self._desk.endpoints.look()
        listed = await self._api.get("/networks")
        alive = {network["Id"] for network in listed}
        await self._desk.endpoints.forget_networks(alive, age)
        await self._desk.endpoints.forget_pools({subnet for network in listed for subnet in _subnets(network)}, age)
        for identifier in list(self._desk.records.networks):
            if identifier in alive:
                members = await self._learn(identifier)
                await self._desk.endpoints.forget_unknown(identifier, members, age)
        self._desk.networks.wanted.set()

    def _tell(self, error: str = "") -> None:
        records = self._desk.records
        own = self._desk.host.dns.get("address")
        asks = [server for server in host_asks_itself() if str(server) != own] if self._led_astray() else []
        self._desk.host.docker = {
            "plugin": str(self._path()),
            "networks": [{"id": n.id, "name": n.name, "trouble": n.trouble} for n in records.networks.values()],
            "asks": [str(server) for server in asks],
            "inside": [str(server) for server in containers_ask_themselves()] if records.networks else [],
            "error": error,
        }

    def _led_astray(self) -> bool:
        """Whether a container on a network of ours asks Docker's name server first, and not us."""
        ours = set(self._files.ours())
        endpoints = self._desk.host.endpoints.values()
        return any(e.plugged and e.attached and e.engine_id and e.engine_id not in ours for e in endpoints)

    async def _pass(self) -> None:
        """Keep what lets our containers through Docker's firewall, and their questions to our name server."""
        host = self._desk.host
        self._passed = time.monotonic()
        if not host.view.networks or host.docker_user is None or not await asyncio.to_thread(os.path.exists, self._api.path):
            return
        changed = await host.worker(host.docker_user.open, host.node.device, host.open_prefixes())
        if changed:
            log.info("opened the way through docker's firewall", extra={"changes": changed})
        servers = await asyncio.to_thread(docker_resolvers)
        if servers != host.node.resolvers:
            async with host.lock:
                host.node = replace(host.node, resolvers=servers)
                host.segments.clear()
                await host.converge({HOST})

    async def _learn(self, identifier: str) -> set[str]:
        """Take the names of a network's containers; return Docker's identifiers of its endpoints."""
        found = await self._api.get(f"/networks/{identifier}")
        members = {c["EndpointID"]: _member(key, c) for key, c in (found.get("Containers") or {}).items()}
        await self._desk.endpoints.learn(identifier, members)
        unknown = self._desk.endpoints.without_aliases(identifier, members)
        for endpoint in unknown:
            aliases = await self._aliases(members[endpoint].container_id, found["Name"])
            named = Member(container_id=members[endpoint].container_id, name=members[endpoint].name, aliases=aliases)
            await self._desk.endpoints.learn(identifier, {endpoint: named})
        return set(members)

    async def _aliases(self, container: str, network: str) -> tuple[str, ...]:
        found = await self._api.get(f"/containers/{container}/json")
        place = (found["NetworkSettings"].get("Networks") or {}).get(network) or {}
        return tuple(dict.fromkeys([*(place.get("Aliases") or ()), *(place.get("DNSNames") or ())]))

    async def _name_of(self, identifier: str) -> str:
        try:
            return str((await self._api.get(f"/networks/{identifier}"))["Name"])
        except WeftedError:
            return ""

    async def _quietly(self, what: Callable[..., Awaitable[Any]], *words: Any) -> str:
        """Do something that Docker may not let us do now; return why it did not."""
        try:
            await what(*words)
        except NotFound:
            pass
        except WeftedError as error:
            log.info("docker", extra={"error": error.message})
            return error.message
        return ""


def _bound(path: Path) -> tuple[socket.socket, int]:
    """Return a socket at a path, that only root may use, and the inode at that path."""
    made = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o077)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        made.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        made.close()
        raise UsageError(f"cannot listen on {path}: {error.strerror}", "choose another: WEFTED_DOCKER=PATH, or off") from None
    finally:
        os.umask(mask)
    return made, path.stat().st_ino


def _remove(path: Path, inode: int) -> None:
    """Remove a socket unless somebody else has put his in its place, and the directories that nobody else uses."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
            if path == PLACE:
                path.parent.rmdir()
                path.parent.parent.rmdir()


def _answered(path: Path) -> bool:
    """Tell whether somebody listens at a path."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _member(key: str, container: dict[str, Any]) -> Member:
    """Docker gives a container that is being started `ep-` and its endpoint's identifier in place of its own."""
    return Member(container_id="" if key.startswith("ep-") else key, name=str(container.get("Name") or key[:12]))


def _subnets(network: dict[str, Any]) -> list[str]:
    return [str(config.get("Subnet")) for config in (network.get("IPAM") or {}).get("Config") or ()]


async def _either(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
