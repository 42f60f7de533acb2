"""Container engines: names to sandboxes, and their coming and going. `RUNTIMES` is the one line that a new engine adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wefted.interfaces import Runtime

from .netns import NetnsRuntime
from .path import PathRuntime
from .pid import PidRuntime

RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    "netns": NetnsRuntime,
    "pid": PidRuntime,
    "path": PathRuntime,
}
"""In the order in which a bare name is looked for."""
