"""The resolv.conf of named namespaces: /etc/netns/NAME/resolv.conf, which `ip netns exec` binds over /etc (ip-netns(8)).

A file is ours when its first line says so. One that is not is never touched, and a user keeps ours as his own by deleting that
line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from wefted.model.objects import IPAddress

KIND = "netns"
"""The kind of container whose resolver is set here."""
DIRECTORY = Path("/etc/netns")
MARK = "# written by wefted: delete this line to keep the file as it is"
TEMPORARY = ".resolv.conf.wefted"
MOST_SERVERS = 3
"""The C library asks no more (resolv.conf(5))."""


def text(servers: Sequence[IPAddress], search: Iterable[str]) -> str:
    """Return the content of a file of ours."""
    lines = [MARK, *(f"nameserver {server}" for server in servers[:MOST_SERVERS])]
    return "\n".join([*lines, f"search {' '.join(dict.fromkeys(search))}", "options ndots:1", ""])


class Written(Enum):
    """What became of a container's file."""

    YES = auto()
    NOT = auto()
    """It is somebody else's, or is not there."""
    LATER = auto()
    """Its engine has not written it yet."""
    BEFORE_ENGINE = auto()
    """It leads to us, and for bare names that we do not know to the engine's own server."""


class Resolvers(Protocol):
    """The files of one kind of container; `name` is what tells its containers apart for good."""

    def write(self, name: str, content: str, before_engine: bool = False) -> Written:
        """Make a container's file ours, unless it is somebody else's. Raises `OSError`.

        `before_engine`: also where the engine has a name server of its own, if its questions cannot be led to us otherwise.
        """

    def remove(self, name: str) -> None:
        """Undo that. Raises `OSError`."""

    def ours(self) -> list[str]:
        """Return the containers whose file is ours."""

    def path(self, name: str) -> Path:
        """Return where a container's file is."""


class ResolvConfs:
    """The files below one directory."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory

    def write(self, name: str, content: str, before_engine: bool = False) -> Written:
        """Write the file of a namespace unless it is somebody else's. Raises `OSError`."""
        path = self.path(name)
        if is_ours(path):
            if path.read_text() == content:
                return Written.YES
        elif path.exists() or path.is_symlink():
            return Written.NOT
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(TEMPORARY)
        made.write_text(content)
        made.chmod(0o644)
        made.replace(path)
        return Written.YES

    def remove(self, name: str) -> None:
        """Remove the file of a namespace if it is ours, and the directory that nobody else uses. Raises `OSError`."""
        path = self.path(name)
        if not is_ours(path):
            return
        path.unlink()
        path.with_name(TEMPORARY).unlink(missing_ok=True)
        for directory in (path.parent, self._directory):
            with contextlib.suppress(OSError):  # it holds other files
                directory.rmdir()

    def ours(self) -> list[str]:
        """Return the names of the namespaces whose file is ours."""
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return sorted(name for name in names if is_ours(self.path(name)))

    def path(self, name: str) -> Path:
        """Return where the file of a namespace is."""
        return self._directory / name / "resolv.conf"


def is_ours(path: Path) -> bool:
    """Tell whether a file has our mark."""
    try:
        with path.open("rb") as file:
            return not path.is_symlink() and file.readline(len(MARK) + 2).decode(errors="replace").rstrip("\n") == MARK
    except OSError:
        return False
