"""Programs in a guest's network namespace: `pipework route`, `rule` and `tc`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from wefted.kernel.netns import become
from wefted.runtime import search
from wefted.wiring import runtimes


def execute(container: str, argv: Sequence[str]) -> NoReturn:
    """Become a program in the container's namespace. Raises `NotFound`, `UsageError`, `FileNotFoundError`."""
    sandbox = asyncio.run(search.find(runtimes(), container))
    become(sandbox.ns, argv)
