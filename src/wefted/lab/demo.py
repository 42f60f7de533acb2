"""`wefted demo`: two virtual hosts, four containers, every kind of network; each is made, used, measured and removed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from wefted.client import RemoteEngine, complete
from wefted.errors import InUse, Unsupported, WeftedError

from . import graph, look, path
from .agents import SOCKET
from .host import Host
from .kinds import KEPT, KINDS, Kind
from .lab import Lab
from .path import Path as Way
from .path import Place
from .topology import ContainerOrder, Topology, simple

PLACES = {"c1": "h1", "c2": "h1", "c3": "h2", "c4": "h2"}
"""Container -> its host."""
PUBLISHED = 8080
SECONDS = 0.5
"""How long one stream sends."""
PATIENCE = 5.0
"""Seconds that news may take from one host to the other."""
TRAFFIC = Path(__file__).with_name("traffic.py")

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What was found of one kind of network. Times in milliseconds; counts are pairs of (succeeded, tried)."""

    kind: Kind
    addresses: dict[str, str] = field(default_factory=dict)
    shown: tuple[str, str] = ("", "")
    """The two containers between which path, throughput and round trip were measured."""
    way: Way | None = None
    mtu: int = 0
    ping_ms: float | None = None
    http: tuple[int, int] = (0, 0)
    published: tuple[int, int] = (0, 0)
    gbit: float | None = None
    turn_us: float | None = None
    problems: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def status(self) -> str:
        return f"skipped: {self.skipped}" if self.skipped else "ok" if self.ok else "FAILED"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the path with the devices' whole names."""
        return {
            "network": self.kind.title,
            "driver": self.kind.driver,
            "backend": self.kind.backend,
            "options": dict(self.kind.options),
            "addresses": self.addresses,
            "shown": list(self.shown),
            "path": list(self.way.devices) if self.way else [],
            "wire": self.way.wire if self.way else 0,
            "mtu": self.mtu,
            "ping_ms": self.ping_ms,
            "http": {"ok": self.http[0], "tried": self.http[1]},
            "published": {"ok": self.published[0], "tried": self.published[1]},
            "tcp_gbit": self.gbit,
            "p50_us": self.turn_us,
            "status": "skipped" if self.skipped else "ok" if self.ok else "failed",
            "reason": self.skipped,
            "problems": self.problems,
        }


def topology() -> Topology:
    """Return the demo's lab: two hosts on one segment, with two bare containers each."""
    containers = tuple(ContainerOrder(name=name, host=host) for name, host in PLACES.items())
    return replace(simple(2), containers=containers)


