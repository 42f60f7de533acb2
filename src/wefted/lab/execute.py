"""`wefted lab exec`: one program in a host, with our own input and output, from its start to its exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from wefted.errors import UsageError

from . import state
from .enter import spawn
from .process import Process

PASSED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT,
)  # fmt: skip
"""Signals that are passed on. Those that the terminal sends reach the program by themselves: it is in our process group."""
SI_KERNEL = 0x80
"""The kernel sent it, not a process: the terminal (sigaction(2))."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes as in POSIX shells."""


def execute(lab: str, machine: str, argv: Sequence[str]) -> int:
    """Run a program and return its exit code, 128 + N when signal N ended it. Raises `NotFound`, `UsageError`."""
    process = _process(lab, machine)
    watched = {*PASSED, signal.SIGCHLD}
    # blocked first: a signal that comes while the program starts waits until there is somebody to pass it to
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        return _run(process, machine, argv, watched)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(process: Process, machine: str, argv: Sequence[str], watched: set[signal.Signals]) -> int:
    try:
        child = spawn(process, argv)
    except OSError as error:
        os.write(2, f"{machine}: {argv[0]}: {error.strerror or error}\n".encode())
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        came = signal.sigwaitinfo(watched)
        if came.si_signo != signal.SIGCHLD and came.si_code != SI_KERNEL:
            os.kill(child, came.si_signo)
    code = os.waitstatus_to_exitcode(status[1])
    return code if code >= 0 else 128 - code


def _process(lab: str, machine: str) -> Process:
    state.require_root()
    processes = state.processes(lab)
    process = processes.get(machine)
    if process is not None and process.alive:
        return process
    from .record import load

    load(lab).topology.machine(machine)
    raise UsageError(f"{machine} is {'dead' if process else 'powered off'}", f"wefted lab boot --name {lab} {machine}")
