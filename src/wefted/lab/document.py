"""Labs as YAML files. Everything that is wrong is reported at once, each with file and line.

segments:                     # without any: one, 192.168.50.0/24
  west: {cidr: 10.1.0.0/24, mtu: 1500}
  east: {cidr: [10.2.0.0/24, "fd02::/64"]}
routers:
  r1: [west, east]            # or {west: 10.1.0.1, east: }
hosts:                        # a list of names will do, or a number
  h1: {segment: west}
  h2: {segment: east, address: 10.2.0.9, engines: [docker]}
engines: [podman]             # of every host: containerd, docker, podman, lxc, nspawn
networks:                     # as in `wefted network create`
  blue: {backend: vxlan, subnet: 10.20.0.0/16, options: {vni: 7}}
containers:                   # bare network namespaces
  c1: {host: h1, network: blue, ip: 10.20.0.9, publish: 8080:80}
  c2: {host: h2, networks: {blue: {alias: db}}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from wefted.errors import Exhausted, UsageError
from wefted.model.nearest import guess
from wefted.model.objects import IPAddress, IPNetwork

from .reader import Reader, instead, is_null
from .topology import (
    DEFAULT_PREFIX,
    ENGINES,
    STORE,
    Attachment,
    ContainerOrder,
    NetworkOrder,
    Placement,
    Switch,
    Topology,
    place,
    simple,
)

SECTIONS = ("segments", "routers", "hosts", "engines", "networks", "containers")
NETWORK_FLAGS = {
    "driver": "--driver", "backend": "--backend", "subnet": "--subnet", "gateway": "--gateway", "ip-range": "--ip-range",
    "aux-address": "--aux-address", "mtu": "--mtu", "label": "--label",
}  # fmt: skip
NETWORK_SWITCHES = {"internal": "--internal", "ipv6": "--ipv6"}
CONTAINER_FLAGS = {
    "ip": "--ip", "ifname": "--ifname", "mac": "--mac", "alias": "--alias", "route": "--route", "publish": "--publish",
}  # fmt: skip
"""Keys and the flags of `wefted network connect` that they become; each may have a list of values."""

_MACHINE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?", re.ASCII)
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


def read(path: Path, *, store: bool = True) -> Topology:
    """Return the lab that a file describes; `store` adds the machine with the cluster store. Raises `UsageError`."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    return parse(text, str(path), store=store)


