"""Finding a container by what a person typed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from wefted.errors import NotFound, UsageError, WeftedError
from wefted.interfaces import Runtime, Told
from wefted.model import spec
from wefted.model.sandbox import Sandbox

_LISTS = {"docker": "docker ps", "podman": "podman ps", "containerd": "ctr task ls", "lxc": "lxc-ls -f", "nspawn": "machinectl"}
UNNAMED = ("pid", "path", "cni", "oci")
"""Kinds whose containers have no name that a person would type, so that a bare one cannot mean them."""


async def find(runtimes: Mapping[str, Runtime], text: str, netns: str = "") -> Sandbox:
    """Return the container's sandbox; a bare name is looked for in all runtimes. `netns` is for a kind that is told.

    Raises `NotFound`, and `UsageError` for a name that several runtimes know or that is no name at all.
    """
    wanted = spec.container(text)
    if netns:
        tell(runtimes, wanted, netns)
    if wanted.kind:
        return await _in(runtimes, wanted)
    return await _anywhere(runtimes, wanted.name)


def tell(runtimes: Mapping[str, Runtime], wanted: spec.ContainerSpec, netns: str) -> None:
    """Say where a container's namespace is. Raises `UsageError` for a kind that finds it by itself."""
    runtime = runtimes.get(wanted.kind)
    if not isinstance(runtime, Told):
        raise UsageError(f"container {str(wanted)!r}: its namespace is found by its name", "leave netns out")
    runtime.tell(wanted.name, netns)


def remind(runtimes: Mapping[str, Runtime], container: str, netns: str) -> None:
    """Tell again where a container was: a runtime that is told forgets it with its process."""
    kind, _, name = container.partition(":")
    runtime = runtimes.get(kind)
    if isinstance(runtime, Told) and netns:
        runtime.tell(name, netns)


async def _in(runtimes: Mapping[str, Runtime], wanted: spec.ContainerSpec) -> Sandbox:
    runtime = runtimes.get(wanted.kind)
    if runtime is None:
        raise NotFound(f"container {str(wanted)!r}: this host has no {wanted.kind} runtime", f"it has: {', '.join(runtimes)}")
    found = await runtime.find(wanted.name)
    if found is None:
        raise NotFound(f"there is no running container {str(wanted)!r}", _hint(wanted))
    return found


async def _anywhere(runtimes: Mapping[str, Runtime], name: str) -> Sandbox:
    named = [runtime for kind, runtime in runtimes.items() if kind not in UNNAMED]
    results = await asyncio.gather(*(_tried(runtime, name) for runtime in named))
    found = [result for result in results if isinstance(result, Sandbox)]
    if len(found) > 1:
        raise UsageError(
            f"container {name!r} may be any of {', '.join(sandbox.container for sandbox in found)}",
            f"give the name with its kind, as in {found[0].container}",
        )
    if found:
        return found[0]
    for result in results:
        if isinstance(result, WeftedError) and not isinstance(result, NotFound):
            raise result
    kinds = ", ".join(r.kind for r, result in zip(named, results, strict=True) if not isinstance(result, NotFound))
    raise NotFound(f"there is no running container {name!r} (looked in: {kinds})", "make one: ip netns add " + name)


async def _tried(runtime: Runtime, name: str) -> Sandbox | WeftedError | None:
    """Return what the runtime says: one that does not answer must not hide what another one has."""
    try:
        return await runtime.find(name)
    except WeftedError as error:
        return error


def _hint(wanted: spec.ContainerSpec) -> str:
    if wanted.kind == "netns":
        return f"make it: ip netns add {wanted.name}"
    return (
        f"see what runs: {_LISTS.get(wanted.kind, 'ps')}"
        if wanted.kind != "path"
        else "there must be a network namespace at that path"
    )
