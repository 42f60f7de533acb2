"""Named network namespaces, as `ip netns add` makes them: a container is a file in /run/netns."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import PurePath

from wefted.model import spec
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

from .inotify import Inotify
from .namespace import identity_of, is_own, sandbox

FIRST_WAIT = 0.001
SLOWEST_WAIT = 1.0
"""Seconds between two looks at a file on which no namespace has been bound yet: `ip netns add` binds after it has created."""
RESCAN = 10.0
"""Seconds after which everything is looked at again: a mount over the directory or a file makes no event."""


class NetnsRuntime:
    """Implements `Runtime` for kind netns. The directory need not exist; it is never made."""

    kind = "netns"

    def __init__(self, directory: str = "/run/netns") -> None:
        self._directory = directory

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of a named namespace. Raises `UsageError` for a bad name and for the host's own namespace."""
        spec.container(f"{self.kind}:{name}")
        return sandbox(f"{self.kind}:{name}", self._path(name))

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what comes and goes from the moment of this call on."""
        return _Watch(self._directory, self.kind).events()

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


class _Watch:
    """What one watcher knows: the namespaces that it has told of, and the files that may become one."""

    def __init__(self, directory: str, kind: str) -> None:
        self._directory = directory
        self._kind = kind
        self._inotify = Inotify()
        self._place: tuple[int, int] | None = None
        self._settle()
        self._known = {name: identity for name in self._names() if (identity := self._identity(name)) is not None}
        self._unbound = {name for name in self._names() if name not in self._known}
        self._delay = FIRST_WAIT

    async def events(self) -> AsyncIterator[SandboxEvent]:
        try:
            while True:
                names = await self._inotify.wait(self._timeout())
                if names is None or self._place is None or self._place != _place(self._directory):
                    self._settle()
                    names = None
                for event in self._look(self._candidates(names)):
                    yield event
        finally:
            self._inotify.close()

    def _timeout(self) -> float:
        if not self._unbound:
            return RESCAN
        self._delay = min(self._delay * 2, SLOWEST_WAIT)
        return self._delay

    def _candidates(self, names: set[str] | None) -> Iterable[str]:
        """Return which names to look at: those that changed, or all of them after a silence or a lost watch."""
        if names:
            self._delay = FIRST_WAIT
        quiet = not names and (names is None or not self._unbound or self._delay >= SLOWEST_WAIT)
        everything = {*self._known, *self._names()} if quiet else set()
        return sorted(everything | self._unbound | (names or set()))

    def _look(self, names: Iterable[str]) -> Iterator[SandboxEvent]:
        for name in names:
            identity = self._identity(name)
            self._note_unbound(name, identity)
            if identity == self._known.get(name):
                continue
            container = f"{self._kind}:{name}"
            if identity is None:
                del self._known[name]
                yield SandboxEvent(container=container, sandbox=None)
            else:
                self._known[name] = identity
                found = Sandbox(container=container, ns=Netns(self._path(name)), identity=identity)
                yield SandboxEvent(container=container, sandbox=found)

    def _note_unbound(self, name: str, identity: str | None) -> None:
        if identity is None and os.path.lexists(self._path(name)):
            self._unbound.add(name)
        else:
            self._unbound.discard(name)

    def _settle(self) -> None:
        """Watch the directory, or where it does not exist the nearest one above in which it may appear."""
        way = [self._directory, *map(str, PurePath(self._directory).parents)]
        found = 0
        while not self._inotify.follow(way[found]):
            found += 1
        if found and os.path.isdir(way[found - 1]):
            self._settle()
        else:
            self._place = None if found else _place(self._directory)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except OSError:
            return []

    def _identity(self, name: str) -> str | None:
        path = self._path(name)
        return None if not name or is_own(path) else identity_of(path)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _place(directory: str) -> tuple[int, int] | None:
    """Return which directory stands at a path: another one may be mounted or made there."""
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino
