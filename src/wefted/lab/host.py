"""Virtual machines one by one: starting their init, and the handle by which programs are run in them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wefted.errors import KernelError, UsageError, WeftedError
from wefted.model.objects import IPAddress

from . import state
from .enter import popen
from .process import Process

INIT = Path(__file__).with_name("init.py")


@dataclass(slots=True)
class Starting:
    """An init that is on its way. Until `commit` it ends by itself when we do."""

    name: str
    child: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)

    def wait(self, deadline: float) -> Process:
        """Return the init's process once its namespaces are complete. Raises `KernelError` with its reason when it gave up."""
        while not {"pid", "ready"} <= (said := {line.partition(" ")[0] for line in self.lines}):
            text = self._read(deadline)
            if not text or "error" in said:
                raise self._failure()
            self.lines += text.decode().splitlines()
        pid = next(int(line.removeprefix("pid ")) for line in self.lines if line.startswith("pid "))
        try:
            return Process.of(pid)
        except ProcessLookupError:
            raise self._failure() from None

    def commit(self) -> None:
        """Let it live on after us; it must be on record by now."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(b"go\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise WeftedError(f"{self.name} ended while it was being started") from None
        self.close()

    def close(self) -> None:
        """Close our ends and collect the process that has forked the init; an init that is not committed ends."""
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()
        self.child.wait()

    def _read(self, deadline: float) -> bytes:
        assert self.child.stdout is not None
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self.child.stdout], [], [], left)[0]:
            raise WeftedError(f"{self.name} does not come up", "the machine may be overloaded: try again")
        return os.read(self.child.stdout.fileno(), 4096)

    def _failure(self) -> KernelError:
        reason = next((line.removeprefix("error ") for line in self.lines if line.startswith("error ")), "it ended")
        hint = "the lab needs CAP_SYS_ADMIN: in a container, run that with --privileged" if "permitted" in reason else ""
        return KernelError(f"cannot start {self.name}: {reason}", hint)


def start(lab: str, name: str, role: str, disk: Path | None, group: str = "") -> Starting:
    """Start the init of a machine; roles are those of `init.SETTINGS`, and "host". `group` is a control group of its own."""
    argv = [sys.executable, "-I", "-S", str(INIT), str(state.RUN / lab), name, role, str(disk or ""), group]
    pipe = subprocess.PIPE
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    return Starting(name, subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=environment, cwd="/", bufsize=0))


def find(lab: str) -> list[Process]:
    """Return the inits of a lab by looking at all processes: also those that are on no record, or on a damaged one."""
    wanted = [b"-I", b"-S", str(INIT).encode(), str(state.RUN / lab).encode()]
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1")
    return [process for entry in entries if (process := _matching(entry, wanted)) is not None]


def _matching(entry: Path, wanted: list[bytes]) -> Process | None:
    """Return the process if it is an init that we have started, or is about to become one.

    Ours are at the first level below our own pid namespace: a lab inside one of our hosts has inits that look the same. And
    where we are such a host ourselves, process 1 does.
    """
    try:
        argv = (entry / "cmdline").read_bytes().split(b"\0")
        if argv[1:5] != wanted:
            return None
        levels = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("NSpid:"))
        return Process.of(int(entry.name)) if len(levels.split()) <= 3 else None
    except (OSError, StopIteration):
        return None


class Host:
    """A virtual machine that is switched on. Made by `Lab.host`."""

    def __init__(
        self, name: str, process: Process, addresses: Sequence[IPAddress], started: list[subprocess.Popen[Any]]
    ) -> None:
        self.name = name
        self.process = process
        self.addresses = tuple(addresses)
        self._started = started

    @property
    def address(self) -> IPAddress:
        """Its first address on the underlay."""
        return self.addresses[0]

    @property
    def root(self) -> Path:
        """Its root directory as seen from outside, while it runs: its sockets and its /run can be reached through it."""
        return Path(f"/proc/{self.process.pid}/root")

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; output and errors are captured as text unless `stdout` or `stderr` say otherwise.

        Raises `WeftedError` with its output when `check` and it fails, and `subprocess.TimeoutExpired` after `timeout` seconds.
        """
        pipe = subprocess.PIPE
        streams = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL if input is None else pipe}
        child = self.popen(argv, **{"text": True, **streams, **options})
        try:
            output, error = child.communicate(input, timeout)
        except BaseException:
            child.kill()
            child.wait()
            raise
        if check and child.returncode:
            said = f"{output or ''}{error or ''}".strip()
            raise WeftedError(f"{self.name}: `{' '.join(argv)}` failed with exit code {child.returncode}: {said[-2000:]}")
        return subprocess.CompletedProcess(list(argv), child.returncode, output, error)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program; `options` are those of `subprocess.Popen`. It ends at the latest with the host."""
        try:
            child = popen(self.process, argv, **options)
        except FileNotFoundError as error:
            raise UsageError(f"{self.name}: {argv[0]}: {error.strerror}") from None
        self._started[:] = [*(c for c in self._started if c.poll() is None), child]
        return child


def collect(children: Iterable[subprocess.Popen[Any]]) -> None:
    """Reap those that have ended."""
    for child in children:
        child.poll()
