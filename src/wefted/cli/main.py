"""The entry point. It imports no more than the command that was typed needs; the version not even the parser of commands."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code. See `wefted.errors` for what the codes mean."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = sys.argv[0].rpartition("/")[2]
    if arguments is None and name != "wefted" and (code := _classic(name, words)) is not None:
        return code
    if words == ["--version"]:
        from wefted import __version__

        print(f"wefted {__version__}")
        return 0
    # what a command makes lives as long as the command; looking for garbage takes a fifth of a short one's time
    gc.set_threshold(50_000)
    try:
        return _run(words)
    finally:
        gc.freeze()


def _classic(name: str, words: list[str]) -> int | None:
    """Be another tool's command, if that is our name; else None."""
    from wefted.compat import CLASSICS

    if name not in CLASSICS:
        return None
    from .classic import run

    return run(name, words)


def _run(words: list[str]) -> int:
    try:
        from .root import root

        root.main(words, prog_name="wefted")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
