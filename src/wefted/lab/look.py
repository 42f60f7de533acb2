"""Looking at a lab: its machines and their state from the record, their containers from the running hosts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from wefted.errors import WeftedError

from . import agents
from .host import Host
from .lab import Lab
from .picture import ContainerBox, MachineBox, Picture, Plug
from .record import Record, load
from .topology import Machine


def take(name: str, *, ask: bool = True) -> Picture:
    """Look at a lab. With `ask`, an agent is asked for networks and endpoints, if one answers."""
    record = load(name)
    hosts = Lab(name).hosts
    networks, endpoints = _ask(hosts) if ask else ([], [])
    return Picture(
        lab=name,
        segments=tuple((s.name, f"{', '.join(map(str, s.prefixes))}  mtu {s.mtu}") for s in record.topology.switches),
        machines=tuple(_machine(record, m, endpoints) for m in record.topology.machines),
        networks=tuple((n["name"], _about(n)) for n in networks),
        cuts=tuple((cut[0], cut[1]) for cut in sorted(record.cuts) if len(cut) == 2),
    )


def _machine(record: Record, machine: Machine, endpoints: Sequence[Mapping[str, Any]]) -> MachineBox:
    running = record.running(machine.name)
    process = record.processes.get(machine.name)
    cut = (machine.name,) in record.cuts
    return MachineBox(
        name=machine.name,
        kind=machine.kind,
        condition="up" if running else "off" if process is None else "dead",
        pid=process.pid if process is not None and running else 0,
        plugs=tuple(
            Plug(segment=leg.switch, ifname=leg.ifname, addresses=tuple(map(str, leg.addresses)), cut=cut)
            for leg in machine.legs
        ),
        containers=_containers(machine.name, process.pid if process and running else 0, endpoints),
    )


def _containers(host: str, pid: int, endpoints: Sequence[Mapping[str, Any]]) -> tuple[ContainerBox, ...]:
    """Return the named namespaces of a host, and those containers of it that only its agent knows."""
    names = {f"netns:{name}" for name in _listed(f"/proc/{pid}/root/run/netns")} if pid else set()
    mine = [e for e in endpoints if e["host"] == host] if pid else []
    return tuple(
        ContainerBox(
            name=name.removeprefix("netns:"),
            endpoints=tuple((e["network"], tuple(e["addresses"])) for e in mine if e["container"] == name),
        )
        for name in sorted(names | {e["container"] for e in mine})
    )


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _ask(hosts: Sequence[Host]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return networks and endpoints as the first agent that answers knows them: it knows those of all hosts."""
    for host in hosts:
        if agents.answers(host):
            try:
                return _json(host, "network", "ls"), _json(host, "ps")
            except (WeftedError, ValueError):
                continue
    return [], []


def _json(host: Host, *command: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(host.run([*agents.WEFTED, *command, "--json"], timeout=10).stdout)
    return found


def _about(network: Mapping[str, Any]) -> str:
    subnets = ", ".join(s["prefix"] for s in network["subnets"])
    return f"{network['driver']}, {network['backend']}, {subnets}" if subnets else f"{network['driver']}, {network['backend']}"
