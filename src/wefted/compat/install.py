"""Launchers: the classics under their own names in a directory of the user's choice, and their removal.

A launcher is a few lines of Python for the interpreter that runs us, started without site-packages (-I -S): that is a third of
a start, and the way through the agent needs the standard library alone. What the agent can do as a whole (`doors`) has the
small program in C as its launcher, where it has been built; it becomes the Python where it must.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from wefted.errors import InUse, NotFound, UsageError
from wefted.plugins import native

from . import CLASSICS, DOORS

MARK = "# a classic command of wefted; made and removed by `wefted compat`"


def launcher(name: str) -> bytes:
    """Return the launcher of a classic."""
    home = os.fspath(Path(__file__).resolve().parents[2])
    if name in DOORS and native.CLASSIC.exists():
        return native.CLASSIC.read_bytes() + f"\n{MARK}\n{sys.executable}\n{home}\n{name}\n".encode()
    return f"""#!{sys.executable} -IS
{MARK}
import sys

sys.path.insert(0, {home!r})

from wefted.cli.classic import leave, run

leave(run({name!r}))
""".encode()


def install(directory: str) -> list[str]:
    """Write a launcher for each classic and return their paths. Raises `InUse` for foreign files; then nothing is written."""
    folder = _folder(directory)
    found = {folder / name: launcher(name) for name in sorted(CLASSICS)}
    foreign = [path for path in found if path.is_symlink() or (path.exists() and not _is_ours(path))]
    if foreign:
        raise InUse(f"{foreign[0]} is not ours", "move it away, or choose another directory")
    _write_all(found)
    return [str(path) for path in found]


def uninstall(directory: str) -> list[str]:
    """Remove our launchers and return their paths; foreign files of these names stay. Raises `NotFound` when there is none."""
    folder = _folder(directory)
    ours = [folder / name for name in sorted(CLASSICS) if _is_ours(folder / name)]
    if not ours:
        raise NotFound(f"{folder} has no classic command of ours", "install them: wefted compat install DIR")
    _remove(ours)
    return [str(path) for path in ours]


def _folder(directory: str) -> Path:
    folder = Path(directory).absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory", f"make it: mkdir -p {folder}")
    return folder


def _is_ours(path: Path) -> bool:
    try:
        return not path.is_symlink() and f"\n{MARK}\n".encode() in path.read_bytes()
    except OSError:
        return False


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Write them all or none: each beside its place first, then all renamed."""
    ready: dict[Path, str] = {}
    try:
        for path, content in files.items():
            descriptor, ready[path] = tempfile.mkstemp(dir=path.parent, prefix=".wefted-")
            with open(descriptor, "wb") as file:
                file.write(content)
            os.chmod(ready[path], 0o755)
        for path in list(ready):
            os.replace(ready[path], path)
            del ready[path]
    except OSError as error:
        raise UsageError(f"cannot write to {next(iter(files)).parent}: {error.strerror}") from None
    finally:
        for name in ready.values():
            with contextlib.suppress(OSError):
                os.unlink(name)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            raise UsageError(f"cannot remove {path}: {error.strerror}") from None
