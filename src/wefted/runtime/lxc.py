"""LXC, and LXD and Incus on it: the control groups that hold what runs, `lxc.payload.NAME` (LXC 4 and later) or `lxc/NAME`.

LXC makes them in the group of process 1, and in the root where that is systemd's `init.scope` (cgfsng.c, prune_init_scope).
The first process of a container is the one in its group that is number 1 in its own pid namespace. Where a group of the name
is left from a container whose monitor was killed, the next one is `lxc.payload.NAME-1`; so the name is taken from the title of
the monitor, the parent of that process: `[lxc monitor] LXCPATH NAME` (start.c, lxccontainer.c: do_lxcapi_start).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .processes import is_first, parent, title
from .statefiles import Entry, StateFilesRuntime

HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
"""Where to look: version 2 has one hierarchy; of version 1 any that LXC uses will do."""
PAYLOAD = "lxc.payload."
MONITOR = "lxc.monitor."
OLD = "lxc"
_MONITORING = re.compile(r"\[lxc monitor\] \S.* (\S+)")


class LxcFiles:
    """Implements `StateFiles`."""

    kind = "lxc"

    def __init__(self, hierarchies: Sequence[str] = HIERARCHIES, proc: str = "/proc") -> None:
        self._hierarchies = [Path(hierarchy) for hierarchy in hierarchies]
        self._proc = Path(proc)

    def directories(self) -> Sequence[str]:
        bases = self._bases()
        return [str(base) for base in (*bases, *(base / OLD for base in bases)) if base.is_dir()] or [str(self._hierarchies[0])]

    def entries(self) -> Iterable[Entry]:
        groups: dict[str, list[Path]] = {}
        for base in self._bases():
            for group in _groups(base):
                groups.setdefault(group.name.removeprefix(PAYLOAD), []).append(group)
        found: dict[str, int] = {}
        for name, theirs in sorted(groups.items()):
            first = self._first(theirs)
            if first or any(map(_begins, theirs)):
                called = self._name(first) or name
                found[called] = first or found.get(called, 0)
        return [Entry(name=name, pid=pid) for name, pid in sorted(found.items())]

    def _bases(self) -> list[Path]:
        """Return where LXC makes its groups: in the roots, or in the groups of process 1."""
        try:
            lines = (self._proc / "1" / "cgroup").read_text().splitlines()
        except OSError:
            lines = []
        first = {line.split(":", 2)[-1].removesuffix("/init.scope").lstrip("/") for line in lines}
        found = {hierarchy / group for hierarchy in self._hierarchies for group in {"", *first}}
        return sorted(base for base in found if base.is_dir())

    def _first(self, groups: Iterable[Path]) -> int:
        pids = {pid for group in groups for pid in _processes(group)}
        return next((pid for pid in sorted(pids) if is_first(self._proc, pid)), 0)

    def _name(self, first: int) -> str:
        """Return the name that a container's monitor has in its title; empty where that is not to be seen."""
        found = _MONITORING.fullmatch(title(self._proc, parent(self._proc, first))) if first else None
        return found[1] if found else ""


class LxcRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind lxc."""

    def __init__(self, files: LxcFiles | None = None) -> None:
        super().__init__(files or LxcFiles())


def _groups(hierarchy: Path) -> Iterator[Path]:
    for pattern in (f"{PAYLOAD}*", f"{OLD}/*"):
        with contextlib.suppress(FileNotFoundError):  # the last group below OLD goes, and OLD with it
            yield from (path for path in hierarchy.glob(pattern) if path.is_dir())


def _processes(group: Path) -> Iterator[int]:
    """Yield the processes of a group and of those below, for a container may run an init that makes some."""
    for directory, _, _ in os.walk(group):  # one that goes meanwhile is passed over
        with contextlib.suppress(OSError):
            yield from map(int, Path(directory, "cgroup.procs").read_text().split())


def _begins(group: Path) -> bool:
    """Whether somebody may still put a first process into a group: its monitor, where it has a group of its own, runs."""
    monitor = group.with_name(MONITOR + group.name.removeprefix(PAYLOAD))
    return not group.name.startswith(PAYLOAD) or any(_processes(monitor))
