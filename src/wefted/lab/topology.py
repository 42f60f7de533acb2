"""Topologies: which hosts, segments and routers a lab has, and every address and route that follows from it. Pure data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network
from typing import Any, Literal

from wefted.errors import Exhausted, NotFound, UsageError
from wefted.model.naming import link_name, mac_of
from wefted.model.objects import IPAddress, IPInterface, IPNetwork

Kind = Literal["host", "router", "store"]

STORE = "etcd"
"""The name of the machine that runs the cluster store."""
DEFAULT_PREFIX = "192.168.50.0/24"
ENGINES = ("containerd", "docker", "podman", "lxc", "nspawn")
"""The container engines that a host may have, in the order of their start: dockerd uses a containerd that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One Ethernet segment of the underlay; `mtu` in bytes."""

    name: str
    prefixes: tuple[IPNetwork, ...]
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """An interface of a machine, plugged into a switch; there `port` is the name of the cable's other end."""

    switch: str
    ifname: str
    port: str
    mac: str
    addresses: tuple[IPInterface, ...]

    def address(self, version: int) -> IPAddress | None:
        return next((a.ip for a in self.addresses if a.version == version), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A virtual machine of the lab: a host, a router between segments, or the one with the cluster store."""

    name: str
    kind: Kind
    legs: tuple[Leg, ...]
    engines: tuple[str, ...] = ()
    """Its container engines: some of `ENGINES`, in that order."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(a.ip for leg in self.legs for a in leg.addresses)

    def leg_on(self, switch: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.switch == switch), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOrder:
    """A network to be made once the agents run: `options` are what follows `wefted network create NAME`."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A network for a container: `options` are what follows `wefted network connect NETWORK CONTAINER`."""

    network: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOrder:
    """A bare network namespace on a host, and the networks it gets."""

    name: str
    host: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A machine whose addresses are still to be chosen: for each leg the segment, and the addresses that were asked for."""

    name: str
    kind: Kind = "host"
    legs: tuple[tuple[str, tuple[IPAddress, ...]], ...]
    engines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole lab, with every address decided."""

    switches: tuple[Switch, ...]
    machines: tuple[Machine, ...]
    networks: tuple[NetworkOrder, ...] = ()
    containers: tuple[ContainerOrder, ...] = field(default=())

    @property
    def hosts(self) -> tuple[Machine, ...]:
        return tuple(m for m in self.machines if m.kind == "host")

    @property
    def store(self) -> Machine | None:
        return next((m for m in self.machines if m.kind == "store"), None)

    def switch(self, name: str) -> Switch:
        return next(s for s in self.switches if s.name == name)

    def machine(self, name: str) -> Machine:
        """Return the machine of this name. Raises `NotFound`."""
        found = next((m for m in self.machines if m.name == name), None)
        if found is None:
            raise NotFound(f"there is no host {name!r} in this lab", f"it has {', '.join(m.name for m in self.machines)}")
        return found

    def with_engines(self, engines: Collection[str]) -> Topology:
        """Return the same lab with these container engines on every host, besides those that it has."""

        def equipped(machine: Machine) -> Machine:
            wanted = {*engines, *machine.engines} if machine.kind == "host" else ()
            return replace(machine, engines=tuple(e for e in ENGINES if e in wanted))

        return replace(self, machines=tuple(map(equipped, self.machines)))

    def routes(self, machine: Machine) -> list[tuple[IPNetwork, IPAddress]]:
        """Return (destination, next hop) for each segment that `machine` is not on; the way with the fewest routers wins."""
        first_hops = self._first_hops(machine)
        return [
            (prefix, via)
            for switch in self.switches
            if (hop := first_hops.get(switch.name)) is not None
            for prefix in switch.prefixes
            if (via := hop.address(prefix.version)) is not None
        ]

    def _first_hops(self, machine: Machine) -> Mapping[str, Leg | None]:
        reached: dict[str, Leg | None] = {leg.switch: None for leg in machine.legs}
        queue = list(reached)
        for here in queue:
            for router in self._routers_on(here, machine):
                for leg in router.legs:
                    if leg.switch not in reached:
                        reached[leg.switch] = reached[here] or router.leg_on(here)
                        queue.append(leg.switch)
        return reached

    def _routers_on(self, switch: str, besides: Machine) -> Iterator[Machine]:
        return (m for m in self.machines if m.kind == "router" and m != besides and m.leg_on(switch) is not None)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal topology."""
        return {
            "switches": [{"name": s.name, "prefixes": [str(p) for p in s.prefixes], "mtu": s.mtu} for s in self.switches],
            "machines": [_machine_json(m) for m in self.machines],
            "networks": [{"name": n.name, "options": list(n.options)} for n in self.networks],
            "containers": [_container_json(c) for c in self.containers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Topology:
        """Return the topology that `to_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            switches=tuple(
                Switch(name=s["name"], prefixes=tuple(map(ip_network, s["prefixes"])), mtu=s["mtu"]) for s in data["switches"]
            ),
            machines=tuple(map(_machine_from, data["machines"])),
            networks=tuple(NetworkOrder(name=n["name"], options=tuple(n["options"])) for n in data["networks"]),
            containers=tuple(map(_container_from, data["containers"])),
        )


def simple(hosts: int, *, store: bool = True) -> Topology:
    """Return `hosts` hosts h1, h2, ... on one segment, 192.168.50.N; with `store` the cluster store at the highest address."""
    prefix = ip_network(DEFAULT_PREFIX)
    most = prefix.num_addresses - 3
    if not 1 <= hosts <= most:
        raise UsageError(f"a lab has 1 to {most} hosts, not {hosts}", "use -f FILE.yaml with a larger segment for more")
    switch = Switch(name="underlay", prefixes=(prefix,))
    placements = [Placement(name=f"h{n}", legs=(("underlay", ()),)) for n in range(1, hosts + 1)]
    return Topology(switches=(switch,), machines=place([switch], placements, store=store))


def place(switches: Sequence[Switch], placements: Sequence[Placement], *, store: bool) -> tuple[Machine, ...]:
    """Choose all the addresses: hosts from the bottom of their segments, the store and then the routers from the top.

    Raises `Exhausted` when a segment is full.
    """
    wanted = list(placements)
    if store:
        wanted.append(Placement(name=STORE, kind="store", legs=((switches[0].name, ()),)))
    used = {address for p in wanted for _, asked in p.legs for address in asked}
    by_name = {s.name: s for s in switches}
    order = sorted(wanted, key=lambda p: ("store", "router", "host").index(p.kind))
    made = {p.name: _machine(p, by_name, used) for p in order}
    return tuple(made[p.name] for p in wanted)


def _machine(placement: Placement, switches: Mapping[str, Switch], used: set[IPAddress]) -> Machine:
    legs = []
    for number, (segment, asked) in enumerate(placement.legs):
        ifname = f"eth{number}"
        addresses = tuple(_choose(placement, prefix, asked, used) for prefix in switches[segment].prefixes)
        single = len(placement.legs) == 1
        port = placement.name if single else link_name("pt", placement.name, ifname)
        mac = mac_of("lab", placement.name, ifname)
        legs.append(Leg(switch=segment, ifname=ifname, port=port, mac=mac, addresses=addresses))
    return Machine(name=placement.name, kind=placement.kind, legs=tuple(legs), engines=placement.engines)


def _choose(placement: Placement, prefix: IPNetwork, asked: Iterable[IPAddress], used: set[IPAddress]) -> IPInterface:
    address = next((a for a in asked if a in prefix), None)
    if address is None:
        address = next((a for a in _candidates(prefix, placement.kind) if a not in used), None)
    if address is None:
        raise Exhausted(f"segment {prefix} has no address left for {placement.name}")
    used.add(address)
    return ip_interface(f"{address}/{prefix.prefixlen}")


def _candidates(prefix: IPNetwork, kind: Kind) -> Iterator[IPAddress]:
    numbers = range(1, min(prefix.num_addresses, 1 << 16) - 1)
    return (prefix[n] for n in (numbers if kind == "host" else reversed(numbers)))


def _machine_json(machine: Machine) -> dict[str, Any]:
    legs = [
        {
            "switch": leg.switch,
            "ifname": leg.ifname,
            "port": leg.port,
            "mac": leg.mac,
            "addresses": [str(a) for a in leg.addresses],
        }
        for leg in machine.legs
    ]
    return {"name": machine.name, "kind": machine.kind, "legs": legs, "engines": list(machine.engines)}


def _machine_from(data: Mapping[str, Any]) -> Machine:
    legs = tuple(Leg(**{**leg, "addresses": tuple(map(ip_interface, leg["addresses"]))}) for leg in data["legs"])
    return Machine(name=data["name"], kind=data["kind"], legs=legs, engines=tuple(data.get("engines", ())))


def _container_json(container: ContainerOrder) -> dict[str, Any]:
    attachments = [{"network": a.network, "options": list(a.options)} for a in container.attachments]
    return {"name": container.name, "host": container.host, "attachments": attachments}


def _container_from(data: Mapping[str, Any]) -> ContainerOrder:
    attachments = tuple(Attachment(network=a["network"], options=tuple(a["options"])) for a in data["attachments"])
    return ContainerOrder(name=data["name"], host=data["host"], attachments=attachments)
