"""Containers of which an engine tells us: CNI and OCI hooks name a container and the path of its namespace, once, at its start.

Their identity has the boot in it: engines keep files of theirs over a reboot, after which the kernel counts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from wefted.model import spec
from wefted.model.sandbox import Sandbox, SandboxEvent

from .namespace import identity_of, sandbox

INTERVAL = 0.5
"""Seconds between two looks at each namespace: one that goes makes no event in every place where engines keep them."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


class ToldRuntime:
    """Implements `Runtime` and `Told` for one kind."""

    def __init__(self, kind: str, interval: float = INTERVAL, boot: Path = BOOT) -> None:
        self.kind = kind
        self._interval = interval
        self._boot = boot.read_text().strip()
        self._places: dict[str, str] = {}
        self._found: dict[str, str] = {}

    def tell(self, name: str, path: str) -> None:
        """Say at which path the namespace of a container is. Raises `UsageError` for what is no path."""
        spec.container(f"path:{path}")
        self._places[name] = path

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of a container we were told of. Raises `UsageError` for the host's own namespace."""
        spec.container(f"{self.kind}:{name}")
        found = sandbox(f"{self.kind}:{name}", self._places[name]) if name in self._places else None
        if found is None:
            self._forget(name)
            return None
        self._found[name] = found.identity
        return replace(found, identity=f"{self._boot}:{found.identity}")

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield the end of each container that was found, before this call or after."""
        return self._events()

    async def _events(self) -> AsyncIterator[SandboxEvent]:
        while True:
            for event in list(self._gone()):
                yield event
            await asyncio.sleep(self._interval)

    def _gone(self) -> Iterator[SandboxEvent]:
        for name, before in list(self._found.items()):
            if identity_of(self._places[name]) != before:
                self._forget(name)
                yield SandboxEvent(container=f"{self.kind}:{name}", sandbox=None)

    def _forget(self, name: str) -> None:
        self._places.pop(name, None)
        self._found.pop(name, None)
