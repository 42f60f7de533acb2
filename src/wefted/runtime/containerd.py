"""containerd: the tasks that its shims keep below /run/containerd, each in a directory of its namespace and its id.

A directory holds `init.pid`, and `config.json`, the OCI configuration, whose annotations serve as labels (Kubernetes' CRI puts
the names of pod and container there). The namespace moby is Docker's own: these containers have their names in Docker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .statefiles import Entry, StateFilesRuntime, pid_in

TASKS = "/run/containerd/io.containerd.runtime.v2.task"
DOCKERS = "moby"


class ContainerdFiles:
    """Implements `StateFiles`."""

    kind = "containerd"

    def __init__(self, tasks: str = TASKS) -> None:
        self._tasks = Path(tasks)

    def directories(self) -> Sequence[str]:
        return [str(self._tasks), *map(str, self._namespaces())]

    def entries(self) -> Iterable[Entry]:
        return [self._entry(path) for namespace in self._namespaces() for path in _inside(namespace)]

    def _namespaces(self) -> list[Path]:
        return [path for path in _inside(self._tasks) if path.name != DOCKERS]

    def _entry(self, path: Path) -> Entry:
        return Entry(name=path.name, id=path.name, pid=pid_in(path / "init.pid"), order=_age(path), labels=_annotations(path))


class ContainerdRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind containerd: all its namespaces but Docker's. A container's name is its id."""

    def __init__(self, files: ContainerdFiles | None = None) -> None:
        super().__init__(files or ContainerdFiles())


def _inside(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError:
        return []


def _age(path: Path) -> tuple[str, ...]:
    try:
        return (f"{path.stat().st_ctime_ns:020}",)
    except OSError:
        return ()


def _annotations(path: Path) -> Mapping[str, str]:
    try:
        return dict(json.loads((path / "config.json").read_text()).get("annotations") or {})
    except (OSError, ValueError):
        return {}
