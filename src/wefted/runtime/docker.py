"""Docker: containers by name, by the beginning of their id or by a label, and their coming and going from the engine's events.

A container is asked about only when it is in the list of those that run: while one is being started, the engine holds its lock
and a question about it would wait, perhaps for ourselves (we may be the plugin that its start waits for).
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from wefted.errors import NotFound, Unreachable, UsageError, WeftedError
from wefted.model import spec
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.model.wishes import PREFIX

from .engineapi import EngineApi, Json
from .namespace import identity_of, sandbox
from .presence import Presence

SOCKET = "/run/docker.sock"
SHARED = "container:"
"""How `NetworkMode` begins for a container in the namespace of another one; that one's id follows."""
EVENTS = {"type": ["container"], "event": ["start", "die", "rename", "destroy"]}


class DockerRuntime:
    """Implements `Runtime` and `Kept` for kind docker. What shares another container's namespace is found as that one."""

    kind = "docker"

    def __init__(self, socket: str = SOCKET) -> None:
        self._api = EngineApi(self.kind, socket)
        self._found: dict[str, Sandbox] = {}
        """What somebody knows, by id: of its end he must hear, also if it comes before a watch has begun."""

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of the container of this name, id, beginning of an id, or label (`app=web`)."""
        spec.container(f"{self.kind}:{name}")
        self._api.require()
        for filters in _ways(name):
            listed = [one for one in await self._api.get("/containers/json", filters=filters) if _means(name, filters, one)]
            if len(listed) > 1:
                names = ", ".join(sorted(_listed_name(one) for one in listed))
                raise UsageError(f"container {self.kind}:{name} may be any of {names}", "give its name")
            if listed:
                found = await self._inspect(listed[0]["Id"])
                if found is not None:
                    self._found[found.id] = found
                return found
        return None

    async def exists(self, identifier: str) -> bool:
        """Tell whether a container, running or not, has not been removed."""
        self._api.require()
        listed = await self._api.get("/containers/json", all="1", filters={"id": [identifier]})
        return any(one["Id"] == identifier for one in listed)

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what runs, then what comes and goes; again from the beginning, of what differs, after the engine was away."""
        return _Watch(self.kind, self._api, self._inspect, self._found).events()

    async def _inspect(self, identifier: str) -> Sandbox | None:
        """Return the sandbox of a running container; of another one where it lives in the namespace of that."""
        try:
            found: Json = await self._api.get(f"/containers/{identifier}/json")
        except NotFound:
            return None
        if not found["State"].get("Running"):
            return None
        mode = found["HostConfig"].get("NetworkMode", "")
        if mode.startswith(SHARED):
            return await self._owner(found, mode.removeprefix(SHARED))
        container = f"{self.kind}:{found['Name'].lstrip('/')}"
        return _sandbox(container, found)

    async def _owner(self, sharer: Json, identifier: str) -> Sandbox:
        running = await self._api.get("/containers/json", filters={"id": [identifier]}) if identifier else []
        owner = await self._inspect(running[0]["Id"]) if running else None
        if owner is None:
            name = sharer["Name"].lstrip("/")
            raise UsageError(
                f"container {self.kind}:{name} lives in the network of another container, which does not run",
                f"start that one, or give {name} a network of its own",
            )
        return owner


