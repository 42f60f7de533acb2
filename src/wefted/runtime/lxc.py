"""LXC, and LXD and Incus on it: the control groups that hold what runs, `lxc.payload.NAME` (LXC 4 and later) or `lxc/NAME`.

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
        roots = [str(hierarchy) for hierarchy in self._hierarchies if hierarchy.is_dir()]
        old = [str(hierarchy / OLD) for hierarchy in self._hierarchies if (hierarchy / OLD).is_dir()]
        return [*roots, *old] or [str(self._hierarchies[0])]

    def entries(self) -> Iterable[Entry]:
        groups: dict[str, list[Path]] = {}
        for hierarchy in self._hierarchies:
            for group in _groups(hierarchy):
                groups.setdefault(group.name.removeprefix(PAYLOAD), []).append(group)
        return [Entry(name=name, pid=self._first(found)) for name, found in sorted(groups.items())]

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
