"""A container engine in memory. It passes `wefted.testing.runtime_contract`, as the real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import count

from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent


class FakeRuntime:
    """Implements `Runtime` and `Kept`. Containers come and go by `add` and `remove`, and are called otherwise by `rename`."""

    def __init__(self, kind: str = "netns") -> None:
        self.kind = kind
        self._sandboxes: dict[str, Sandbox] = {}
        self._sharing: set[str] = set()
        self._watchers: list[asyncio.Queue[SandboxEvent]] = []
        self._numbers = count(1)
        self._identifiers: dict[str, str] = {}

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of a container that was added. Raises `UsageError` for a bad name, and where it was told to."""
        spec.container(f"{self.kind}:{name}")
        if name in self._sharing:
            raise UsageError(f"container {self.kind}:{name} shares the host's network")
        return self._sandboxes.get(name) or next((s for s in self._sandboxes.values() if name and s.id.startswith(name)), None)

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what comes and goes from the moment of this call on."""
        queue: asyncio.Queue[SandboxEvent] = asyncio.Queue()
        self._watchers.append(queue)
        return self._events(queue)

    async def exists(self, identifier: str) -> bool:
        """Tell whether a container has not been forgotten."""
        return identifier in self._identifiers.values()

    def add(self, name: str, ns: str = "", said: Mapping[str, str] | None = None) -> Sandbox:
        """Start a container, again if it runs; its namespace stands at `ns`, and is another one each time."""
        container = f"{self.kind}:{name}"
        path = Netns(ns or f"/run/fake/{self.kind}/{name}")
        identifier = self._identifiers.setdefault(name, f"{next(self._numbers):064x}"[::-1])
        words = None if said is None else tuple(sorted(said.items()))
        sandbox = Sandbox(container=container, ns=path, identity=f"fake:{next(self._numbers)}", id=identifier, said=words)
        self._sandboxes[name] = sandbox
        self._tell(SandboxEvent(container=container, sandbox=sandbox))
        return sandbox

    def remove(self, name: str) -> None:
        """Stop a container. Raises `KeyError` when it does not run."""
        del self._sandboxes[name]
        self._tell(SandboxEvent(container=f"{self.kind}:{name}", sandbox=None))

    def rename(self, name: str, new: str) -> None:
        """Call a container otherwise, whether it runs or not; the new name belongs to nobody."""
        container = f"{self.kind}:{new}"
        self._identifiers[new] = self._identifiers.pop(name)
        if name in self._sandboxes:
            self._sandboxes[new] = replace(self._sandboxes.pop(name), container=container)
        self._tell(SandboxEvent(container=container, sandbox=self._sandboxes.get(new), renamed=f"{self.kind}:{name}"))

    def forget(self, name: str) -> None:
        """Let the next container of this name be another one, as after `docker rm`."""
        self._identifiers.pop(name, None)

    def share_host(self, name: str) -> None:
        """Start a container that has no namespace of its own."""
        self._sharing.add(name)

    def _tell(self, event: SandboxEvent) -> None:
        for queue in self._watchers:
            queue.put_nowait(event)

    async def _events(self, queue: asyncio.Queue[SandboxEvent]) -> AsyncIterator[SandboxEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(queue)
