"""What the tests of the lab share: names that are down at the end, the command, and looking for what is left."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from wefted.lab import host, state
from wefted.lab.lab import Lab

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main", "lab")
PING = ("ping", "-n", "-c1", "-W1")


def unique() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


def a_name() -> Iterator[str]:
    """Yield a name for a lab, which is down at the end whatever the test did."""
    name = unique()
    yield name
    Lab(name).down()


def wefted(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFTED, *words], capture_output=True, text=True, timeout=60, **options)


def reaches(lab: Lab, source: str, address: str) -> bool:
    """Whether one ping is answered. After a cut, neighbours may take a second to be asked for again: see `until`."""
    return lab.host(source).run([*PING, address], check=False).returncode == 0


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def traces(name: str) -> list[str]:
    """Return what this machine has of a lab: processes, mounts, control groups, files."""
    found = [f"process {p.pid}" for p in host.find(name)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/*{name}*")]
    return found + [str(path) for path in (state.RUN / name, state.DISKS / name) if path.exists()]
