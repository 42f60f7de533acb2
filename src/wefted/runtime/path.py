"""Paths: a container is whatever namespace stands at an absolute path, as /proc/4242/ns/net or /run/docker/netns/1a2b."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from wefted.model import spec
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

from .namespace import identity_of, is_own, sandbox

INTERVAL = 0.5
"""Seconds between two looks at each path: a file below /proc makes no event when it comes or goes."""


class PathRuntime:
    """Implements `Runtime` for kind path. It watches the paths that were looked for."""

    kind = "path"

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._known: dict[str, str | None] = {}

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox at a path. Raises `UsageError` for one that is not absolute, and for the host's own namespace."""
        spec.container(f"{self.kind}:{name}")
        found = sandbox(f"{self.kind}:{name}", name)
        self._known.setdefault(name, None if found is None else found.identity)
        return found

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what comes and goes at the paths that were looked for, before this call or after."""
        return self._events(dict(self._known))

    async def _events(self, told: dict[str, str | None]) -> AsyncIterator[SandboxEvent]:
        while True:
            for name, identity in self._known.items():
                told.setdefault(name, identity)
            for event in list(self._changes(told)):
                yield event
            await asyncio.sleep(self._interval)

    def _changes(self, told: dict[str, str | None]) -> Iterator[SandboxEvent]:
        for name, before in told.items():
            identity = None if is_own(name) else identity_of(name)
            if identity == before:
                continue
            told[name] = self._known[name] = identity
            container = f"{self.kind}:{name}"
            found = None if identity is None else Sandbox(container=container, ns=Netns(name), identity=identity)
            yield SandboxEvent(container=container, sandbox=found)
