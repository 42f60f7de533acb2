"""systemd-nspawn: the machines that systemd-machined has registered, and those that run without it.

A registered machine is a file of KEY=VALUE below /run/systemd/machines. With `--register=no`, or where no machined runs, there
is only the directory that nspawn makes for each machine below /run/systemd/nspawn/propagate and mounts inside at
/run/host/incoming (src/nspawn/nspawn.c, mount_tunnel_dig): the mounts of a machine's first process tell its name, whatever the
command line was, and also when nspawn was killed and the machine runs on. A directory that is left behind is no machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .processes import firsts, parent, processes
from .statefiles import Entry, StateFilesRuntime

MACHINES = "/run/systemd/machines"
TUNNELS = "/run/systemd/nspawn/propagate"
SUPERVISOR = "systemd-nspawn"
_MOUNTED = re.compile(r" \S*/systemd/nspawn/propagate/([^/ ]+) /run/host/incoming ")


class NspawnFiles:
    """Implements `StateFiles`. Beside its file a machine has links, `unit:NAME`; virtual machines are no containers."""

    kind = "nspawn"

    def __init__(self, machines: str = MACHINES, tunnels: str = TUNNELS, proc: str = "/proc") -> None:
        self._machines = Path(machines)
        self._tunnels = Path(tunnels)
        self._proc = Path(proc)

    def directories(self) -> Sequence[str]:
        there = [str(path) for path in (self._machines, self._tunnels) if path.is_dir()]
        return there or [str(self._tunnels)]

    def entries(self) -> Iterable[Entry]:
        found = {path.name: _settings(path) for path in self._files()}
        registered = [_entry(name, told) for name, told in found.items() if told.get("CLASS", "container") == "container"]
        return [*registered, *self._unregistered(found.keys())]

    def _files(self) -> list[Path]:
        """Return the registrations; while one is written it has a name that begins with a dot."""
        try:
            return sorted(p for p in self._machines.iterdir() if p.is_file() and ":" not in p.name and p.name[0] not in ".#")
        except OSError:
            return []

    def _unregistered(self, registered: Iterable[str]) -> Iterator[Entry]:
        """Yield the machines that machined does not know; without a process only while an nspawn is not ready with one."""
        names = _names(self._tunnels) - set(registered)
        if not names:
            return
        supervisors = set(processes(self._proc, SUPERVISOR))
        # The first process is still called nspawn while it makes its network namespace (nspawn.c, inner_child).
        ready = [pid for pid in firsts(self._proc) if pid not in supervisors]
        leaders = {name: pid for pid in ready if (name := self._machine(pid))}
        begins = not supervisors <= {parent(self._proc, pid) for pid in leaders.values()}
        for name in sorted(names):
            if name in leaders or begins:
                yield Entry(name=name, pid=leaders.get(name, 0))

    def _machine(self, leader: int) -> str:
        try:
            found = _MOUNTED.search((self._proc / str(leader) / "mountinfo").read_text())
        except OSError:
            return ""
        return found[1] if found else ""


class NspawnRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind nspawn."""

    def __init__(self, files: NspawnFiles | None = None) -> None:
        super().__init__(files or NspawnFiles())


def _entry(name: str, told: Mapping[str, str]) -> Entry:
    leader = told.get("LEADER", "")
    pid = int(leader) if leader.isdecimal() and os.path.exists(f"/proc/{leader}/ns/net") else 0
    return Entry(name=told.get("NAME", name), pid=pid, order=(told.get("REALTIME", "").zfill(20),))


def _names(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except OSError:
        return set()


def _settings(path: Path) -> Mapping[str, str]:
    try:
        pairs = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
        return {key: value.strip('"') for key, _, value in pairs}
    except OSError:
        return {}
