"""A lab: virtual hosts on this machine, brought up, changed and taken down. This is what tests, the demo and recipes use.

with Lab.up("try", 2) as lab:
    lab.host("h1").run(["ip", "netns", "add", "c1"])
    lab.cut("h1", "h2")
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from wefted.errors import InUse, KernelError, NotFound, Unsupported, UsageError, WeftedError

from . import agents, etcd, host, state, wire
from . import engines as engine
from .enter import in_network
from .host import Host
from .process import Process, kill
from .record import WIRE, Record, load
from .topology import Machine, Topology, simple

PATIENCE = 60.0
"""Seconds after which a lab that does not come up has failed."""


class Lab:
    """A lab that is up. It knows nothing but its name: what it is stands in the record, which other processes change too."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[Any]] = []

    @classmethod
    def up(
        cls,
        name: str = "lab",
        topology: Topology | int = 2,
        *,
        bare: bool = False,
        agent: bool = True,
        engines: Collection[str] = (),
    ) -> Self:
        """Bring a lab up: a topology, or a number of hosts on one segment.

        `bare` leaves out the store and the agents, `agent=False` only the agents; `engines` (of `topology.ENGINES`) come to
        every host, besides those of the topology. What was half made under this name is removed first. Raises `InUse` when
        the lab is up already; after any error, nothing is left.
        """
        state.require_root()
        state.check_name(name)
        state.require_place()
        plan = simple(topology, store=not bare) if isinstance(topology, int) else topology
        plan = plan.with_engines(engines)
        _require_programs(plan)
        lab = cls(name)
        with state.locked(name, create=True):
            _refuse_running(name)
            lab._sweep()
            try:
                lab._build(Record(name=name, topology=plan, agents=agent and not bare))
            except BaseException:
                lab._sweep()
                state.forget(name)
                raise
        return lab

    @classmethod
    def open(cls, name: str = "lab") -> Self:
        """Return a lab that is up. Raises `NotFound`."""
        state.require_root()
        _whole(load(name))
        return cls(name)

    def down(self) -> bool:
        """Remove everything of the lab, also of one that is half made or damaged; whether there was anything."""
        state.require_root()
        state.check_name(self.name)
        there = state.exists(self.name) or bool(host.find(self.name))
        if there:
            with state.locked(self.name, create=True):
                self._sweep()
                state.forget(self.name)
        return there

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    @property
    def topology(self) -> Topology:
        return load(self.name).topology

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts that are switched on."""
        record = load(self.name)
        return tuple(self._host(record, m) for m in record.topology.hosts if record.running(m.name))

    def host(self, name: str) -> Host:
        """Return a host, a router or the store, to run programs in it. Raises `NotFound`, or `UsageError` when it is off."""
        record = load(self.name)
        machine = record.topology.machine(name)
        if name not in record.processes:
            raise UsageError(f"{name} is powered off", f"wefted lab boot --name {self.name} {name}")
        if not record.running(name):
            raise UsageError(f"{name} has died: its first process is gone", f"wefted lab boot --name {self.name} {name}")
        return self._host(record, machine)

    def cut(self, name: str, other: str | None = None) -> None:
        """Take the cables of a host out; or with `other`, drop all frames between these two only."""
        with self._change() as record:
            record.cuts.add(_pair(record, name, other))
            _set_ports(record, name) if other is None else _filter(record)

    def heal(self, name: str, other: str | None = None) -> None:
        """Undo `cut`; without `other`, every cut that `name` is part of."""
        with self._change() as record:
            pair = _pair(record, name, other)
            healed = {pair} if other else {c for c in record.cuts if name in c}
            record.cuts -= healed
            _set_ports(record, name)
            if any(len(c) == 2 for c in healed):
                _filter(record)

    def slow(self, name: str, delay: str = "", loss: str = "") -> None:
        """Delay what goes to and from a host ("10ms", each way), or lose a part of it ("1%"); with neither, stop that.

        Raises `Unsupported` where the kernel has no netem.
        """
        with self._change() as record:
            machine = record.topology.machine(name)
            ends = [(record.processes[WIRE], [leg.port for leg in machine.legs])]
            ends.append((self.host(name).process, [leg.ifname for leg in machine.legs]))
            for process, devices in ends:
                _slow(process, devices, delay, loss)

    def patch(self, name: str, other: str) -> None:
        """Join two hosts of a switch by a cable of their own, for measurements: a switch here takes the hosts' processors.

        `cut` has no effect on it. Raises `KernelError` where the kernel cannot redirect frames.
        """
        with self._change() as record:
            machines = [record.topology.machine(n) for n in (name, other)]
            wire.batch(_wire(record), wire.patch_commands(*machines), program="tc")

    def poweroff(self, name: str) -> None:
        """Kill everything in a host at once, as if its power had failed. Its disk stays."""
        with self._change() as record:
            machine = record.topology.machine(name)
            process = record.processes.pop(name, None)
            if process is not None:
                kill([process], self._reap)
                engine.remove_groups(self.name, name)
                wire.batch(_wire(record), wire.unplug_commands(machine), force=True)

    def boot(self, name: str) -> None:
        """Switch a host on again: same name, addresses and disk, a new boot; its store or agent is started."""
        with self._change() as record:
            machine = record.topology.machine(name)
            if record.running(name):
                return
            deadline = time.monotonic() + PATIENCE
            try:
                self._boot(record, machine, deadline)
            except BaseException:
                kill([record.processes.pop(name)] if name in record.processes else [], self._reap)
                record.save()
                raise

    def _boot(self, record: Record, machine: Machine, deadline: float) -> None:
        wire.batch(_wire(record), wire.unplug_commands(machine), force=True)
        self._start(record, [machine], deadline)
        wire.batch(_wire(record), wire.cable_commands(record.topology, machine, record.processes[machine.name].pid))
        _address(record, machine)
        if (machine.name,) in record.cuts:
            wire.batch(_wire(record), wire.port_commands(machine, "down"))
        if machine.kind == "store":
            etcd.start(record.processes[machine.name], machine.addresses[0])
            etcd.wait(record.processes[machine.name], deadline)
        elif machine.kind == "host":
            self._serve(record, [machine], deadline)
            engine.wait(self._host(record, machine), machine.engines, deadline)

    def _build(self, record: Record) -> None:
        deadline = time.monotonic() + PATIENCE
        topology = record.topology
        record.save()
        state.make_disks(record.name)
        for machine in topology.machines:
            record.disk(machine.name).mkdir()
        names = [f"{address} {m.name}\n" for m in topology.machines for address in m.addresses]
        record.disk("hosts").write_text("".join(names))
        self._start(record, topology.machines, deadline, with_wire=True)
        if topology.store is not None:
            etcd.start(record.processes[topology.store.name], topology.store.addresses[0])
        cables = [c for m in topology.machines for c in wire.cable_commands(topology, m, record.processes[m.name].pid)]
        wire.batch(_wire(record), wire.switch_commands(topology) + cables)
        for machine in topology.machines:
            _address(record, machine)
        if topology.store is not None:
            etcd.wait(record.processes[topology.store.name], deadline)
        self._serve(record, topology.hosts, deadline)
        equipped = [(self._host(record, m), m.engines) for m in topology.hosts]
        for one, wanted in equipped:
            engine.wait(one, wanted, deadline)
        engine.load(equipped, record.disk("skel.tar"), deadline)
        self._order(record)
        record.complete = True
        record.save()

    def _start(self, record: Record, machines: Iterable[Machine], deadline: float, *, with_wire: bool = False) -> None:
        """Start inits, all at once. They are told to stay only when all of them are on record."""
        starting = [host.start(record.name, WIRE, "wire", None)] if with_wire else []
        for machine in machines:
            group = engine.group_of(record.name, machine)
            starting.append(host.start(record.name, machine.name, machine.kind, record.disk(machine.name), group))
        try:
            record.processes |= {s.name: s.wait(deadline) for s in starting}
            record.save()
            for one in starting:
                one.commit()
        finally:
            for one in starting:
                one.close()

    def _serve(self, record: Record, machines: Sequence[Machine], deadline: float) -> None:
        """Start the engines, make the containers of the topology, then start the agents."""
        hosts = [self._host(record, m) for m in machines]
        for one, machine in zip(hosts, machines, strict=True):
            engine.start(one, machine.engines)
        for one in hosts:
            agents.make_containers(one, record.topology.containers)
        if record.agents:
            agents.start(hosts, etcd.url(record.topology), deadline)

    def _order(self, record: Record) -> None:
        if record.agents:
            hosts = [self._host(record, m) for m in record.topology.hosts]
            agents.make_networks(hosts[0], record.topology.networks)
            agents.connect(hosts, record.topology.containers)

    def _host(self, record: Record, machine: Machine) -> Host:
        return Host(machine.name, record.processes[machine.name], machine.addresses, self._started)

    @contextlib.contextmanager
    def _change(self) -> Iterator[Record]:
        """Lend the record to a change, and write it back when that has succeeded."""
        state.require_root()
        with state.locked(self.name):
            record = _whole(load(self.name))
            yield record
            record.save()

    def _sweep(self) -> None:
        """Kill and remove whatever there is under this name. The caller holds the lock."""
        with contextlib.suppress(NotFound, UsageError):
            kill(state.processes(self.name).values(), self._reap)
        kill(host.find(self.name), self._reap)
        engine.remove_groups(self.name)
        state.erase(self.name)

    def _reap(self) -> None:
        host.collect(self._started)


def _require_programs(topology: Topology) -> None:
    if shutil.which("ip") is None:
        raise Unsupported("the lab needs the command `ip`", "apt-get install iproute2")
    if topology.store is not None:
        etcd.require()
    engine.require(topology)


def _refuse_running(name: str) -> None:
    with contextlib.suppress(NotFound):
        record = load(name)
        if record.complete and record.running(WIRE):
            raise InUse(f"the lab {name!r} is up already", f"wefted lab down --name {name}, or choose another --name")


def _whole(record: Record) -> Record:
    if not record.complete:
        raise WeftedError(f"the lab {record.name!r} is only half made", f"wefted lab down --name {record.name}")
    return record


def _wire(record: Record) -> Process:
    if not record.running(WIRE):
        raise WeftedError("the lab's switches have died", f"wefted lab down --name {record.name}, then up again")
    return record.processes[WIRE]


def _address(record: Record, machine: Machine) -> None:
    wire.batch(record.processes[machine.name], wire.address_commands(record.topology, machine))


def _pair(record: Record, name: str, other: str | None) -> tuple[str, ...]:
    names = {record.topology.machine(n).name for n in (name, other) if n is not None}
    if other is not None and len(names) < 2:
        raise UsageError(f"{name} cannot be cut off from itself")
    return tuple(sorted(names))


def _set_ports(record: Record, name: str) -> None:
    """Set a machine's ports up or down, as the record says; those of a machine that is off do not exist."""
    machine = record.topology.machine(name)
    state_ = "down" if (name,) in record.cuts else "up"
    wire.batch(_wire(record), wire.port_commands(machine, state_), force=not record.running(name))


def _filter(record: Record) -> None:
    machine = record.topology.machine
    pairs = [(machine(cut[0]), machine(cut[1])) for cut in sorted(record.cuts) if len(cut) == 2]
    wire.filter_frames(_wire(record), wire.cut_rules(record.topology, pairs))


def _slow(process: Process, devices: Sequence[str], delay: str, loss: str) -> None:
    try:
        for device in devices:
            wire.batch(process, wire.slow_commands(device, delay, loss), program="tc", force=not (delay or loss))
    except KernelError as error:
        if _has_netem(process):
            raise UsageError(f"tc refuses this: {error.message}", "as in --delay 20ms --loss 1%") from None
        raise Unsupported("this kernel cannot slow a link: it has no netem", "it needs CONFIG_NET_SCH_NETEM") from None


def _has_netem(process: Process) -> bool:
    """Whether the loopback device, which everything has, can be given the smallest delay."""
    probe = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1us"]
    quiet = subprocess.DEVNULL
    if in_network(process, probe, stdout=quiet, stderr=quiet).wait():
        return False
    in_network(process, ["tc", "qdisc", "del", "dev", "lo", "root"], stdout=quiet, stderr=quiet).wait()
    return True