class Demo:
    """A demo in a lab that is up. `drawing` is the lab as it was while the overlay network was in it."""

    def __init__(self, lab: Lab, say: Say) -> None:
        self._say = say
        self._lab = lab
        self._hosts = {name: lab.host(name) for name in set(PLACES.values())}
        self._engines = {name: RemoteEngine(str(host.root / SOCKET)) for name, host in self._hosts.items()}
        self.drawing: list[str] = []

    def run(self, kinds: Iterable[Kind] = KINDS) -> Iterator[Result]:
        """Show the kinds one after the other."""
        self._say("servers in four containers")
        self._start_servers()
        for kind in kinds:
            self._say(f"{kind.title}: connect four containers, ping, fetch, publish, measure")
            yield self._show(kind)

    def keep(self, kind: Kind = KEPT) -> None:
        """Leave all containers in one network."""
        self._connect(Result(kind=kind))

    def _show(self, kind: Kind) -> Result:
        result = Result(kind=kind)
        try:
            self._connect(result)
            self._use(result)
        except Unsupported as error:
            result.skipped = error.message
        except WeftedError as error:
            result.problems.append(error.message)
        try:
            self._remove(kind)
        except WeftedError as error:
            result.problems.append(f"cannot remove it: {error.message}")
        return result

    def _connect(self, result: Result) -> None:
        kind = result.kind
        self._call("h1", "network.create", **kind.parameters)
        for name, host in PLACES.items():
            publish = [f"{PUBLISHED}:80"] if kind.publishes and name in _first_of_each_host() else []
            made = self._call(host, "network.connect", network=kind.name, containers=[f"netns:{name}"], publish=publish)
            result.addresses[name] = made[0]["addresses"][0].partition("/")[0]

    def _remove(self, kind: Kind) -> None:
        """Take away whatever there is of a network, also when it was not wholly made."""
        there = self._call("h1", "network.list")
        if kind.name not in [network["name"] for network in there]:
            return
        for host in self._hosts:
            rows = self._call(host, "endpoint.list")
            members = [r["container"] for r in rows if r["network"] == kind.name and r["host"] == host]
            if members:
                self._call(host, "network.disconnect", network=kind.name, containers=members)
        self._patiently(lambda: self._call("h1", "network.remove", names=[kind.name]))
        for host in self._hosts:
            self._patiently(partial(self._gone, host, kind.name))

    def _gone(self, host: str, network: str) -> None:
        """Have a host remove what it still has of a network that is gone. Raises `InUse` while it has not heard of that."""
        if network in [known["name"] for known in self._call(host, "network.list")]:
            raise InUse(f"{host} still knows network {network!r}")
        self._call(host, "reconcile")

    def _patiently(self, work: Callable[[], object]) -> None:
        """Repeat what is refused because the other host has not heard the news yet."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                work()
                return
            except InUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _use(self, result: Result) -> None:
        kind = result.kind
        one, other = result.shown = ("c1", "c3") if kind.spans else ("c1", "c2")
        result.mtu = self._mtu(result, one)
        self._between_all(result)
        if kind.publishes:
            self._from_other_host(result)
        if not result.ok:
            return
        if kind == KEPT:
            self.drawing = list(graph.text(look.take(self._lab.name)))
        result.way = path.between(self._place(result, one), self._place(result, other))
        figures = self._traffic(one, "stream", result.addresses[other], str(SECONDS))
        result.gbit = round(figures["gbit"], 2)
        result.turn_us = round(median(figures["turns_us"]), 1)

    def _between_all(self, result: Result) -> None:
        """Ping and fetch between all pairs that the network joins, in both directions, all containers at once."""
        children = {name: self._probe(name, self._targets(result, name)) for name in PLACES}
        answers = {name: json.loads(_output(child)) for name, child in children.items()}
        pings, good, tried = [], 0, 0
        for name, found in answers.items():
            for peer, answer in zip(self._peers(result.kind, name), found, strict=True):
                problems = [*answer["errors"], *_wrong_text(answer, peer)]
                result.problems += [f"{name} to {peer} ({answer['address']}): {problem}" for problem in problems]
                pings += [answer["ping_ms"]] if answer["ping_ms"] is not None else []
                good, tried = good + (answer["text"] == peer), tried + 1
        result.http = (good, tried)
        result.ping_ms = round(median(pings), 3) if pings else None

    def _from_other_host(self, result: Result) -> None:
        """Fetch each published port from the host that has not published it."""
        good = 0
        for name in _first_of_each_host():
            publisher = self._hosts[PLACES[name]]
            visitor = next(host for host in self._hosts.values() if host.name != publisher.name)
            target = {"address": str(publisher.address), "port": PUBLISHED}
            answer = json.loads(_output(_start(visitor, "", "probe", json.dumps([target]))))[0]
            problems = [*answer["errors"], *_wrong_text(answer, name)]
            result.problems += [f"{visitor.name} to {publisher.name}:{PUBLISHED}: {problem}" for problem in problems]
            good += not problems
        result.published = (good, len(self._hosts))

    def _peers(self, kind: Kind, name: str) -> list[str]:
        return [p for p in PLACES if p != name and (kind.spans or PLACES[p] == PLACES[name])]

    def _targets(self, result: Result, name: str) -> list[Mapping[str, Any]]:
        peers = self._peers(result.kind, name)
        return [{"address": result.addresses[p], "port": 80, "ping": True, "size": result.mtu} for p in peers]

    def _mtu(self, result: Result, name: str) -> int:
        """Return the MTU of the interface that has the container's address in this network."""
        argv = ["ip", "-n", name, "-j", "address", "show", "to", result.addresses[name]]
        mtu: int = json.loads(self._hosts[PLACES[name]].run(argv).stdout)[0]["mtu"]
        return mtu

    def _place(self, result: Result, name: str) -> Place:
        return Place(self._hosts[PLACES[name]], name, result.addresses[name])

    def _start_servers(self) -> None:
        children = [_start(self._hosts[host], name, "serve", name) for name, host in PLACES.items()]
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise WeftedError(f"a server in a container does not start: {_output(child)}")

    def _probe(self, name: str, targets: Sequence[Mapping[str, Any]]) -> subprocess.Popen[str]:
        return _start(self._hosts[PLACES[name]], name, "probe", json.dumps(targets))

    def _traffic(self, name: str, *words: str) -> Any:
        return json.loads(_output(_start(self._hosts[PLACES[name]], name, *words)))

    def _call(self, host: str, operation: str, **parameters: Any) -> Any:
        return complete(self._engines[host].call(operation, parameters))


def _first_of_each_host() -> list[str]:
    return [next(name for name in PLACES if PLACES[name] == host) for host in dict.fromkeys(PLACES.values())]


def _wrong_text(answer: Mapping[str, Any], wanted: str) -> list[str]:
    """Every server answers its own name: somebody else's answer is no success."""
    return [f"{answer['text']} answered instead of {wanted}"] if answer["text"] not in ("", wanted) else []


def _start(host: Host, namespace: str, *words: str) -> subprocess.Popen[str]:
    where = ["ip", "netns", "exec", namespace] if namespace else []
    argv = [*where, sys.executable, "-I", "-S", str(TRAFFIC), *words]
    pipe = subprocess.PIPE
    return host.popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, cwd="/")


def _output(child: subprocess.Popen[str]) -> str:
    """Return what a program printed. Raises `WeftedError` with its complaint when it failed."""
    try:
        output, error = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        output, error = child.communicate()
    if child.returncode:
        raise WeftedError(f"the traffic program failed: {error.strip()[-500:] or f'exit code {child.returncode}'}")
    return output
