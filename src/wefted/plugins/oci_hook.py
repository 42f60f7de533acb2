"""The createRuntime hook of OCI runtimes: the container's namespaces are there, and nothing runs in it yet.

The runtime hands us the container's state (OCI Runtime Specification 1.0.2, "State"). To which networks it belongs say its
annotations, the labels that Docker keeps for it, or its environment. A container that says nothing, or that shares the host's
network, is left alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wefted.errors import UsageError, WeftedError
from wefted.interfaces import Engine
from wefted.model.wishes import Wish, wishes
from wefted.runtime.namespace import is_own

from .door import Answer, Call

log = logging.getLogger("wefted.oci")

DOCKER = Path("/var/lib/docker/containers")
"""Docker hands no labels to its runtime, but it has them on disk before it starts one."""


async def answer(engine: Engine, call: Call) -> Answer:
    """Attach a container that is about to start. What fails fails its start: it asked for a network."""
    try:
        identifier, pid, said = _decoded(call.bytes)
        await _attach(engine, identifier, f"/proc/{pid}/ns/net", wishes(said))
    except WeftedError as error:
        return Answer(exit_code=1, output={"error": error.message, "hint": error.hint})
    except Exception as error:
        log.exception("defect")
        return Answer(exit_code=1, output={"error": f"a defect in wefted: {error!r:.200}", "hint": "see the agent's log"})
    return Answer()


async def _attach(engine: Engine, identifier: str, netns: str, wanted: Sequence[Wish]) -> None:
    if not wanted:
        return
    if is_own(netns):
        log.info("a container in the host's network is left alone", extra={"container": identifier})
        return
    done: list[str] = []
    try:
        for wish in wanted:
            await engine.call("network.connect", _parameters(wish, identifier, netns))
            done.append(wish.network)
    except WeftedError:
        for network in done:
            await engine.call("network.disconnect", {"network": network, "containers": [f"oci:{identifier}"]})
        raise


def _parameters(wish: Wish, identifier: str, netns: str) -> dict[str, Any]:
    return {
        "network": wish.network,
        "containers": [f"oci:{identifier}"],
        "netns": netns,
        "ip": list(wish.ip),
        "aliases": list(wish.aliases),
        "publish": list(wish.publish),
    }


def _decoded(state: bytes) -> tuple[str, int, Mapping[str, str]]:
    """Return the container's id, its first process, and what it wants. Raises `UsageError`."""
    value = _object(state)
    identifier, pid, bundle = value.get("id"), value.get("pid"), value.get("bundle", "")
    if not isinstance(identifier, str) or not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        raise UsageError("the state of the container has no id and pid", "this is for the createRuntime hook of an OCI runtime")
    said = dict(_strings(value.get("annotations")))
    for key, text in _of_bundle(bundle if isinstance(bundle, str) else "", identifier):
        said.setdefault(key, text)
    return identifier, pid, said


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the state of the container is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("the state of the container is not a JSON object")
    return value


def _of_bundle(bundle: str, identifier: str) -> Iterator[tuple[str, str]]:
    """Yield what the container's own configuration says, the strongest first: annotations, Docker's labels, environment."""
    config = _file(Path(bundle, "config.json")) if bundle.startswith("/") else {}
    yield from _strings(config.get("annotations"))
    if identifier.isalnum():
        labels = _file(DOCKER / identifier / "config.v2.json").get("Config", {})
        yield from _strings(labels.get("Labels") if isinstance(labels, dict) else None)
    process = config.get("process", {})
    environment = process.get("env") if isinstance(process, dict) else None
    for line in environment if isinstance(environment, list) else ():
        key, equals, value = str(line).partition("=")
        if equals and key.startswith("WEFTED_"):
            yield key.lower().replace("_", ".", 1), value


def _file(path: Path) -> Mapping[str, Any]:
    try:
        return _object(path.read_bytes())
    except (OSError, ValueError, UsageError):
        return {}


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield from ((key, text) for key, text in value.items() if isinstance(text, str))
