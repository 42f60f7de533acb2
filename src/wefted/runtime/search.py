"""Finding a container by what a person calls it: with its kind, or a bare name in all runtimes."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.errors import NotFound, UsageError
from wefted.interfaces import Runtime
from wefted.model import spec
from wefted.model.sandbox import Sandbox


async def find(runtimes: Mapping[str, Runtime], text: str) -> Sandbox:
    """Return the one running container of this name. Raises `NotFound`, or `UsageError` where there are several."""
    container = spec.container(text)
    if container.kind and container.kind not in runtimes:
        raise NotFound(f"there is no runtime {container.kind!r} here", f"there are: {', '.join(runtimes)}")
    asked = [runtimes[container.kind]] if container.kind else [r for k, r in runtimes.items() if k not in ("pid", "path")]
    found = [sandbox for runtime in asked if (sandbox := await runtime.find(container.name)) is not None]
    if not found:
        raise NotFound(
            f"there is no running container {text!r}", "give its name as in netns:c1, pid:4242 or path:/run/netns/c1"
        )
    if len(found) > 1:
        names = ", ".join(sandbox.container for sandbox in found)
        raise UsageError(f"{text!r} may be any of {names}", "give the name with its kind")
    return found[0]
