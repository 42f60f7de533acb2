"""systemd-nspawn: the machines that are registered, each a file of KEY=VALUE below /run/systemd/machines (systemd-machined)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .statefiles import Entry, StateFilesRuntime

MACHINES = "/run/systemd/machines"


class NspawnFiles:
    """Implements `StateFiles`. Beside its file a machine has links, `unit:NAME`; virtual machines are no containers."""

    kind = "nspawn"

    def __init__(self, machines: str = MACHINES) -> None:
        self._machines = Path(machines)

    def directories(self) -> Sequence[str]:
        return [str(self._machines)]

    def entries(self) -> Iterable[Entry]:
        found = {path.name: _settings(path) for path in self._files()}
        return [_entry(name, told) for name, told in found.items() if told.get("CLASS", "container") == "container"]

    def _files(self) -> list[Path]:
        """Return the registrations; while one is written it has a name that begins with a dot."""
        try:
            return sorted(p for p in self._machines.iterdir() if p.is_file() and ":" not in p.name and p.name[0] not in ".#")
        except OSError:
            return []


class NspawnRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind nspawn."""

    def __init__(self, files: NspawnFiles | None = None) -> None:
        super().__init__(files or NspawnFiles())


def _entry(name: str, told: Mapping[str, str]) -> Entry:
    leader = told.get("LEADER", "")
    pid = int(leader) if leader.isdecimal() and os.path.exists(f"/proc/{leader}/ns/net") else 0
    return Entry(name=told.get("NAME", name), pid=pid, order=(told.get("REALTIME", "").zfill(20),))


def _settings(path: Path) -> Mapping[str, str]:
    try:
        pairs = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
        return {key: value.strip('"') for key, _, value in pairs}
    except OSError:
        return {}
