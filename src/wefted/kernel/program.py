"""Programs that run inside a network namespace and outlive the process that started them: each has a name, a folder, a log.

Which process it is stands in its folder, with the time at which it started, so that a number that the kernel gave to somebody
else is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wefted.errors import KernelError, NotFound
from wefted.model.objects import Netns

from .netlink import Refused
from .netns import Namespaces

PATIENCE = 2.0
"""Seconds that a program has to end by itself."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Programs:
    """The programs below one folder. Implements `wefted.interfaces.Programs`; every call may block for a moment."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def folder(self, name: str) -> str:
        """Return the folder of a program, made if need be."""
        found = self._directory / name
        found.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(found)

    def start(self, name: str, ns: Netns, argv: Sequence[str], files: Mapping[str, str]) -> int:
        """Write `files` (those with #! are programs) into the folder and start `argv` in `ns`; return its process.

        Raises `NotFound` when it is not installed, `KernelError` when it cannot be started.
        """
        self.stop(name)
        words = _found(argv)
        folder = Path(self.folder(name))
        for file, text in files.items():
            path = folder / file
            path.write_text(text)
            path.chmod(0o700 if text.startswith("#!") else 0o600)
        child = _start(ns, words, folder)
        self._children[child.pid] = child
        (folder / "process").write_text(f"{child.pid} {_fields(child.pid)[19]}")  # it may have ended already
        return child.pid

    def running(self, name: str) -> int:
        """Return the process of a program, 0 when it has ended."""
        pid, started = self._recorded(name)
        with contextlib.suppress(OSError):
            return pid if pid and _started(pid) == started else 0
        return 0

    def read(self, name: str, file: str) -> tuple[bytes, float]:
        """Return a file of the folder and when it was written (seconds since 1970); nothing and 0 where there is none."""
        path = self._directory / name / file
        try:
            return path.read_bytes(), path.stat().st_mtime
        except OSError:
            return b"", 0.0

    def stop(self, name: str) -> None:
        """End a program, and all that it has started, and remove its folder."""
        pid, _ = self._recorded(name)
        if self.running(name):
            _signal(pid, signal.SIGTERM)
            end = time.monotonic() + PATIENCE
            while self.running(name) and time.monotonic() < end:
                time.sleep(0.01)
        child = self._children.pop(pid, None)
        if child is not None or self.running(name):
            _signal(pid, signal.SIGKILL)  # also what it has started; a child that we have not waited for keeps its number
        if child is not None:
            child.wait()
        shutil.rmtree(self._directory / name, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in it
            self._directory.rmdir()

    def _recorded(self, name: str) -> tuple[int, int]:
        """Return the process that was started last, and when it was; 0 and 0 where none was."""
        try:
            pid, started = (self._directory / name / "process").read_text().split()
            return int(pid), int(started)
        except (OSError, ValueError):
            return 0, 0


def _found(argv: Sequence[str]) -> list[str]:
    """Return the command line with the program's path; busybox will do for what it can."""
    words = list(argv)
    for number, word in enumerate(words):
        if word in ("udhcpc", "dhclient", "dhcpcd"):
            path = shutil.which(word, path=PATH)
            box = shutil.which("busybox", path=PATH) if path is None and word == "udhcpc" else None
            if path is None and box is None:
                raise NotFound(f"the DHCP client {word} is not installed", "install it, or use ours: --dhcp-client builtin")
            return [*words[:number], *([path] if path else [str(box), word]), *words[number + 1 :]]
    return words


def _start(ns: Netns, argv: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start it from inside the namespace: a child begins where the thread is that forks it."""
    spaces = Namespaces()
    try:
        fd = spaces.open(ns)
        try:
            with spaces.inside(fd), (folder / "log").open("ab") as log:
                return subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env={"PATH": PATH}, start_new_session=True
                )
        finally:
            os.close(fd)
    except Refused as refused:
        raise KernelError(refused.explain(f"namespace {ns}"), errno=refused.errno) from None
    except OSError as error:
        raise KernelError(f"cannot start {argv[0]}: {os.strerror(error.errno or 0)}", errno=error.errno or 0) from None
    finally:
        spaces.close()


def _started(pid: int) -> int:
    """Return when a process started, in ticks since boot. Raises `OSError` without one; a zombie is none."""
    fields = _fields(pid)
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return int(fields[19])


def _fields(pid: int) -> list[str]:
    """Return what proc(5) says of a process, from its state on; also of one that has ended and was not waited for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
