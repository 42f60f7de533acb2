"""`wefted bench flannel`: how fast a host has its subnet, and how fast its kernel follows a thousand others in a real etcd.

One virtual host with an agent, and a store. The other hosts are records in etcd, as flannel writes them. The times end when the
kernel has the route; before a sample counts, neighbour and forwarding entry are compared too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from wefted.errors import UsageError, WeftedError
from wefted.lab import etcd
from wefted.lab.lab import Lab

from .attach import PAUSE
from .rows import Check, Report, Row
from .turns import Say, machine
from .worker import Worker

MOST = 4000
START, NEW, LOST, CROWD, MEMORY = 150.0, 200.0, 200.0, 2000.0, 120.0
"""What is required: milliseconds, and MB."""


def flannel(times: int, peers: int, say: Say) -> Report:
    """Measure everything, `times` samples of each, among `peers` hosts. Raises `WeftedError`."""
    if times < 1 or not 1 <= peers <= MOST:
        raise UsageError(f"--times must be at least 1, --peers 1 to {MOST:,}")
    say("a virtual host with an agent, and an etcd")
    with Lab.up(f"bench-{os.getpid()}", 1) as lab, Worker(lab.host("h1")) as worker:
        url = etcd.url(lab.topology).partition("://")[2]
        worker.ask("flannel_open", store=url, program=[sys.executable, "-P", "-m", "wefted.cli.main"])
        say(f"{times} fresh subnets")
        rows = [_row("fresh", "fresh subnet, from the request to subnet.env", worker, "fresh", times)]
        rows.append(_row("flanneld", "flanneld as a process beside the agent, to subnet.env", worker, "daemon", times))
        say(f"{peers} other hosts in etcd")
        worker.ask("flannel", what="crowd", count=peers)
        rows.append(_crowd("join-crowd", f"join a network of {peers} hosts", worker, "join_crowd", peers, 1))
        say(f"the agent starts with {peers} other hosts, {min(times, 3)} times")
        what = f"start of the agent, no link there, {peers} hosts"
        rows.append(_crowd("start-crowd", what, worker, "start_with_crowd", peers, min(times, 3)))
        say(f"{times} hosts come and go")
        pairs = []
        for _ in range(times):
            pairs.append((_calm(worker, "one_more"), _calm(worker, "one_less")))
        memory = round(worker.ask("flannel", what="memory"), 1)
    rows.append(Row(name="new-lease", what="a new lease, to the route", samples=tuple(n for n, _ in pairs), verified=times))
    rows.append(Row(
        name="lost-lease", what="a lease that goes, to no route", samples=tuple(o for _, o in pairs), verified=times,
        further={"memory_mb": memory},
    ))  # fmt: skip
    return Report(machine=machine(), rows=rows, checks=list(_checks({row.name: row for row in rows}, memory)))


def _calm(worker: Worker, do: str) -> float:
    """Measure one thing when the agent has done what the one before has left to it."""
    time.sleep(PAUSE)
    taken: float = worker.ask("flannel", what=do)
    return taken


def _row(name: str, what: str, worker: Worker, do: str, times: int) -> Row:
    worker.ask("flannel", what=do)  # the first one, off the record: what is imported later is there then
    return Row(name=name, what=what, samples=tuple(worker.ask("flannel", what=do) for _ in range(times)), verified=times)


def _crowd(name: str, what: str, worker: Worker, do: str, peers: int, times: int) -> Row:
    found = [worker.ask("flannel", what=do) for _ in range(times)]
    for _, complete in found:
        if complete != peers:
            raise WeftedError(f"{what}: of {peers} hosts, {complete} are wholly known")
    return Row(name=name, what=what, samples=tuple(taken for taken, _ in found), verified=times, further={"hosts": peers})


def _checks(rows: dict[str, Row], memory: float) -> Iterator[Check]:
    bounds = (("fresh", START), ("join-crowd", CROWD), ("start-crowd", CROWD), ("new-lease", NEW), ("lost-lease", LOST))
    for name, bound in bounds:
        yield Check(name=f"{rows[name].what}, median", measured=rows[name].median, bound=bound, most=True, unit="ms")
    yield Check(name="memory of the agent", measured=memory, bound=MEMORY, most=True, unit="MB")
