"""podman (of root): its containers from its own files, whether or not its service runs.

Names are in containers.json of its storage (containers-storage(1)), first processes in the pidfile that the OCI runtime writes,
and what runs has an entry below /run/crun or /run/runc, where these keep their state. Labels are in a database of podman's own;
only its service tells them.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from wefted.errors import NotFound, UsageError
from wefted.model import spec
from wefted.model.sandbox import Sandbox

from .engineapi import EngineApi
from .statefiles import Entry, StateFilesRuntime, pid_in

SOCKET = "/run/podman/podman.sock"
SETTINGS = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
GRAPH_ROOT, RUN_ROOT = "/var/lib/containers/storage", "/run/containers/storage"
OCI_RUNTIMES = ("/run/crun", "/run/runc", "/run/krun")


class PodmanFiles:
    """Implements `StateFiles`."""

    kind = "podman"

    def __init__(self, runtimes: Sequence[str] = OCI_RUNTIMES, settings: Sequence[str] = SETTINGS) -> None:
        self._runtimes = runtimes
        self._settings = settings

    def directories(self) -> Sequence[str]:
        lists = sorted({str(path.parent) for path in self._lists()})
        return [*(lists or [str(self._graph / "overlay-containers")]), *self._runtimes]

    def entries(self) -> Iterable[Entry]:
        for path in self._lists():
            for container in _listed(path):
                entry = self._entry(container, path.parent.name)
                if entry is not None:
                    yield entry

    def _entry(self, container: Mapping[str, Any], directory: str) -> Entry | None:
        """Return a container that runs, or is about to."""
        identifier = container.get("id", "")
        if not identifier or not any(os.path.isdir(f"{runtime}/{identifier}") for runtime in self._runtimes):
            return None
        return Entry(
            name=(container.get("names") or [identifier[:12]])[0],
            id=identifier,
            pid=pid_in(self._run / directory / identifier / "userdata" / "pidfile"),
            order=(container.get("created", ""),),
        )

    def _lists(self) -> Iterator[Path]:
        yield from sorted(self._graph.glob("*-containers/containers.json"))
        yield from sorted(self._run.glob("*-containers/volatile-containers.json"))

    @property
    def _graph(self) -> Path:
        return Path(self._storage.get("graphroot", GRAPH_ROOT))

    @property
    def _run(self) -> Path:
        return Path(self._storage.get("runroot", RUN_ROOT))

    @cached_property
    def _storage(self) -> Mapping[str, str]:
        for path in self._settings:
            try:
                return dict(tomllib.loads(Path(path).read_text()).get("storage", {}))
            except (OSError, ValueError):
                continue
        return {}


class PodmanRuntime(StateFilesRuntime):
    """Implements `Runtime` for kind podman."""

    def __init__(self, files: PodmanFiles | None = None, socket: str = SOCKET) -> None:
        super().__init__(files or PodmanFiles())
        self._api = EngineApi(self.kind, socket)

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of the container of this name, id, beginning of an id; or label, while podman's service runs."""
        spec.container(f"{self.kind}:{name}")
        return await super().find(await self._labelled(name) if "=" in name else name)

    async def _labelled(self, label: str) -> str:
        """Return the id of the only container with a label, or the label where there is none."""
        try:
            self._api.require()
        except NotFound as error:
            hint = "give the container's name, or start the service: systemctl start podman.socket"
            raise UsageError(
                f"the labels of podman's containers are known to its service alone: {error.message}", hint
            ) from None
        found = await self._api.get("/containers/json", filters={"label": [label]})
        if len(found) > 1:
            raise UsageError(f"container {self.kind}:{label} may be any of {len(found)}", "give its name")
        return str(found[0]["Id"]) if found else label


def _listed(path: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(path.read_text() or "[]")
    except (OSError, ValueError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
