"""The record of a lab: what stands in its state.json, as an object."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from . import state
from .process import Process
from .topology import Topology

WIRE = "(wire)"
"""The machine that holds the switches; parentheses keep it apart from every host name."""


@dataclass(slots=True, kw_only=True)
class Record:
    """A lab as it stands. A machine without a process is powered off; `complete` is false until `up` has come to its end."""

    name: str
    topology: Topology
    agents: bool
    complete: bool = False
    processes: dict[str, Process] = field(default_factory=dict)
    cuts: set[tuple[str, ...]] = field(default_factory=set)
    """One name: that machine's cables are out. Two names, in order: no frame passes between these."""

    @property
    def directory(self) -> Path:
        return state.RUN / self.name

    def disk(self, machine: str) -> Path:
        return state.disks(self.name) / machine

    def running(self, machine: str) -> bool:
        process = self.processes.get(machine)
        return process is not None and process.alive

    def save(self) -> None:
        """Replace the record at once: a reader finds the old one or the new one."""
        data = {
            "name": self.name,
            "agents": self.agents,
            "complete": self.complete,
            "processes": {name: [p.pid, p.start] for name, p in self.processes.items()},
            "cuts": sorted(map(list, self.cuts)),
            "topology": self.topology.to_json(),
        }
        new = self.directory / "state.json.new"
        new.write_text(json.dumps(data, indent=1))
        new.rename(self.directory / "state.json")


def load(name: str) -> Record:
    """Return the record of a lab. Raises `NotFound` when there is none and `WeftedError` when it is damaged."""
    data = state.read(name)
    try:
        return Record(
            name=data["name"],
            topology=Topology.from_json(data["topology"]),
            agents=data["agents"],
            complete=data["complete"],
            processes=state.processes_of(data),
            cuts={tuple(c) for c in data["cuts"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise state.damaged(name, repr(error)) from None
