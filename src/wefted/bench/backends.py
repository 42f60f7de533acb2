"""`wefted bench backends`: how fast packets pass between containers of two hosts, through each way that joins the hosts.

The underlay itself, host to host, is the first row: the most that a backend can reach. Each is measured as over a plain card,
which is what a wire is like, and with all that the devices of a lab can do for the kernel (see `card`). All take turns, so that
a slow moment hits all. The wire format of `udp` is measured three times: in the kernel, by our relay, and by a proxy in C.
WireGuard's row says so where a process in user space does it.
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
from .forwarders import MTU, Forwarder, c_proxy, our_relay
from .rows import Check, Report, Row, Skipped, percentile
from .turns import machine

BACKENDS = ("host-gw", "vxlan", "udp", "wireguard")
MODES = {"plain-nic": "off", "offload": "on"}
UDP, PROXY, RELAY = "udp", "udp by a C proxy", "udp by our relay"
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
    kpps: dict[str, list[float]] = field(default_factory=dict)


def backends(rounds: int, seconds: float, say: Say) -> Report:
    """Measure all of them, `rounds` times `seconds` each. Raises `WeftedError`."""
    if rounds < 1 or not 0.05 <= seconds <= 60:
        raise UsageError("--rounds must be at least 1, --seconds 0.05 to 60")
    say("two virtual hosts with an agent each, one etcd")
    with Lab.up(f"bench-{os.getpid()}", 2) as lab:
        hosts = (lab.host("h1"), lab.host("h2"))
        _join(lab, say)
        lines, skipped = _lines(*hosts)
        modes = _modes(hosts, skipped)
        for mode in modes:
            _switch(hosts, MODES[mode])
            for turn in range(rounds):
                say(f"{mode}: round {turn + 1} of {rounds}")
                for line in lines if turn % 2 == 0 else reversed(lines):
                    _measure(line, mode, hosts[0], seconds)
    rows = [_row(line, mode) for mode, line in product(modes, lines)]
    return Report(machine=machine(), rows=rows, checks=_checks(lines), skipped=skipped)


def _join(lab: Lab, say: Say) -> None:
    """Take the lab's switch out of the measurement: a real one does its work elsewhere."""
    try:
        lab.patch("h1", "h2")
    except KernelError as error:
        say(f"through a switch that takes the same processors: {error.message}")


def _lines(sender: Host, server: Host) -> tuple[list[_Line], list[Skipped]]:
    lines, skipped = [_Line("underlay", "", str(server.address), _mtu(sender, "", str(sender.address)))], []
    _serve(server, "")
    for backend in BACKENDS:
        try:
            lines.append(_line(backend, sender, server))
        except UsageError as error:
            skipped.append(Skipped(name=backend, reason=error.message))
    forwarders = (Forwarder(PROXY, 1, c_proxy), Forwarder(RELAY, 2, our_relay))
    for forwarder in forwarders:
        try:
            lines.append(_forwarded(forwarder, sender, server))
        except UsageError as error:
            skipped.append(Skipped(name=forwarder.name, reason=error.message))
    return lines, skipped


def _forwarded(forwarder: Forwarder, sender: Host, server: Host) -> _Line:
    forwarder.start(sender, server)
    _serve(server, forwarder.namespace)
    _probe(forwarder.name, sender, forwarder.namespace, forwarder.address(2), MTU)
    return _Line(forwarder.name, forwarder.namespace, forwarder.address(2), MTU)


def _line(backend: str, sender: Host, server: Host) -> _Line:
    """Make a network with one container on each host, and wait until they reach each other."""
    _call(sender, "network.create", name=backend, driver="bridge", backend=backend)
    own, peer = (_container(host, backend) for host in (sender, server))
    _serve(server, backend)
    mtu = _mtu(sender, backend, own)
    _probe(backend, sender, backend, peer, mtu)
    return _Line(backend + _aside(sender), backend, peer, mtu) if backend == "wireguard" else _Line(backend, backend, peer, mtu)


def _aside(host: Host) -> str:
    """Return what is to be said of WireGuard here."""
    ways = {row["way"] for row in _call(host, "status")["tunnels"] if "public_key" in row}
    return "" if ways == {"kernel"} else f" in user space ({', '.join(sorted(ways))})"


def _probe(name: str, sender: Host, namespace: str, peer: str, mtu: int) -> None:
    target = {"address": peer, "port": traffic.HTTP, "ping": True, "size": mtu}
    answer = _traffic(sender, namespace, "probe", json.dumps([target]))
    if answer[0]["errors"]:
        raise WeftedError(f"{name}: {'; '.join(answer[0]['errors'])}")


def _container(host: Host, backend: str) -> str:
    host.run(["ip", "netns", "add", backend])
    made = _call(host, "network.connect", network=backend, containers=[f"netns:{backend}"])
    return str(made[0]["addresses"][0]).partition("/")[0]


def _modes(hosts: Sequence[Host], skipped: list[Skipped]) -> list[str]:
    """Return the modes that the devices know."""
    try:
        for way in ("on", "off"):
            _switch(hosts, way)
    except KernelError as error:
        skipped.append(Skipped(name="plain-nic", reason=error.message))
        return ["offload"]
    return list(MODES)


def _switch(hosts: Sequence[Host], way: str) -> None:
    for host in hosts:
        done = host.run([sys.executable, "-P", "-m", card.__name__, DEVICE, way], check=False)
        if done.returncode:
            raise KernelError(f"{host.name}: {done.stderr.strip()}")
        _call(host, "reconcile")  # tunnels choose their programs by what the card does


def _measure(line: _Line, mode: str, sender: Host, seconds: float) -> None:
    figures = _traffic(sender, line.namespace, "stream", line.address, str(seconds))
    line.gbit.setdefault(mode, []).append(figures["gbit"])
    line.turns.setdefault(mode, []).extend(figures["turns_us"])
    line.kpps.setdefault(mode, []).append(_traffic(sender, line.namespace, "flood", line.address, str(seconds))["kpps"])


def _row(line: _Line, mode: str) -> Row:
    samples = tuple(microseconds / 1000 for microseconds in line.turns[mode])
    further: dict[str, float | str] = {
        "backend": line.name,
        "mode": mode,
        "mtu": line.mtu,
        "tcp_gbit": round(median(line.gbit[mode]), 3),
        "kpps": round(median(line.kpps[mode]), 1),
        "p50_us": round(1000 * percentile(samples, 50), 1),
    }
    return Row(name=line.name, what="one byte there and back over TCP", samples=samples, verified=len(samples), further=further)


def _checks(lines: Sequence[_Line]) -> list[Check]:
    """Return what is required of the ways to carry `udp`, as over a plain card: against the proxy in C."""
    found = {line.name: line for line in lines if "plain-nic" in line.gbit}
    if PROXY not in found:
        return []
    checks = []
    for name, bounds in {UDP: (6.0, 2.0, 0.65), RELAY: (1.0, 1.0, None)}.items():
        if name in found:
            ratios = _ratios(found[name], found[PROXY], "plain-nic")
            for what, ratio, bound in zip(("TCP", "packets", "round trip"), ratios, bounds, strict=True):
                if bound is not None:
                    checks.append(
                        Check(name=f"{name}, {what}", measured=ratio, bound=bound, most=what == "round trip", unit="x")
                    )
    return checks


def _ratios(line: _Line, base: _Line, mode: str) -> tuple[float, float, float]:
    gbit = median(line.gbit[mode]) / median(base.gbit[mode])
    return gbit, median(line.kpps[mode]) / median(base.kpps[mode]), median(line.turns[mode]) / median(base.turns[mode])


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
