"""LXC, and LXD and Incus on it: the control groups that hold what runs, `lxc.payload.NAME` (LXC 4 and later) or `lxc/NAME`.

LXC makes them in the group of process 1, and in the root where that is systemd's `init.scope` (cgfsng.c, prune_init_scope).
The first process of a container is the one in its group that is number 1 in its own pid namespace (`NSpid` in
proc_pid_status(5)).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .statefiles import Entry, StateFilesRuntime

HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
"""Where to look: version 2 has one hierarchy; of version 1 any that LXC uses will do."""
PAYLOAD = "lxc.payload."
OLD = "lxc"


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
        return [Entry(name=name, pid=self._first(found)) for name, found in sorted(groups.items())]

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
        return next((pid for pid in sorted(pids) if self._is_first(pid)), 0)

    def _is_first(self, pid: int) -> bool:
        """Whether a process is number 1 of a pid namespace below ours."""
        try:
            lines = (self._proc / str(pid) / "status").read_text().splitlines()
        except OSError:
            return False
        numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
        return len(numbers) > 1 and numbers[-1] == "1"


class LxcRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind lxc."""

    def __init__(self, files: LxcFiles | None = None) -> None:
        super().__init__(files or LxcFiles())


def _groups(hierarchy: Path) -> Iterator[Path]:
    for pattern in (f"{PAYLOAD}*", f"{OLD}/*"):
        yield from (path for path in hierarchy.glob(pattern) if path.is_dir())


def _processes(group: Path) -> Iterator[int]:
    """Yield the processes of a group and of those below, for a container may run an init that makes some."""
    for path in group.rglob("cgroup.procs"):
        try:
            yield from map(int, path.read_text().split())
        except OSError:
            continue
