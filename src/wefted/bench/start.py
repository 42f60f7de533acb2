"""`wefted bench start`: what a command costs before it does anything, beside other commands and the bare interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from statistics import median

from wefted.errors import UsageError
from wefted.lab.agents import WEFTED
from wefted.lab.lab import Lab

from .rows import Check, Report, Row, Skipped
from .turns import Say, machine
from .worker import Worker

OURS = {"start-version": ["--version"], "start-ps": ["ps"]}
PEERS = {
    "python": ["python3", "-I", "-S", "-c", "pass"],
    "ip": ["ip", "-V"],
    "docker": ["docker", "--version"],
    "podman": ["podman", "--version"],
}
BOUND = 60
"""Milliseconds of CPU time: a person does not notice them, and a script that calls us a hundred times loses six seconds."""


def start(times: int, say: Say) -> Report:
    """Run each command `times` times, in turns. Raises `WeftedError`."""
    if times < 1:
        raise UsageError("--times must be at least 1")
    say("a virtual host with an agent")
    with Lab.up(f"bench-{os.getpid()}", 1, bare=True) as lab:
        host = lab.host("h1")
        host.run([*WEFTED, "up", "--advertise", str(host.address)])
        with Worker(host) as worker:
            found = {name: worker.ask("program", words=words) for name, words in PEERS.items()}
            commands = {name: worker.ask("command", words=words) for name, words in OURS.items()}
            commands |= {name: argv for name, argv in found.items() if argv}
            say(f"{len(commands)} commands, {times} times each")
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for _ in range(times):
                for name, argv in commands.items():
                    runs[name].append(worker.ask("start", argv=argv))
    rows = [_row(name, samples) for name, samples in runs.items()]
    skipped = [Skipped(name=name, reason=f"{PEERS[name][0]} is not installed") for name, argv in found.items() if not argv]
    return Report(machine=machine(), rows=rows, checks=list(_checks(rows)), skipped=skipped)


def _row(name: str, runs: Sequence[tuple[float, float]]) -> Row:
    words = ["wefted", *OURS[name]] if name in OURS else PEERS[name]
    cpu = round(median(cpu for _, cpu in runs), 1)
    walls = tuple(wall for wall, _ in runs)
    return Row(name=name, what=" ".join(words), samples=walls, verified=len(runs), further={"cpu_ms": cpu})


def _checks(rows: Sequence[Row]) -> Iterator[Check]:
    for row in rows:
        if row.name in OURS:
            name = f"CPU of {row.what}, whole process"
            yield Check(name=name, measured=float(row.further["cpu_ms"]), bound=BOUND, most=True, unit="ms")
