"""Sandboxes: the network namespaces of containers, as their runtimes report them."""

from __future__ import annotations

from dataclasses import dataclass

from .objects import Netns


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A running container's namespace. `identity` differs when a namespace is re-created under the same path."""

    container: str
    """Canonical: `netns:c1`, `pid:4242`, `path:/proc/4242/ns/net`, `docker:web1`."""
    ns: Netns
    identity: str
    id: str = ""
    """The engine's own identifier, which a container keeps when it is renamed; empty where there is none."""
    said: tuple[tuple[str, str], ...] | None = None
    """Those of its labels that concern us (`model.wishes`), sorted; None where its engine does not tell labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxEvent:
    """A container came (`sandbox` is set), went (it is None), or was renamed, running or not."""

    container: str
    sandbox: Sandbox | None
    renamed: str = ""
    """The name that it had before, in full; empty unless it was renamed."""
