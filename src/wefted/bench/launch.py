"""Programs, run as whole processes on the clock: from the moment before they are started to the moment they are reaped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wefted.errors import WeftedError


@dataclass(frozen=True, slots=True)
class Run:
    """Times in milliseconds: wall clock, and user + system time of the process and its own reaped children."""

    wall: float
    cpu: float


def run(
    argv: Sequence[str],
    *,
    stdin: Path = Path("/dev/null"),
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Run:
    """Run a program whose path is given whole; `output` is where to keep what it says. Raises `WeftedError` when it fails.

    posix_spawn(3) rather than fork: a large parent would make every measured program look slow.
    """
    log = output or Path(f"/run/wefted-bench-{os.getpid()}.log")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, str(stdin), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    env = dict(os.environ if environment is None else environment)
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), env, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    if code:
        said = log.read_text(errors="replace").strip()
        raise WeftedError(f"`{' '.join(argv)}` failed with exit code {code}: {said[-2000:]}")
    return Run(1000 * wall, 1000 * (usage.ru_utime + usage.ru_stime))
