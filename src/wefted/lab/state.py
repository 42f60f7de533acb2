"""Where a lab is kept between two commands: /run/wefted-lab/NAME with its record, its lock, and a link to its disks.

The disks are in the directory wefted-lab of /var/lib, or of the one that WEFTED_LAB_DISKS named when the lab was made. On a
tmpfs nothing ever waits for a disk; an etcd takes 128 MB of memory then.

What the record says is read in two ways: `processes` here is enough to enter a machine, and quick; `record` knows it all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wefted.errors import NotFound, UsageError, WeftedError

from .process import Process

RUN = Path("/run/wefted-lab")
DISKS = Path(os.path.realpath(os.environ.get("WEFTED_LAB_DISKS") or "/var/lib"), "wefted-lab")

_PLACE = "name a directory on a disk, or in memory: WEFTED_LAB_DISKS=/dev/shm"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)


def processes(name: str) -> dict[str, Process]:
    """Return only the processes of a lab's machines: what is needed to enter one, without reading the topology."""
    data = read(name)
    try:
        return processes_of(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(name, repr(error)) from None


def names() -> list[str]:
    """Return the names of all labs of this machine."""
    return sorted(p.name for p in RUN.iterdir() if (p / "state.json").exists()) if RUN.is_dir() else []


def check_name(name: str) -> None:
    """Raise `UsageError` unless `name` can be the name of a lab."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a lab", "use up to 32 letters, digits, '-' and '_'")


def require_root() -> None:
    """Raise `UsageError` unless we may make namespaces."""
    if os.geteuid() != 0:
        raise UsageError("the lab makes network namespaces: run it as root", "sudo wefted lab ...")


@contextlib.contextmanager
def locked(name: str, *, create: bool = False, patience: float = 60.0) -> Iterator[None]:
    """Keep every other command off this lab.

    Raises `NotFound` unless it exists or `create`, and `WeftedError` after `patience` seconds.
    The lock goes when this process ends, however it ends.
    """
    check_name(name)
    deadline = time.monotonic() + patience
    descriptor = _lock(name, create)
    while descriptor is None:
        if time.monotonic() > deadline:
            raise WeftedError(f"another `wefted lab` command is at work on the lab {name!r}", "wait for it, or end it")
        time.sleep(0.01)
        descriptor = _lock(name, create)
    try:
        yield
    finally:
        os.close(descriptor)


def require_place() -> None:
    """Raise `UsageError` unless there is a directory for the disks of labs."""
    if not DISKS.parent.is_dir():
        raise UsageError(f"{DISKS.parent} is no directory, so labs have no place for their disks", _PLACE)


def make_disks(name: str) -> None:
    """Make the directory for the disks of a lab. Raises `UsageError` where there can be none."""
    (RUN / name / "disks").symlink_to(DISKS / name)
    try:
        (DISKS / name).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"labs can have no disks in {DISKS.parent}: {error.strerror}", _PLACE) from error


def disks(name: str) -> Path:
    """Return the directory with the disks of a lab, which need not be where those of the next one will be."""
    link = RUN / name / "disks"
    return link.readlink() if link.is_symlink() else DISKS / name


def erase(name: str) -> None:
    """Remove all files of a lab but its lock."""
    place = disks(name)
    there = [place] if place.exists() else []
    for path in (*there, *_files(RUN / name)):  # the link goes after what it leads to
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=False)
        else:
            path.unlink(missing_ok=True)
    _remove_empty(place.parent)


def forget(name: str) -> None:
    """Remove the lock as well, which its owner does as the very last thing."""
    (RUN / name / "lock").unlink(missing_ok=True)
    _remove_empty(RUN / name)
    _remove_empty(RUN)


def exists(name: str) -> bool:
    """Whether anything is left of a lab, whole or not."""
    return (RUN / name).exists() or disks(name).exists()


def _files(directory: Path) -> list[Path]:
    return [p for p in directory.iterdir() if p.name != "lock"] if directory.is_dir() else []


def _lock(name: str, create: bool) -> int | None:
    """Return a locked descriptor, or None while somebody else has it, or has just removed the file that we had opened."""
    path = RUN / name / "lock"
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        if create:
            return None
        raise _unknown(name) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def read(name: str) -> dict[str, Any]:
    check_name(name)
    try:
        data = json.loads((RUN / name / "state.json").read_text())
    except FileNotFoundError:
        raise _unknown(name) from None
    except PermissionError:
        require_root()
        raise
    except ValueError as error:
        raise damaged(name, str(error)) from None
    if not isinstance(data, dict):
        raise damaged(name, "not an object")
    return data


def processes_of(data: dict[str, Any]) -> dict[str, Process]:
    return {name: Process(int(pid), int(start)) for name, (pid, start) in data["processes"].items()}


def _unknown(name: str) -> NotFound:
    known = ", ".join(names())
    return NotFound(f"there is no lab {name!r}", f"labs: {known}" if known else "start one: wefted lab up --hosts 2")


def damaged(name: str, why: str) -> WeftedError:
    path = RUN / name / "state.json"
    return UsageError(f"{path} is damaged: {why}", f"remove the lab, whole or not: wefted lab down --name {name}")


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
