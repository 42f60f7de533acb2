"""`wefted bench engines`: what a container's start costs on our network, beside the engines' own networks.

Three virtual hosts, each with engines of its own: on the first one our agent runs, and containers use our networks; on the
second one no program of ours listens, and they use the engine's own; the third is a swarm of its own, where Docker can be one.
All take turns, one container each, so that a machine that is slow for a while is so for all of them. Every container looks
itself, with its first instruction, for its interface and address; one that does not find them ends the benchmark.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from wefted.errors import Unsupported, UsageError, WeftedError
from wefted.lab import engines as lab_engines
from wefted.lab import image
from wefted.lab.agents import WEFTED
from wefted.lab.document import parse
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.lab.topology import Topology, simple

from .ours import Plugin
from .rows import Check, Report, Row, Skipped
from .turns import Say, Turn, machine, opened, row_of
from .worker import Worker

WANTED = {"h1": ("docker", "podman"), "h2": ("docker", "podman"), "h3": ("docker",)}
LOOK = "ip -o -4 addr show dev eth0 | grep -q 'inet {}'"
PAUSE = 0.3
"""Seconds before each container, off the clock: its engine and the kernel finish what the one before has left to them."""
ADDS = 5
"""CNI ADDs in a row, for each container of the others."""
PODMAN = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/run/cni-bin"]
"""
"""As the lab has it, with our plugin alone."""


@dataclass(slots=True)
class _Way:
    """One engine on one network; `begin` is how the addresses of that network begin."""

    name: str
    what: str
    engine: str
    host: str
    network: str
    begin: str
    prepare: Callable[[Host], None]
    worker: Worker | None = None
    samples: list[float] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        flags = ["--network", self.network] if self.network else []
        picture = "skel" if self.engine == "docker" else image.NAME
        return [self.engine, "run", "--rm", *flags, picture, "sh", "-c", LOOK.format(self.begin.replace(".", r"\."))]

    def play(self) -> float:
        """Run one container; return the milliseconds until its engine's command ended."""
        assert self.worker is not None
        argv = self.worker.ask("program", words=self.words)
        wall, _ = self.worker.ask("start", argv=argv)
        return float(wall)


def _network(driver: str, subnet: str, *words: str) -> Callable[[Host], None]:
    """Return what makes Docker's network `bench`."""

    def make(host: Host) -> None:
        host.run(["docker", "network", "create", "-d", driver, *words, "--subnet", subnet, "bench"], timeout=60)

    return make


def _swarm(host: Host) -> None:
    address = str(host.address)
    done = host.run(["docker", "swarm", "init", "--advertise-addr", address], check=False, timeout=60)
    if done.returncode:
        raise Unsupported(f"docker swarm init: {done.stderr.strip()}")
    _network("overlay", "10.123.0.0/16", "--attachable")(host)


def _our_cni(host: Host) -> None:
    missing = Plugin("podman", "10.124.0.0/16", publish=False).missing()
    if missing:
        raise Unsupported(missing)
    host.run([*WEFTED, "network", "create", "podman-bench", "--subnet", "10.124.0.0/16"])
    host.run([*WEFTED, "cni", "install", "--dir", "/run/cni-bin", "--network", "podman-bench"])
    (host.root / "etc/containers/containers.conf").write_text(PODMAN)


def _as_it_is(_: Host) -> None:
    """The engine has this network by itself."""


def _ways() -> list[_Way]:
    ours = _network("wefted", "10.121.0.0/16", "--ipam-driver", "wefted")
    return [
        _Way("docker-ours", "docker run, our network", "docker", "h1", "bench", "10.121.", ours),
        _Way("docker-bridge", "docker run, bridge", "docker", "h2", "bench", "10.122.", _network("bridge", "10.122.0.0/16")),
        _Way("docker-overlay", "docker run, swarm overlay", "docker", "h3", "bench", "10.123.", _swarm),
        _Way("podman-ours", "podman run, our CNI plugin", "podman", "h1", "podman-bench", "10.124.", _our_cni),
        _Way("podman-bridge", "podman run, bridge", "podman", "h2", "podman", "10.88.", _as_it_is),
    ]


