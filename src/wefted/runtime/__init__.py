"""Container engines: from a container's name to its network namespace, and their coming and going."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wefted.interfaces import Runtime

from .netns import NetnsRuntime
from .path import PathRuntime
from .pid import PidRuntime

RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    NetnsRuntime.kind: NetnsRuntime,
    PidRuntime.kind: PidRuntime,
    PathRuntime.kind: PathRuntime,
}
"""A new kind of container engine: one file in this room and one line here."""

__all__ = ["RUNTIMES"]
