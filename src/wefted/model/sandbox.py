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


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxEvent:
    """A container came (`sandbox` is set) or went (it is None)."""

    container: str
    sandbox: Sandbox | None