def engines(rounds: int, say: Say) -> Report:
    """Run `rounds` containers each way, and five times as many CNI ADDs. Raises `WeftedError`."""
    if not 1 <= rounds <= 1000:
        raise UsageError("--rounds must be 1 to 1000", "a round takes some seconds")
    topology, absent = _topology()
    say("three virtual hosts with container engines")
    with Lab.up(f"bench-{os.getpid()}", topology, agent=False) as lab, ExitStack() as stack:
        first = lab.host("h1")
        first.run([*WEFTED, "up", "--advertise", str(first.address)])
        workers = {name: stack.enter_context(Worker(lab.host(name))) for name in WANTED}
        ways, skipped = _open(lab, workers, absent)
        turns, without = opened([("cni-ours-port", workers["h1"]), ("cni-portmap", workers["h2"])])
        for turn in turns:
            turn.provide(1 + rounds * ADDS)
        _take_turns(ways, turns, rounds, say)
        say("looking at what was made")
        rows = [*map(_row, ways), *map(row_of, turns)]
    return Report(machine=machine(), rows=rows, checks=list(_checks(rows)), skipped=[*skipped, *without])


def _topology() -> tuple[Topology, dict[str, str]]:
    """Return the hosts with the engines that are installed here, and why the others are not there."""
    absent = {}
    for engine in sorted({engine for wanted in WANTED.values() for engine in wanted}):
        try:
            lab_engines.require(simple(1).with_engines([engine]))
        except Unsupported as error:
            absent[engine] = str(error).replace("\n ", ";")
    hosts = {name: [engine for engine in wanted if engine not in absent] for name, wanted in WANTED.items()}
    told = ", ".join(f"{name}: {{engines: [{', '.join(engines)}]}}" for name, engines in hosts.items())
    return parse(f"hosts: {{{told}}}", store=False), absent


def _open(lab: Lab, workers: dict[str, Worker], absent: dict[str, str]) -> tuple[list[_Way], list[Skipped]]:
    """Prepare each way; return those that can run, and why the others cannot."""
    ways, skipped = [], []
    for way in _ways():
        try:
            if way.engine in absent:
                raise Unsupported(absent[way.engine])
            way.prepare(lab.host(way.host))
        except Unsupported as error:
            skipped.append(Skipped(name=way.name, reason=error.message))
        else:
            way.worker = workers[way.host]
            ways.append(way)
    return ways, skipped


def _take_turns(ways: Sequence[_Way], turns: Sequence[Turn], rounds: int, say: Say) -> None:
    """Run one container each first, off the record; then in turns, from the other end in every second round."""
    for way in ways:
        way.play()
    for turn in turns:
        turn.play(1)
        turn.samples.clear()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}, {len(ways) + len(turns)} ways")
        for way in ways if number % 2 == 0 else reversed(ways):
            time.sleep(PAUSE)
            way.samples.append(way.play())
        for turn in turns:
            time.sleep(PAUSE)
            turn.play(ADDS)


def _row(way: _Way) -> Row:
    if not way.samples:
        raise WeftedError(f"{way.name} was not measured")
    return Row(name=way.name, what=way.what, samples=tuple(way.samples), verified=len(way.samples))


def _checks(rows: Sequence[Row]) -> Iterator[Check]:
    """Yield the verdicts on pairs of which both were measured."""
    found = {row.name: row.median for row in rows}
    for ours, theirs, bound, name in (
        ("docker-ours", "docker-bridge", 1.05, "docker run, our network / Docker's bridge, medians"),
        ("docker-ours", "docker-overlay", 1.05, "docker run, our network / swarm overlay, medians"),
        ("cni-ours-port", "cni-portmap", 0.333, "our CNI ADD / bridge + host-local + portmap, medians"),
    ):
        if {ours, theirs} <= set(found):
            yield Check(name=name, measured=found[ours] / found[theirs], bound=bound, most=True, unit="times")