def parse(text: str, source: str = "<text>", *, store: bool = True) -> Topology:
    """Return the lab that a YAML text describes. Raises `UsageError` with one line for each thing that is wrong."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{source}:{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}:1: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{source}:1: not a lab: nested too deeply") from None
    if root is None:
        raise UsageError(f"{source}:1: the file is empty", "the least is: hosts: 2")
    reader = _LabReader(source)
    topology = reader.topology(root, store)
    if reader.errors or topology is None:
        raise UsageError("\n".join(error for _, error in sorted(reader.errors)))
    return topology


class _LabReader(Reader):
    """Knows the words of a lab. Each method reads one of them, complains of what is wrong, and returns what can be used."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.taken: dict[IPAddress, str] = {}

    def topology(self, root: Node, store: bool) -> Topology | None:
        parts = self.mapping(root, "the file", SECTIONS)
        switches = self.switches(parts.get("segments"))
        routers = self.routers(parts.get("routers"), switches)
        hosts = self.hosts(parts.get("hosts"), switches, root)
        everywhere = self.engines(parts.get("engines"))
        self.distinct(parts)
        networks = self.networks(parts.get("networks"))
        containers = self.containers(parts.get("containers"), {h.name for h in hosts}, {n.name for n in networks})
        if self.errors:
            return None
        try:
            machines = place(switches, [*hosts, *routers], store=store)
        except Exhausted as error:
            self.fail(root, error.message)
            return None
        topology = Topology(switches=tuple(switches), machines=machines, networks=networks, containers=containers)
        return topology.with_engines(everywhere)

    def switches(self, node: Node | None) -> list[Switch]:
        if node is None:
            return list(simple(1).switches)
        found = [s for name, item in self.named(node, "segments", _MACHINE_NAME) if (s := self.switch(name, item))]
        self.overlaps(node, found)
        return found or list(simple(1).switches)

    def switch(self, name: str, node: Node) -> Switch | None:
        parts = self.mapping(node, f"segment {name}", ("cidr", "mtu"))
        if "cidr" not in parts:
            self.fail(node, f"segment {name} has no cidr, such as {DEFAULT_PREFIX}")
            return None
        prefixes = [p for item in self.items(parts["cidr"]) if (p := self.prefix(item)) is not None]
        mtu = self.number(parts.get("mtu"), "mtu", 1280 if any(p.version == 6 for p in prefixes) else 68, 65535, 1500)
        return Switch(name=name, prefixes=tuple(prefixes), mtu=mtu) if prefixes else None

    def prefix(self, node: Node) -> IPNetwork | None:
        prefix = self.value(node, ip_network, "an IP prefix, such as 10.1.0.0/24")
        if prefix is not None and prefix.num_addresses < 4:
            self.fail(node, f"{prefix} has no room for hosts")
            return None
        return prefix

    def overlaps(self, node: Node, switches: Sequence[Switch]) -> None:
        every = [(s.name, p) for s in switches for p in s.prefixes]
        for number, (name, prefix) in enumerate(every):
            for other, second in every[number + 1 :]:
                if prefix.version == second.version and prefix.overlaps(second):
                    what = f"{prefix} of segment {name} overlaps {second} of segment {other}"
                    self.fail(self.key(node, other), what)

    def routers(self, node: Node | None, switches: Sequence[Switch]) -> list[Placement]:
        found = []
        for name, item in self.named(node, "routers", _MACHINE_NAME):
            legs = self.legs(item, f"router {name}", switches)
            if len(legs) < 2:
                self.fail(item, f"router {name} joins two segments at least")
            found.append(Placement(name=name, kind="router", legs=legs))
        return found

    def legs(self, node: Node, where: str, switches: Sequence[Switch]) -> tuple[tuple[str, tuple[IPAddress, ...]], ...]:
        """Read a list of segments, or a mapping of segments to addresses."""
        pairs = node.value if isinstance(node, MappingNode) else [(item, None) for item in self.items(node)]
        legs = [
            (switch, self.addresses(value, where, (switch,))) for key, value in pairs if (switch := self.known(key, switches))
        ]
        if len({switch.name for switch, _ in legs}) < len(legs):
            self.fail(node, f"{where} is on one segment twice")
        return tuple((switch.name, addresses) for switch, addresses in legs)

    def hosts(self, node: Node | None, switches: Sequence[Switch], root: Node) -> list[Placement]:
        if node is None:
            self.fail(
                root,
                "there are no hosts",
            )
            return []
        if isinstance(node, ScalarNode):
            count = self.number(node, "hosts", 1, 1000, 1)
            return [Placement(name=f"h{n}", legs=((switches[0].name, ()),)) for n in range(1, count + 1)]
        return [self.host(name, item, switches) for name, item in self.named(node, "hosts", _MACHINE_NAME)]

    def host(self, name: str, node: Node, switches: Sequence[Switch]) -> Placement:
        parts = self.mapping(node, f"host {name}", ("segment", "segments", "address", "engines"))
        return Placement(name=name, legs=self.plugs(name, parts, switches), engines=self.engines(parts.get("engines")))

    def plugs(
        self, name: str, parts: Mapping[str, Node], switches: Sequence[Switch]
    ) -> tuple[tuple[str, tuple[IPAddress, ...]], ...]:
        """Read where a host is plugged in, as for `Placement.legs`."""
        if "segments" in parts:
            return self.legs(parts["segments"], f"host {name}", switches)
        switch = self.known(parts["segment"], switches) if "segment" in parts else switches[0]
        if switch is None:
            return ()
        return ((switch.name, self.addresses(parts.get("address"), f"host {name}", (switch,))),)

    def engines(self, node: Node | None) -> tuple[str, ...]:
        """Read container engines, in the order of `ENGINES`."""
        wanted = {name: item for item in self.items(node) if (name := self.text(item, "the name of a container engine"))}
        for name, item in wanted.items():
            if name not in ENGINES:
                suggestion = guess(name, ENGINES, ": ") or f" (there is {', '.join(sorted(ENGINES))})"
                self.fail(item, f"there is no container engine {name!r} for a lab{suggestion}")
        return tuple(e for e in ENGINES if e in wanted)

    def known(self, node: Node, switches: Sequence[Switch]) -> Switch | None:
        name = self.text(node, "the name of a segment")
        found = next((s for s in switches if s.name == name), None)
        if found is None and name is not None:
            self.fail(node, f"there is no segment {name!r}{instead(name, [s.name for s in switches])}")
        return found

    def addresses(self, node: Node | None, where: str, switches: Sequence[Switch]) -> tuple[IPAddress, ...]:
        if node is None or is_null(node):
            return ()
        found = [self.address(item, where, switches[0]) for item in self.items(node)]
        return tuple(a for a in found if a is not None)

    def address(self, node: Node, where: str, switch: Switch) -> IPAddress | None:
        address = self.value(node, ip_address, "an IP address")
        if address is None:
            return None
        prefix = next((p for p in switch.prefixes if address in p), None)
        if prefix is None:
            self.fail(node, f"{address} is not in segment {switch.name} ({', '.join(map(str, switch.prefixes))})")
            return None
        if address in (prefix.network_address, prefix.broadcast_address):
            self.fail(node, f"{address} is the first or the last of {prefix} and can be nobody's")
            return None
        if address in self.taken:
            self.fail(node, f"{address} is {self.taken[address]}'s already")
            return None
        self.taken[address] = where
        return address

    def distinct(self, parts: Mapping[str, Node]) -> None:
        """Segments, routers and hosts share one set of names, and the store's name is taken."""
        seen: dict[str, str] = {STORE: "the cluster store", **dict.fromkeys(("lo", "all", "default"), "a part of the kernel")}
        for section, word in (("segments", "a segment"), ("routers", "a router"), ("hosts", "a host")):
            for name, node in self.names(parts.get(section)):
                if name in seen:
                    self.fail(node, f"{name!r} is the name of {seen[name]} already")
                seen[name] = word

    def networks(self, node: Node | None) -> tuple[NetworkOrder, ...]:
        return tuple(
            NetworkOrder(name=name, options=self.network_options(name, item))
            for name, item in self.named(node, "networks", _NETWORK_NAME)
        )

    def network_options(self, name: str, node: Node) -> tuple[str, ...]:
        parts = self.mapping(node, f"network {name}", (*NETWORK_FLAGS, *NETWORK_SWITCHES, "options"))
        for key in ("subnet", "ip-range"):
            for item in self.items(parts.get(key)):
                self.value(item, ip_network, "an IP prefix, such as 10.20.0.0/16")
        self.number(parts.get("mtu"), "mtu", 68, 65535, 1500)
        switches = [flag for key, flag in NETWORK_SWITCHES.items() if self.flag(parts.get(key))]
        options = self.pairs(parts.get("options"), f"options of network {name}")
        return (*self.flags(parts, NETWORK_FLAGS), *switches, *(w for pair in options for w in ("-o", pair)))

    def containers(self, node: Node | None, hosts: set[str], networks: set[str]) -> tuple[ContainerOrder, ...]:
        found = [self.container(name, item, hosts, networks) for name, item in self.named(node, "containers", _CONTAINER_NAME)]
        return tuple(c for c in found if c is not None)

    def container(self, name: str, node: Node, hosts: set[str], networks: set[str]) -> ContainerOrder | None:
        parts = self.mapping(node, f"container {name}", ("host", "network", "networks", *CONTAINER_FLAGS))
        if "host" not in parts:
            self.fail(node, f"container {name} has no host")
            return None
        host = self.text(parts["host"], "the name of a host")
        if host is not None and host not in hosts:
            self.fail(parts["host"], f"there is no host {host!r}{instead(host, hosts)}")
        return ContainerOrder(name=name, host=host or "", attachments=self.attachments(node, name, parts, networks))

    def attachments(self, node: Node, name: str, parts: Mapping[str, Node], networks: set[str]) -> tuple[Attachment, ...]:
        if "networks" in parts:
            for key in ("network", *CONTAINER_FLAGS):
                if key in parts:
                    self.fail(parts[key], f"{key!r} belongs below its network in 'networks'")
            return tuple(self.attachment(key, value, networks) for key, value in self.entries(parts["networks"], "networks"))
        flags = self.flags(parts, CONTAINER_FLAGS)
        if "network" in parts:
            return (Attachment(network=self.network(parts["network"], networks), options=flags),)
        if flags:
            self.fail(node, f"container {name} has {', '.join(k for k in CONTAINER_FLAGS if k in parts)} but no network")
        return ()

    def attachment(self, key: Node, node: Node, networks: set[str]) -> Attachment:
        parts = self.mapping(node, f"network {key.value}", tuple(CONTAINER_FLAGS))
        return Attachment(network=self.network(key, networks), options=self.flags(parts, CONTAINER_FLAGS))

    def network(self, node: Node, networks: set[str]) -> str:
        name = self.text(node, "the name of a network")
        if name is not None and name not in networks:
            self.fail(node, f"there is no network {name!r} in this file{instead(name, networks)}")
        return name or ""
