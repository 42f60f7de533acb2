"""podman (of root): its containers from its own files, whether or not its service runs.

Names are in containers.json of its storage (containers-storage(1)), first processes in the pidfile that the OCI runtime writes,
and what runs has an entry below /run/crun or /run/runc, where these keep their state. Labels are in a database of podman's own;
only its service tells them.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wefted.errors import NotFound, UsageError, WeftedError
from wefted.model import spec
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.model.wishes import PREFIX

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

    def exists(self, identifier: str) -> bool:
        """Tell whether podman has a container, running or not."""
        return any(one.get("id") == identifier for path in self._lists() for one in _listed(path))

    def annotations(self, identifier: str) -> Mapping[str, str]:
        """Return what the container's OCI configuration says; labels are not in it."""
        for path in self._lists():
            try:
                config = json.loads((self._graph / path.parent.name / identifier / "userdata/config.json").read_bytes())
                return dict(config.get("annotations") or {})
            except (OSError, ValueError):
                continue
        return {}

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
    """Implements `Runtime` and `Kept` for kind podman."""

    def __init__(self, files: PodmanFiles | None = None, socket: str = SOCKET) -> None:
        self._podman = files or PodmanFiles()
        super().__init__(self._podman)
        self._api = EngineApi(self.kind, socket)

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of the container of this name, id, beginning of an id; or label, while podman's service runs."""
        spec.container(f"{self.kind}:{name}")
        found = await super().find(await self._labelled(name) if "=" in name else name)
        return None if found is None else await self._with_words(found)

    async def exists(self, identifier: str) -> bool:
        """Tell whether a container, running or not, has not been removed."""
        self._require()
        return self._podman.exists(identifier)

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield what runs, then what comes and goes, with its annotations; and its labels, while podman's service runs."""
        return self._telling(super().watch())

    async def _telling(self, events: AsyncIterator[SandboxEvent]) -> AsyncIterator[SandboxEvent]:
        async for event in events:
            sandbox = event.sandbox
            yield event if sandbox is None else replace(event, sandbox=await self._with_words(sandbox))

    async def _with_words(self, sandbox: Sandbox) -> Sandbox:
        said = {**self._podman.annotations(sandbox.id), **await self._labels(sandbox.id)}
        return replace(sandbox, said=tuple(sorted((key, value) for key, value in said.items() if key.startswith(PREFIX))))

    async def _labels(self, identifier: str) -> Mapping[str, str]:
        try:
            self._api.require()
            found = await self._api.get(f"/containers/{identifier}/json")
        except WeftedError:
            return {}
        return dict((found.get("Config") or {}).get("Labels") or {})

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
