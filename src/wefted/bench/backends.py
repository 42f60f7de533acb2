"""`wefted bench backends`: how fast packets pass between containers of two hosts, through each way that joins the hosts.

The underlay itself, host to host, is the first row: the most that a backend can reach. Each is measured with all that the
network card does for the kernel, and as over a plain card (see `card`). All take turns, so that a slow moment hits all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from wefted.client import RemoteEngine, complete
from wefted.errors import KernelError, UsageError, WeftedError
from wefted.lab import traffic
from wefted.lab.agents import SOCKET
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from . import card
from .attach import machine
from .rows import Report, Row, Skipped, percentile

BACKENDS = ("host-gw", "vxlan")
MODES = {"offloads": "on", "plain card": "off"}
DEVICE = "eth0"

Say = Callable[[str], None]


@dataclass(slots=True)
class _Line:
    """One backend: where the sender and the server are, the server's address, and what was measured in each mode."""

    name: str
    namespace: str
    address: str
    mtu: int
    gbit: dict[str, list[float]] = field(default_factory=dict)
    turns: dict[str, list[float]] = field(default_factory=dict)


def backends(rounds: int, seconds: float, say: Say) -> Report:
    """Measure all of them, `rounds` times `seconds` each. Raises `WeftedError`."""
    if rounds < 1 or not 0.05 <= seconds <= 60:
        raise UsageError("--rounds must be at least 1, --seconds 0.05 to 60")
    say("two virtual hosts with an agent each, one etcd")
    with Lab.up(f"bench-{os.getpid()}", 2) as lab:
        hosts = (lab.host("h1"), lab.host("h2"))
        lines, skipped = _lines(*hosts)
        modes = _modes(hosts, skipped)
        for turn, mode in product(range(rounds), modes):
            say(f"round {turn + 1} of {rounds}, {mode}")
            _switch(hosts, MODES[mode])
            for line in lines:
                _measure(line, mode, hosts[0], seconds)
    rows = [_row(line, mode) for line, mode in product(lines, modes)]
    return Report(machine=machine(), rows=rows, skipped=skipped)


def _lines(sender: Host, server: Host) -> tuple[list[_Line], list[Skipped]]:
    lines, skipped = [_Line("underlay", "", str(server.address), _mtu(sender, "", str(sender.address)))], []
    _serve(server, "")
    for backend in BACKENDS:
        try:
            lines.append(_line(backend, sender, server))
        except UsageError as error:
            skipped.append(Skipped(name=backend, reason=error.message))
    return lines, skipped


def _line(backend: str, sender: Host, server: Host) -> _Line:
    """Make a network with one container on each host, and wait until they reach each other."""
    _call(sender, "network.create", name=backend, driver="bridge", backend=backend)
    own, peer = (_container(host, backend) for host in (sender, server))
    _serve(server, backend)
    mtu = _mtu(sender, backend, own)
    answer = _traffic(
        sender, backend, "probe", json.dumps([{"address": peer, "port": traffic.HTTP, "ping": True, "size": mtu}])
    )
    if answer[0]["errors"]:
        raise WeftedError(f"{backend}: {'; '.join(answer[0]['errors'])}")
    return _Line(backend, backend, peer, mtu)


def _container(host: Host, backend: str) -> str:
    host.run(["ip", "netns", "add", backend])
    made = _call(host, "network.connect", network=backend, containers=[f"netns:{backend}"])
    return str(made[0]["addresses"][0]).partition("/")[0]


def _modes(hosts: Sequence[Host], skipped: list[Skipped]) -> list[str]:
    """Return the modes that the devices know."""
    try:
        for way in ("off", "on"):
            _switch(hosts, way)
    except WeftedError as error:
        skipped.append(Skipped(name="plain card", reason=error.message))
        return ["offloads"]
    return list(MODES)


def _switch(hosts: Sequence[Host], way: str) -> None:
    for host in hosts:
        done = host.run([sys.executable, "-P", "-m", card.__name__, DEVICE, way], check=False)
        if done.returncode:
            raise KernelError(f"{host.name}: {done.stderr.strip()}")


def _measure(line: _Line, mode: str, sender: Host, seconds: float) -> None:
    figures = _traffic(sender, line.namespace, "stream", line.address, str(seconds))
    line.gbit.setdefault(mode, []).append(figures["gbit"])
    line.turns.setdefault(mode, []).extend(figures["turns_us"])


def _row(line: _Line, mode: str) -> Row:
    samples = tuple(microseconds / 1000 for microseconds in line.turns[mode])
    further: dict[str, float | str] = {
        "backend": line.name,
        "mode": mode,
        "mtu": line.mtu,
        "tcp_gbit": round(median(line.gbit[mode]), 3),
        "p50_us": round(1000 * percentile(samples, 50), 1),
    }
    name, what = f"{line.name}, {mode}", "one byte there and back over TCP"
    return Row(name=name, what=what, samples=samples, verified=len(samples), further=further)


def _mtu(host: Host, namespace: str, address: str) -> int:
    where = ["-n", namespace] if namespace else []
    shown: list[Any] = json.loads(host.run(["ip", *where, "-j", "address", "show", "to", address]).stdout)
    return int(shown[0]["mtu"])


def _serve(host: Host, namespace: str) -> None:
    child = host.popen(_argv(namespace, "serve", host.name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise WeftedError(f"{host.name}: the server of the measurement does not start")


def _traffic(host: Host, namespace: str, *words: str) -> Any:
    return json.loads(host.run(_argv(namespace, *words), timeout=120).stdout)


def _argv(namespace: str, *words: str) -> list[str]:
    where = ["ip", "netns", "exec", namespace] if namespace else []
    return [*where, sys.executable, "-I", "-S", str(Path(traffic.__file__)), *words]


def _call(host: Host, operation: str, **parameters: Any) -> Any:
    engine = RemoteEngine(str(host.root / SOCKET))
    try:
        return complete(engine.call(operation, parameters))
    finally:
        complete(engine.close())
