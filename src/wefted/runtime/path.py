"""A namespace by its path: `path:/proc/4242/ns/net`, or wherever somebody mounted it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wefted.errors import UsageError
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

from .nsfs import identity, refuse_host

INTERVAL = 1.0
"""Seconds between two looks: a path may lie anywhere, so there is no directory to watch."""


class PathRuntime:
    """Implements `Runtime`; it looks again at the paths that `find` was asked for."""

    kind = "path"

    def __init__(self) -> None:
        self._known: dict[str, Sandbox | None] = {}

    async def find(self, name: str) -> Sandbox | None:
        if not name.startswith("/") or "\0" in name:
            raise UsageError(f"path:{name} is not an absolute path", "as in path:/proc/4242/ns/net")
        found = self._look(name)
        if found is not None:
            refuse_host(found.container, found.identity)
        self._known[name] = found
        return found

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        while True:
            await asyncio.sleep(INTERVAL)
            for name, before in list(self._known.items()):
                now = self._look(name)
                if now != before:
                    self._known[name] = now
                    yield SandboxEvent(container=f"path:{name}", sandbox=now)

    def _look(self, name: str) -> Sandbox | None:
        found = identity(name)
        return Sandbox(container=f"path:{name}", ns=Netns(name), identity=found) if found else None
