"""Sysctls of the host: a setting of ours is one whose old value is remembered in a file of the runtime directory.

The file is there before the setting is changed and is gone after it was restored, so whatever instant the program dies at,
the next reading finds every setting that was touched. The directory lives as long as the settings do: until the next boot.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wefted.model.firewall import Sysctl
from wefted.model.objects import HOST, KernelObject

from .fault import Fault
from .memory import write_whole
from .netlink import Refused
from .netns import Namespaces
from .transaction import Transaction

_ROOT = Path("/proc/sys")
_MISSING = (FileNotFoundError, NotADirectoryError)


class SysctlHandler:
    """Sets, reads and restores sysctls."""

    def __init__(self, runtime_dir: Path, spaces: Namespaces, fault: Fault) -> None:
        self._directory = runtime_dir / "sysctl"
        self._spaces = spaces
        self._fault = fault

    def create(self, wanted: Sysctl, tx: Transaction) -> None:
        """Remember the value of before, then set. Raises `Refused`."""
        path = _path(wanted)
        tx.flush(HOST)  # a link's own settings appear with the link
        memory = self._memory(wanted.name)
        try:
            with self._spaces.inside(self._spaces.home_fd):
                if not memory.exists():
                    self._remember(memory, _value(path))
                path.write_text(wanted.value)
        except OSError as error:
            memory.unlink(missing_ok=True) if isinstance(error, _MISSING) else None
            raise Refused(error.errno or errno.EIO, f"cannot set {wanted.name} to {wanted.value}") from None
        self._fault.changed()

    def update(self, old: KernelObject, new: Sysctl, tx: Transaction) -> None:
        self.create(new, tx)

    def delete(self, old: Sysctl, tx: Transaction) -> None:
        """Put the value of before back, then forget it. Raises `Refused`."""
        memory = self._memory(old.name)
        try:
            before = memory.read_text()
        except FileNotFoundError:
            return
        try:
            with self._spaces.inside(self._spaces.home_fd), suppress(*_MISSING):
                _path(old).write_text(before)
            self._fault.changed()
            memory.unlink()
        except OSError as error:
            raise Refused(error.errno or errno.EIO, f"cannot restore {old.name} to {before}") from None
        self._fault.changed()

    def read(self) -> Iterator[Sysctl]:
        """Yield what we have set, with the value that it has now; forget what went away with its link."""
        try:
            memories = sorted(p for p in self._directory.iterdir() if not p.name.startswith("."))
        except _MISSING:
            return
        for memory in memories:
            sysctl = Sysctl(name=memory.name.replace(",", "/"), value="")
            try:
                with self._spaces.inside(self._spaces.home_fd):
                    value = _value(_path(sysctl))
            except _MISSING:
                memory.unlink(missing_ok=True)
                continue
            except OSError:
                continue
            yield Sysctl(name=sysctl.name, value=value)

    def _memory(self, name: str) -> Path:
        return self._directory / name.replace("/", ",")

    def _remember(self, memory: Path, value: str) -> None:
        write_whole(memory, value.encode())
        self._fault.changed()


def _path(sysctl: Sysctl) -> Path:
    """Return the file of a setting. Raises `Refused` for one outside /proc/sys, or of a sandbox."""
    if sysctl.ns != HOST:
        raise Refused(errno.EOPNOTSUPP, "sysctls are set in the host's namespace only")
    parts = sysctl.name.split("/")
    if not all(parts) or "." in parts or ".." in parts or "," in sysctl.name:
        raise Refused(errno.EINVAL, f"{sysctl.name!r} is no name of a sysctl")
    return _ROOT.joinpath(*parts)


def _value(path: Path) -> str:
    """Return a setting with single spaces between its words, as people write it."""
    return " ".join(path.read_text().split())
