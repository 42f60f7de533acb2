"""`wefted bench dns`: how many questions a second our name server answers, beside dnsmasq with the same names.

One virtual host with an agent and containers. One client, in a process of its own, asks the two servers in turns, so that a
machine that is slow for a while is so for both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from wefted.errors import UsageError
from wefted.lab.agents import WEFTED
from wefted.lab.lab import Lab

from .rows import Check, Report, Row, Skipped
from .turns import Say, machine
from .worker import Worker

NAMES = 200
WHAT = {
    "wefted": "the agent's name server",
    "dnsmasq": "dnsmasq, the same names in a file",
    "wefted-new": "the agent, each question for the first time after a change",
}


def dns(rounds: int, count: int, say: Say) -> Report:
    """Ask each server `count` questions in each round. Raises `WeftedError`."""
    if rounds < 1 or not 100 <= count <= 200_000:
        raise UsageError("--rounds must be at least 1, --count 100 to 200,000", "20,000 questions take about a second")
    say(f"one virtual host, {NAMES} containers")
    with Lab.up(f"bench-{os.getpid()}", 1, bare=True) as lab:
        host = lab.host("h1")
        host.run([*WEFTED, "up", "--advertise", str(host.address)])
        with Worker(host) as worker:
            told = worker.ask("names_open", count=NAMES)
            servers = {name: at for name, at in told["servers"].items() if name == "wefted" or not told["missing"]}
            try:
                rows = _measured(worker, servers, rounds, count, say)
            finally:
                worker.ask("names_close")
    skipped = [Skipped(name="dnsmasq", reason=told["missing"])] if told["missing"] else []
    return Report(machine=machine(), rows=rows, checks=list(_checks(rows)), skipped=skipped)


def _measured(worker: Worker, servers: Mapping[str, str], rounds: int, count: int, say: Say) -> list[Row]:
    names = [*servers, "wefted-new"]
    samples: dict[str, list[float]] = {name: [] for name in names}
    lost = dict.fromkeys(names, 0)
    asked = dict.fromkeys(names, rounds * count)
    asked["wefted-new"] = rounds * worker.ask("names_distinct")
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, address in servers.items():
            each, gone = worker.ask("names_round", server=address, count=count)
            samples[name].append(each)
            lost[name] += gone
        each, gone = worker.ask("names_new")
        samples["wefted-new"].append(each)
        lost["wefted-new"] += gone
    return [
        Row(
            name=name,
            what=WHAT[name],
            samples=tuple(samples[name]),
            verified=asked[name],
            further={"queries_per_second": round(1000 / median(samples[name])), "lost": lost[name]},
        )
        for name in names
    ]


def _checks(rows: Sequence[Row]) -> Iterator[Check]:
    found = {row.name: row for row in rows}
    if "dnsmasq" in found:
        ratio = found["dnsmasq"].median / found["wefted"].median
        yield Check(name="questions per second, wefted / dnsmasq, medians", measured=ratio, bound=0.5, most=False, unit="times")
