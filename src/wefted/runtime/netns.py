"""Named network namespaces, as `ip netns add` makes them: `netns:c1` is /run/netns/c1."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

from .inotify import Inotify
from .nsfs import identity, refuse_host

MOUNT_WAIT = 1.0
"""Seconds between the creation of the file and the mount on it, at most."""


class NetnsRuntime:
    """Implements `Runtime`."""

    kind = "netns"

    def __init__(self, directory: str = "/run/netns") -> None:
        self._directory = directory
        self._dead: set[str] = set()
        """Names of files that never became namespaces: they are not waited for again."""

    async def find(self, name: str) -> Sandbox | None:
        found = self._look(name)
        if found is not None:
            refuse_host(found.container, found.identity)
        return found

    async def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield an event for each namespace that is made or removed. The directory may appear later."""
        known = self._all()
        while True:
            with Inotify() as events:
                events.add(_nearest_directory(self._directory))
                while True:
                    now = await self._mounted()
                    for event in _difference(known, now):
                        yield event
                    known = now
                    watching_parent = not events.watches(self._directory)
                    await events.wait()
                    if watching_parent and _nearest_directory(self._directory) == self._directory:
                        break

    def _look(self, name: str) -> Sandbox | None:
        path = f"{self._directory}/{_checked(name)}"
        found = identity(path)
        return Sandbox(container=f"netns:{name}", ns=Netns(path), identity=found) if found else None

    def _all(self) -> dict[str, Sandbox]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return {}
        found = (self._look(name) for name in names if _is_name(name))
        return {sandbox.container: sandbox for sandbox in found if sandbox is not None}

    async def _mounted(self) -> dict[str, Sandbox]:
        """Return what is there, once every new file has become a namespace (or did not in time)."""
        end = asyncio.get_running_loop().time() + MOUNT_WAIT
        while True:
            now = self._all()
            bare = {name for name in _names(self._directory) if f"netns:{name}" not in now}
            if bare <= self._dead or asyncio.get_running_loop().time() > end:
                self._dead = bare
                return now
            await asyncio.sleep(0.002)


def _checked(name: str) -> str:
    return spec.container(f"netns:{name}").name


def _is_name(name: str) -> bool:
    try:
        _checked(name)
    except UsageError:
        return False  # somebody's file of another kind
    return True


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if _is_name(name)]
    except OSError:
        return []


def _nearest_directory(path: str) -> str:
    """Return the path, or the nearest directory above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _difference(before: dict[str, Sandbox], after: dict[str, Sandbox]) -> list[SandboxEvent]:
    gone = [SandboxEvent(container=name, sandbox=None) for name in before if name not in after]
    come = [SandboxEvent(container=name, sandbox=new) for name, new in after.items() if before.get(name) != new]
    return gone + come