class _Watch:
    """What one watcher has told: the sandboxes of the running containers, by their ids."""

    def __init__(
        self, kind: str, api: EngineApi, inspect: Callable[[str], Awaitable[Sandbox | None]], found: dict[str, Sandbox]
    ) -> None:
        self._kind = kind
        self._api = api
        self._inspect = inspect
        self._found = found
        self._known = dict(found)

    async def events(self) -> AsyncIterator[SandboxEvent]:
        presence = Presence(self._api.path)
        try:
            while True:
                await presence.wait()
                async with aclosing(self._connected()) as events:
                    try:
                        async for event in events:
                            yield event
                    except Unreachable:
                        continue
        finally:
            presence.close()

    async def _connected(self) -> AsyncGenerator[SandboxEvent, None]:
        """Yield until the engine goes away. The stream is open before the list is read, so that nothing falls in between."""
        async with self._api.events(filters=EVENTS) as stream:
            running = await self._running()
            for identifier in [i for i in self._known if i not in running]:
                yield self._gone(identifier)
            for identifier, found in running.items():
                if (event := self._come(identifier, found)) is not None:
                    yield event
            async for told in stream:
                if (event := await self._event(told)) is not None:
                    yield event

    async def _running(self) -> Mapping[str, Sandbox]:
        listed = await self._api.get("/containers/json")
        found = {one["Id"]: await self._own(one["Id"]) for one in listed}
        return {identifier: one for identifier, one in found.items() if one is not None}

    async def _event(self, told: Json) -> SandboxEvent | None:
        actor = told.get("Actor", {})
        identifier, attributes = actor.get("ID", ""), actor.get("Attributes", {})
        action = told.get("Action", "")
        if action == "rename":
            return self._renamed(identifier, attributes)
        if action == "die":
            return self._gone(identifier) if identifier in self._known or identifier in self._found else None
        if action == "destroy":
            return SandboxEvent(container=f"{self._kind}:{attributes.get('name', '').lstrip('/')}", sandbox=None)
        found = await self._own(identifier)
        return None if found is None else self._come(identifier, found)

    async def _own(self, identifier: str) -> Sandbox | None:
        """Return the sandbox of a container that has one of its own."""
        try:
            found = await self._inspect(identifier)
        except Unreachable:
            raise
        except WeftedError:
            return None
        return found if found is not None and found.id == identifier else None

    def _come(self, identifier: str, found: Sandbox) -> SandboxEvent | None:
        before = self._known.get(identifier)
        self._known[identifier] = found
        if before == found:
            return None
        renamed = before.container if before is not None and before.container != found.container else ""
        return SandboxEvent(container=found.container, sandbox=found, renamed=renamed)

    def _gone(self, identifier: str) -> SandboxEvent:
        found = self._found.pop(identifier, None)
        known = self._known.pop(identifier, None) or found
        assert known is not None, "somebody knows it"
        return SandboxEvent(container=known.container, sandbox=None)

    def _renamed(self, identifier: str, attributes: Mapping[str, str]) -> SandboxEvent | None:
        old, new = (f"{self._kind}:{attributes.get(key, '').lstrip('/')}" for key in ("oldName", "name"))
        found = self._known.get(identifier)
        if found is not None:
            found = self._known[identifier] = replace(found, container=new)
        return SandboxEvent(container=new, sandbox=found, renamed=old)


def _ways(name: str) -> list[dict[str, list[str]]]:
    """Return the filters to try, as the engine's own commands would take the word: a name before the beginning of an id."""
    if "=" in name:
        return [{"label": [name]}]
    ways = [{"name": [f"^/?{re.escape(name)}$"]}]
    return [*ways, {"id": [name]}] if re.fullmatch(r"[0-9a-f]{1,64}", name) else ways


def _means(name: str, filters: Json, listed: Json) -> bool:
    """Whether a container is what was asked for: engines differ in how loosely they take a filter."""
    if "id" in filters:
        return str(listed["Id"]).startswith(name)
    return "label" in filters or f"/{name}" in (listed.get("Names") or ())


def _listed_name(listed: Json) -> str:
    return str((listed.get("Names") or [listed["Id"][:12]])[0]).lstrip("/")


def _sandbox(container: str, found: Json) -> Sandbox | None:
    """Return the sandbox at the engine's own file for it, which no other process can come to stand at, or at its process's."""
    path = f"/proc/{found['State']['Pid']}/ns/net"
    own = sandbox(container, path)
    if own is None:
        return None
    key = os.path.realpath(found.get("NetworkSettings", {}).get("SandboxKey") or path)
    ns = Netns(key if _same(key, path) else path)
    labels = (found.get("Config") or {}).get("Labels") or {}
    said = tuple(sorted((key, value) for key, value in labels.items() if key.startswith(PREFIX)))
    return Sandbox(container=container, ns=ns, identity=identity_of(ns) or own.identity, id=found["Id"], said=said)


def _same(path: str, other: str) -> bool:
    try:
        return path.startswith("/") and os.path.samefile(path, other)
    except OSError:
        return False
