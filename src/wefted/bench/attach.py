"""`wefted bench attach`: what it costs to give a container an interface, an address and a route; beside the other tools.

Two virtual hosts. On the one our agent runs; on the other none does, so that nothing of ours watches while the others are
measured, and so that our command works alone there. All take turns in short rounds: if the machine becomes slower for a
while, it does so for all of them. The namespaces are there before the clock starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from wefted.errors import UsageError, WeftedError
from wefted.lab.agents import WEFTED
from wefted.lab.lab import Lab

from .rows import Check, Report, Row
from .turns import Say, Turn, machine, opened, row_of, turn_of, verified
from .worker import Worker

WITH_AGENT = ("agent", "cli-agent", "cni-ours", "cni-ours-port", "pipework")
WITHOUT_AGENT = (
    "cli-alone", "cni", "cni-masquerade", "cni-portmap", "ip-batch", "ip-calls", "pipework-script", "pipework-arping",
    "ovs-docker",
)  # fmt: skip
ROUND = 25
"""Attaches in a row of one contender, before the next has its turn."""
PAUSE = 0.2
"""Seconds before each turn, off the clock: the kernel finishes what the one before has left to it (RCU, dead processes)."""
DETACHED = 200
EDGE = 100
"""Attaches at each end of the long row that are compared with each other."""
MOST = 10_000
"""Endpoints in the long row."""


def attach(count: int, endpoints: int, say: Say) -> Report:
    """Measure everything; `count` attaches of each contender, `endpoints` in the long row. Raises `WeftedError`."""
    if count < 1 or not 3 <= endpoints <= MOST:
        raise UsageError(f"--count must be at least 1, --endpoints 3 to {MOST:,}", "each needs a namespace of its own")
    say("two virtual hosts, one agent")
    with Lab.up(f"bench-{os.getpid()}", 2, bare=True) as lab:
        host = lab.host("h1")
        host.run([*WEFTED, "up", "--advertise", str(host.address)])
        with Worker(host) as served, Worker(lab.host("h2")) as plain:
            turns, skipped = opened([*((name, served) for name in WITH_AGENT), *((name, plain) for name in WITHOUT_AGENT)])
            many = turn_of("agent-many", served)
            say("namespaces for all")
            for turn in turns:
                turn.provide(1 + turn.share(count))
            many.provide(endpoints)
            _take_turns(turns, count, say)
            say("looking at what was made")
            rows = [row_of(turn) for turn in turns]
            say(f"{endpoints} endpoints in one network, then {min(DETACHED, endpoints)} detached at once")
            rows += _many(many, endpoints)
    return Report(machine=machine(), rows=rows, checks=list(_checks({row.name: row for row in rows})), skipped=skipped)


def _take_turns(turns: Sequence[Turn], count: int, say: Say) -> None:
    """Attach one namespace each first, off the record: bridges, modules and caches are there then for everybody."""
    for turn in turns:
        turn.play(1)
        turn.samples.clear()
    for done in range(0, count, ROUND):
        say(f"attach {done + 1} to {min(count, done + ROUND)} of {count}, {len(turns)} ways")
        for turn in turns:
            left = turn.share(count) - done
            if left > 0:
                time.sleep(PAUSE)
                turn.play(min(ROUND, left))


def _many(turn: Turn, endpoints: int) -> Iterator[Row]:
    """Measure one long row of attaches, its two ends, and the detach of many at once."""
    turn.play(endpoints)
    ready = verified(turn.worker, turn.name, turn.names)
    samples = tuple(turn.samples)
    edge = min(EDGE, endpoints // 3)
    yield Row(name="agent-many", what=f"agent, {endpoints} in a row", samples=samples, verified=ready)
    yield Row(name="agent-many-first", what=f"  of these, the first {edge}", samples=samples[:edge], verified=edge)
    yield Row(name="agent-many-last", what=f"  of these, the last {edge}", samples=samples[-edge:], verified=edge)
    doomed = turn.names[: min(DETACHED, endpoints)]
    taken = turn.worker.ask("detach", contender=turn.name, names=doomed)
    gone = len(turn.worker.ask("empty", names=doomed))
    if gone < len(doomed):
        raise WeftedError(f"of {len(doomed)} detached, {len(doomed) - gone} still have their interface")
    yield Row(name="agent-detach", what=f"agent, detach of {gone} in one call", samples=(taken,), verified=gone)


def _checks(rows: dict[str, Row]) -> Iterator[Check]:
    many, agent = rows["agent-many"], rows["agent"]
    if "cni" in rows:
        ratio = rows["cni"].median / agent.median
        yield Check(name="CNI ADD / agent attach, medians", measured=ratio, bound=5, most=False, unit="times")
    yield from _classic_checks(rows)
    if {"cni-ours-port", "cni-portmap"} <= set(rows):
        ratio = rows["cni-ours-port"].median / rows["cni-portmap"].median
        yield Check(name="our CNI ADD / bridge + host-local + portmap", measured=ratio, bound=0.333, most=True, unit="times")
    rate = agent.to_json()["per_second"]
    yield Check(name="agent attaches, one client", measured=rate, bound=300, most=False, unit="per second")
    growth = rows["agent-many-last"].median / rows["agent-many-first"].median
    name = f"last / first {len(rows['agent-many-first'].samples)} of {len(many.samples)}, medians"
    yield Check(name=name, measured=growth, bound=2, most=True, unit="times")
    detach = rows["agent-detach"]
    yield Check(name=f"detach of {detach.verified}", measured=detach.median, bound=1000, most=True, unit="ms")


def _classic_checks(rows: dict[str, Row]) -> Iterator[Check]:
    if "pipework-arping" in rows:
        ratio = rows["agent"].median / rows["pipework-arping"].median
        yield Check(
            name="agent attach / pipework script with arping, medians", measured=ratio, bound=0.02, most=True, unit="times"
        )
    if "pipework-script" in rows:
        ratio = rows["pipework"].median / rows["pipework-script"].median
        yield Check(name="pipework / pipework script, medians", measured=ratio, bound=0.5, most=True, unit="times")
