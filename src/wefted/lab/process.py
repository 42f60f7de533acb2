"""Processes by identity: a number alone may belong to somebody else tomorrow, so its start time goes with it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wefted.errors import WeftedError


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its number, and when it started, in clock ticks since the machine was booted (proc(5), field 22 of stat)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this number now. Raises `ProcessLookupError`."""
        stat = _stat(pid)
        if stat is None:
            raise ProcessLookupError(pid)
        return cls(pid, stat[1])

    @property
    def alive(self) -> bool:
        """Whether it runs: not gone, not a zombie, and not somebody else under a recycled number."""
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.start and stat[0] not in "ZX"

    def open(self) -> int:
        """Return a pidfd, which cannot come to mean another process. Raises `ProcessLookupError` when it does not run."""
        pidfd = os.pidfd_open(self.pid)
        if self.alive:
            return pidfd
        os.close(pidfd)
        raise ProcessLookupError(self.pid)


def kill(processes: Iterable[Process], reap: Callable[[], object] = lambda: None, patience: float = 15.0) -> None:
    """Kill all of `processes` at once and wait until they are gone; those that are gone already are fine.

    The init of a pid namespace ends only after every process in it has been reaped, and a process that was entered from
    outside is its starter's child: `reap` is called while waiting, to collect those that this process started.
    """
    pidfds = {pidfd: process for process in processes if (pidfd := _kill(process)) is not None}
    try:
        left = _wait(set(pidfds), reap, time.monotonic() + patience)
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
    if left:
        numbers = ", ".join(str(pidfds[pidfd].pid) for pidfd in left)
        raise WeftedError(
            f"process {numbers} was killed and does not end",
            "something outside started a program in it and does not wait for it: end that, and try again",
        )


def _kill(process: Process) -> int | None:
    try:
        pidfd = process.open()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return pidfd


def _wait(pidfds: set[int], reap: Callable[[], object], deadline: float) -> set[int]:
    """Return those that had not ended at the deadline. A pidfd is readable once its process has ended (pidfd_open(2))."""
    left = set(pidfds)
    while left and time.monotonic() < deadline:
        reap()
        left -= set(select.select(left, [], [], 0.005)[0])
    return left


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state and start time. The name before them is in parentheses and may itself hold parentheses and blanks."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (fields[0].decode(), int(fields[19])) if len(fields) > 19 else None
