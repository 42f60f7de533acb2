"""Processes: a container is the namespace in which a process runs, for as long as it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from wefted.model import spec
from wefted.model.sandbox import Sandbox, SandboxEvent

from .namespace import sandbox


class PidRuntime:
    """Implements `Runtime` for kind pid. Nobody could want to hear of every process: it watches those that were looked for."""

    kind = "pid"

    def __init__(self) -> None:
        self._asked: set[int] = set()
        self._watches: set[_Watch] = set()

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of a running process. Raises `UsageError` for what is no PID, and for the host's own namespace."""
        spec.container(f"{self.kind}:{name}")
        found = sandbox(f"{self.kind}:{name}", f"/proc/{name}/ns/net")
        if found is None:
            self._asked.discard(int(name))
        else:
            self._asked.add(int(name))
            for watch in self._watches:
                watch.follow(int(name))
        return found

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield the end of each process that was looked for, before this call or after."""
        return self._events()

    async def _events(self) -> AsyncIterator[SandboxEvent]:
        watch = _Watch()
        self._watches.add(watch)
        try:
            for pid in self._asked:
                watch.follow(pid)
            while True:
                pid = await watch.ended.get()
                self._asked.discard(pid)
                yield SandboxEvent(container=f"{self.kind}:{pid}", sandbox=None)
        finally:
            self._watches.discard(watch)
            watch.close()


class _Watch:
    """The processes that one watcher waits for, each by a descriptor that becomes readable at its end (man 2 pidfd_open)."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._descriptors: dict[int, int] = {}

    def follow(self, pid: int) -> None:
        if pid in self._descriptors:
            return
        try:
            descriptor = self._descriptors[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            self.ended.put_nowait(pid)
            return
        self._loop.add_reader(descriptor, self._end, pid)

    def close(self) -> None:
        for pid in list(self._descriptors):
            self._forget(pid)

    def _end(self, pid: int) -> None:
        self._forget(pid)
        self.ended.put_nowait(pid)

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
