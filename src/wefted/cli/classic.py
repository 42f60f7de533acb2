"""A classic command as a process of its own: the shortest way from its words to the agent, without the parser of `wefted`.

Whether an agent runs is found out by asking it. Where none does, or where a settings file says something, the usual door is
taken, with all that it imports.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

from wefted.compat import CLASSICS
from wefted.errors import Unreachable

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SETTINGS = "/etc/wefted/wefted.toml"
RUNTIME_DIR = "/run/wefted"
"""`wefted.config.FILE`, and the default of its `runtime_dir`."""


def run(name: str, words: Sequence[str] | None = None) -> int:
    """Run a classic and return its exit code; its settings come from the file and from WEFTED_* variables."""
    # what a command makes lives as long as the command
    gc.disable()
    try:
        program = import_module(f"wefted.compat.{CLASSICS[name]}")
        code: int = program.main(sys.argv[1:] if words is None else list(words), ask)
    except KeyboardInterrupt:
        code = 130
    gc.freeze()
    return code


def ask(operation: str, parameters: dict[str, Any]) -> Any:
    """Do one operation: by the agent at once, or by the usual door. Raises `WeftedError`."""
    path = _socket()
    if path:
        from wefted.client import RemoteEngine, complete

        engine = RemoteEngine(path)
        try:
            return complete(engine.call(operation, parameters))
        except Unreachable:
            pass
        finally:
            complete(engine.close())
    return _by_the_usual_door(operation, parameters)


def _socket() -> str:
    """Return the agent's socket where that can be told without reading settings, else nothing."""
    if os.path.exists(os.environ.get("WEFTED_CONFIG", SETTINGS)):
        return ""
    path = f"{os.environ.get('WEFTED_RUNTIME_DIR') or RUNTIME_DIR}/wefted.sock"
    return path if os.path.exists(path) else ""


def _by_the_usual_door(operation: str, parameters: dict[str, Any]) -> Any:
    _with_site_packages()
    from wefted.config import load

    from .call import perform

    return perform(load(), operation, parameters)


def _with_site_packages() -> None:
    """Bring in what `-S` has left out: the engine in this process needs more than the standard library."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
