"""A process's namespace, whoever started it: `pid:4242`. It is gone when the process is (`pidfd_open(2)` tells when)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from wefted.errors import UsageError
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

from .nsfs import identity, refuse_host


class PidRuntime:
    """Implements `Runtime`; it watches the processes that `find` was asked for."""

    kind = "pid"

    def __init__(self) -> None:
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        self._watched: set[str] = set()

    async def find(self, name: str) -> Sandbox | None:
        if not (name.isascii() and name.isdigit()):
            raise UsageError(f"pid:{name} is not a process number", "as in pid:4242")
        path = f"/proc/{int(name)}/ns/net"
        found = identity(path)
        if not found:
            return None
        container = f"pid:{int(name)}"
        refuse_host(container, found)
        self._follow(container, int(name))
        return Sandbox(container=container, ns=Netns(path), identity=found)

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        while True:
            yield SandboxEvent(container=await self._ended.get(), sandbox=None)

    def _follow(self, container: str, pid: int) -> None:
        if container in self._watched:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._ended.put_nowait(container)
            return
        self._watched.add(container)
        loop = asyncio.get_running_loop()

        def over() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._watched.discard(container)
            self._ended.put_nowait(container)

        loop.add_reader(descriptor, over)
