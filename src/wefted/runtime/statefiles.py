"""Engines whose state is told by files: each container has an entry in some directory, and a first process.

What is common to them: reading all entries anew whenever an entry of the directories changes or a first process ends, and
telling the difference. Containers that live in one namespace (`--net container:x`, pods) are one sandbox, that of the first
of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from wefted.errors import NotFound, UsageError
from wefted.model import spec
from wefted.model.sandbox import Sandbox, SandboxEvent

from .inotify import Inotify
from .namespace import is_own, sandbox

FIRST_WAIT = 0.002
SLOWEST_WAIT = 1.0
"""Seconds between two looks while an entry has no process yet: engines make the entry first."""
RESCAN = 10.0
"""Seconds after which everything is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A container as its engine has written it down. `pid` is 0 until its first process runs; `order` says who came first."""

    name: str
    id: str = ""
    pid: int = 0
    order: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    """None: this engine's files do not tell them."""


class StateFiles(Protocol):
    """Where an engine keeps its containers."""

    kind: str

    def directories(self) -> Sequence[str]:
        """Return the directories whose entries come and go with containers; the first one is there whenever the engine is."""

    def entries(self) -> Iterable[Entry]:
        """Return what is written down now."""


class StateFilesRuntime:
    """Implements `Runtime` on the files of an engine."""

    def __init__(self, files: StateFiles) -> None:
        self.kind = files.kind
        self._files = files
        self._found: dict[str, Sandbox] = {}
        """What somebody knows, by name: of its end he must hear, also if it comes before a watch has begun."""

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of the container of this name, id, beginning of an id, or label."""
        spec.container(f"{self.kind}:{name}")
        entries = [entry for entry in self._files.entries() if entry.pid]
        if not entries:
            self._require()
        chosen = chosen_entry(self.kind, name, entries)
        found = None if chosen is None else _owners(self.kind, entries).get(chosen.pid) or _sandbox(self.kind, chosen)
        if found is not None:
            self._found[found.container] = found
        return found

    def _require(self) -> None:
        directories = self._files.directories()
        if not any(map(os.path.isdir, directories)):
            raise NotFound(f"{self.kind} has no containers on this host: there is no {directories[0]}", "see whether it runs")

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what runs, then what comes and goes."""
        return _Watch(self._files, self._found).events()


class _Watch:
    """What one watcher has told, by name, and the processes whose end it waits for."""

    def __init__(self, files: StateFiles, found: dict[str, Sandbox]) -> None:
        self._files = files
        self._found = found
        self._known = dict(found)
        self._inotify = Inotify()
        self._ends = _Ends(self._inotify)
        self._delay = FIRST_WAIT

    async def events(self) -> AsyncIterator[SandboxEvent]:
        try:
            while True:
                self._inotify.follow(*{_nearest(directory) for directory in self._files.directories()})
                for event in self._look():
                    yield event
                changed = await self._inotify.wait(self._delay if self._unready else RESCAN)
                self._delay = FIRST_WAIT if changed or changed is None else min(self._delay * 2, SLOWEST_WAIT)
        finally:
            self._ends.close()
            self._inotify.close()

    def _look(self) -> Iterator[SandboxEvent]:
        entries = list(self._files.entries())
        self._unready = not all(entry.pid for entry in entries)
        running = {one.container: one for one in _owners(self._files.kind, entries).values()}
        self._ends.follow({entry.pid for entry in entries if entry.pid})
        renamed = self._renamed(running)
        # What somebody has found may have come and gone between two looks.
        for container in [c for c in {**self._found, **self._known} if c not in running]:
            self._known.pop(container, None)
            self._found.pop(container, None)
            if container not in renamed.values():
                yield SandboxEvent(container=container, sandbox=None)
        for container, found in running.items():
            if self._known.get(container) != found:
                self._known[container] = found
                yield SandboxEvent(container=container, sandbox=found, renamed=renamed.get(container, ""))

    def _renamed(self, running: Mapping[str, Sandbox]) -> dict[str, str]:
        """Return the old name by the new one, for those that have another name than when they were told."""
        names = {one.id: name for name, one in self._known.items() if one.id}
        return {name: names[one.id] for name, one in running.items() if names.get(one.id, name) != name}


class _Ends:
    """Descriptors of processes, which wake the watcher at their end (pidfd_open(2))."""

    def __init__(self, inotify: Inotify) -> None:
        self._wake = inotify.wake
        self._loop = asyncio.get_running_loop()
        self._descriptors: dict[int, int] = {}

    def follow(self, pids: set[int]) -> None:
        for pid in self._descriptors.keys() - pids:
            self._forget(pid)
        for pid in pids - self._descriptors.keys():
            try:
                descriptor = self._descriptors[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self._loop.add_reader(descriptor, self._end, pid)

    def close(self) -> None:
        self.follow(set())

    def _end(self, pid: int) -> None:
        self._forget(pid)
        self._wake()

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)


def chosen_entry(kind: str, name: str, entries: Sequence[Entry]) -> Entry | None:
    """Return the entry that a word means: a name, or an id, or the beginning of one id, or one label."""
    if "=" in name:
        key, _, value = name.partition("=")
        found = [entry for entry in entries if entry.labels is not None and entry.labels.get(key) == value]
    else:
        found = [entry for entry in entries if entry.name == name] or [e for e in entries if e.id.startswith(name) and e.id]
    if len(found) > 1:
        names = ", ".join(sorted(entry.name for entry in found))
        raise UsageError(f"container {kind}:{name} may be any of {names}", "give its name")
    return found[0] if found else None


def pid_in(path: Path) -> int:
    """Return the number in a file, if it is that of a process that runs; else 0."""
    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return 0
    return pid if pid > 0 and os.path.exists(f"/proc/{pid}/ns/net") else 0


def _owners(kind: str, entries: Iterable[Entry]) -> dict[int, Sandbox]:
    """Return, by the first process of each entry, the sandbox that it lives in: that of the first entry in its namespace."""
    owners: dict[str, Sandbox] = {}
    found = {}
    for entry in sorted(entries, key=lambda entry: (entry.order, entry.name)):
        path = f"/proc/{entry.pid}/ns/net"
        one = None if not entry.pid or is_own(path) else _sandbox(kind, entry)
        if one is not None:
            found[entry.pid] = owners.setdefault(one.identity.rpartition(":")[0], one)
    return found


def _sandbox(kind: str, entry: Entry) -> Sandbox | None:
    found = sandbox(f"{kind}:{entry.name}", f"/proc/{entry.pid}/ns/net")
    return found and Sandbox(container=found.container, ns=found.ns, identity=found.identity, id=entry.id)


def _nearest(directory: str) -> str:
    way = [directory, *map(str, PurePath(directory).parents)]
    return next(one for one in way if os.path.isdir(one))
