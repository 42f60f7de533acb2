"""The YAML file of `wefted plan` and `wefted apply`: networks, and which containers are in them.

    networks:
      NAME:                             all keys are optional, and so is what follows the name
        driver: bridge                  backend: vxlan                layer: 3
        subnets: [10.9.0.0/16]          gateway: 10.9.0.1             ip-range: 10.9.4.0/22     auxiliary: [10.9.0.9]
        ipv6: true                      ipv4: false                   mtu: 1400                 internal: false
        masquerade: true                isolated: true                expose: false
        options: {vni: "42"}            labels: {team: web}
    containers:
      [KIND:]NAME:
        networks:                       or a list of names
          NAME: {ip: [10.9.0.5], ifname: eth0, mac: 02:42:0a:09:00:05, aliases: [db], routes: [default@10.9.0.1],
                 publish: ["8080:80"], publish-from: [192.0.2.0/24], gateway-priority: 10,
                 dhcp: true, dhcp_client: udhcpc, dhcp_options: [-R]}       ip6 is another word for ip

Where a list may stand, a single value will do. Everything that is wrong is reported at once, each with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

from wefted.errors import UsageError

from . import spec
from .marked import Listing, Mark, Node, Problem, Scalar, Table, Unreadable, compose
from .nearest import guess

MOST_PROBLEMS = 50
"""Problems that one message tells."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A container in a network. `fields` holds what was said about it, as parameters of `network.connect`."""

    network: str
    container: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """What a file asks for, checked as far as the file alone allows.

    `networks` holds for each name what was said about it, under the names that `network.create` gives its parameters; and
    `layer`, as text. What was not said is not there.
    """

    networks: Mapping[str, Mapping[str, Any]]
    members: tuple[Membership, ...]
    exposed: Mapping[str, bool]
    """Those networks about which it was said."""


def parse(text: str, source: str = "-", known: Collection[str] = ()) -> Document:
    """Return what a YAML text asks for; a container may be in its networks and in those that are `known`.

    Raises one `UsageError` with a line `SOURCE:LINE:COLUMN: what is wrong` for each problem.
    """
    problems: list[Problem] = []
    document = Document({}, (), {})
    try:
        root, problems = compose(text)
        document = _Reader(problems, known).document(root)
    except Unreadable as error:
        problems.append(error.problem)
    if problems:
        raise UsageError("\n".join(_lines(source, problems)))
    return document


def _lines(source: str, problems: list[Problem]) -> list[str]:
    ordered = sorted(problems, key=lambda problem: (problem.mark.line, problem.mark.column))
    lines = [f"{source}:{p.mark.line}:{p.mark.column}: {p.text}" for p in ordered[:MOST_PROBLEMS]]
    more = len(ordered) - MOST_PROBLEMS
    return [*lines, f"{source}: and {more} more"] if more > 0 else lines


class _Reader:
    """Turns nodes into fields, and notes what is wrong instead of stopping."""

    def __init__(self, problems: list[Problem], known: Collection[str]) -> None:
        self._problems = problems
        self._known = known
        self._prefixes: dict[str, list[Any]] = {}
        self._addresses: dict[tuple[str, str], str] = {}

    def document(self, root: Node | None) -> Document:
        if root is None or (isinstance(root, Scalar) and root.is_null):
            self._wrong(root or Scalar(Mark(1, 1), "", True), "the document is empty; it has the keys networks and containers")
            return Document({}, (), {})
        parts = self._keyed(root, ("networks", "containers"), "the document")
        exposed: dict[str, bool] = {}
        networks: dict[str, Mapping[str, Any]] = {}
        for name, node in self._table(parts.get("networks"), "networks"):
            if self._value(name, spec.network_name) is not None:
                networks[name.text] = self._network(name.text, node, exposed)
        self._overlaps(parts.get("networks"))
        members: list[Membership] = []
        for name, node in self._table(parts.get("containers"), "containers"):
            if self._value(name, spec.container) is not None:
                members += self._container(name.text, node, networks)
        return Document(networks, tuple(members), exposed)

    # -- networks --------------------------------------------------------------------------------------------------

    def _network(self, name: str, node: Node, exposed: dict[str, bool]) -> Mapping[str, Any]:
        entries = self._keyed(node, NETWORK_KEYS, f"network {name!r}")
        fields: dict[str, Any] = {}
        for key, value in entries.items():
            field, read = NETWORK_KEYS[key]
            found = read(self, value)
            if found is not None:
                fields[field] = found
        if "exposed" in fields:
            exposed[name] = fields.pop("exposed")
        self._prefixes[name] = [ip_network(text) for text in fields.get("subnets", ())]
        for key in ("gateway", "ip-range", "auxiliary"):
            self._inside(name, entries.get(key), fields.get(NETWORK_KEYS[key][0], ()))
        return fields

    def _inside(self, network: str, node: Node | None, texts: Collection[str]) -> None:
        """Note what lies in none of the subnets, if there are any."""
        prefixes = self._prefixes.get(network)
        if node is None or not prefixes:
            return
        for text in texts:
            part = ip_network(text)
            if not any(part.version == p.version and part.subnet_of(p) for p in prefixes):
                self._wrong(_naming(node, text), f"{text} lies in no subnet of network {network!r} ({_listed(prefixes)})")

    def _overlaps(self, networks: Node | None) -> None:
        """Note each subnet that overlaps another; sorted, a prefix stands next to the one in which it lies."""
        marks = {name.text: node for name, node in networks.entries} if isinstance(networks, Table) else {}
        everything = [(prefix, name) for name, prefixes in self._prefixes.items() for prefix in prefixes]
        around: tuple[Any, str] | None = None
        for prefix, name in sorted(everything, key=lambda e: (e[0].version, e[0].network_address, e[0].prefixlen)):
            if around is not None and prefix.version == around[0].version and prefix.overlaps(around[0]):
                where = "the same network" if around[1] == name else f"network {around[1]!r}"
                self._wrong(_naming(marks[name], str(prefix)), f"subnet {prefix} overlaps {around[0]} of {where}")
            else:
                around = prefix, name

    # -- containers ------------------------------------------------------------------------------------------------

    def _container(self, container: str, node: Node, networks: Mapping[str, Any]) -> list[Membership]:
        parts = self._keyed(node, ("networks",), f"container {container!r}")
        if "networks" not in parts:
            self._wrong(node, f"container {container!r} is in no network; give it the key networks")
            return []
        named = parts["networks"]
        entries: list[tuple[Node, Node]] = []
        if isinstance(named, Listing):
            entries += [(item, Scalar(item.mark, "", True)) for item in named.items if self._text(item) is not None]
        else:
            entries += self._table(named, "networks")
        found: list[Membership] = []
        for name, value in entries:
            if isinstance(name, Scalar):
                self._known_network(name, networks)
                found.append(self._membership(container, name, value))
        return found

    def _known_network(self, name: Scalar, networks: Mapping[str, Any]) -> None:
        if name.text not in networks and name.text not in self._known:
            close = self._close(name.text, (*networks, *self._known))
            self._wrong(name, f"there is no network {_quoted(name.text)}{close}")

    def _membership(self, container: str, network: Scalar, node: Node) -> Membership:
        fields: dict[str, Any] = {}
        entries = self._keyed(node, ENDPOINT_KEYS, f"network {network.text!r} of container {container!r}")
        for key, value in entries.items():
            field, read = ENDPOINT_KEYS[key]
            found = read(self, value)
            if found is not None:
                fields[field] = (*fields.get(field, ()), *found) if isinstance(found, tuple) else found
            if field == "ip":
                self._inside(network.text, value, found)
                for text in found:
                    self._unique(_naming(value, text), network.text, text, container)
        return Membership(network.text, container, fields)

    def _unique(self, node: Node, network: str, address: str, container: str) -> None:
        other = self._addresses.setdefault((network, str(ip_address(address))), container)
        if other != container:
            self._wrong(node, f"{address} is given to {other!r} already")

    # -- values ----------------------------------------------------------------------------------------------------

    def word(self, node: Node) -> str | None:
        text = self._text(node)
        if text == "":
            self._wrong(node, "a name is missing here")
        return text or None

    def words(self, node: Node) -> tuple[str, ...]:
        items = node.items if isinstance(node, Listing) else (node,)
        found = [self.word(item) for item in items]
        return tuple(text for text in found if text is not None)

    def layer(self, node: Node) -> str | None:
        text = self._text(node)
        if text is not None and text not in ("2", "3"):
            self._wrong(node, f"layer is 2 or 3, not {_quoted(text)}")
            return None
        return text

    def mtu(self, node: Node) -> int | None:
        if isinstance(node, Scalar) and node.is_integer:
            found: int | None = self._value(node, spec.mtu)
            return found
        self._wrong(node, f"an MTU is a number of bytes, not {_shape(node)}")
        return None

    def number(self, node: Node) -> int | None:
        if isinstance(node, Scalar) and node.is_integer and len(node.text) < 10:
            return int(node.text)
        self._wrong(node, f"this must be a number, not {_shape(node)}")
        return None

    def boolean(self, node: Node) -> bool | None:
        found = node.boolean if isinstance(node, Scalar) else None
        if found is None:
            self._wrong(node, f"this must be true or false, not {_shape(node)}")
        return found

    def pairs(self, node: Node) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for key, value in self._table(node, "this"):
            text = self._text(value)
            if text is not None and self._value(key, partial(_pair, text)) is not None:
                found[key.text] = text
        return found

    def one(self, node: Node, check: Callable[[str], Any]) -> str | None:
        text = self._text(node)
        return text if text is not None and self._value(node, check) is not None else None

    def several(self, node: Node, check: Callable[[str], Any]) -> tuple[str, ...]:
        items = node.items if isinstance(node, Listing) else (node,)
        found = [self.one(item, check) for item in items]
        return tuple(text for text in found if text is not None)

    def _value(self, node: Node, check: Callable[[str], Any]) -> Any:
        """Return what a text means, or None and note what is wrong with it."""
        try:
            return check(node.text if isinstance(node, Scalar) else "")
        except UsageError as error:
            close = f"; {error.hint}" if error.hint.startswith("did you mean") else ""
            self._wrong(node, error.message + close)
            return None

    def _text(self, node: Node) -> str | None:
        if isinstance(node, Scalar) and not node.is_null and node.boolean is None:
            return node.text
        hint = " (quote it)" if isinstance(node, Scalar) and node.boolean is not None else ""
        self._wrong(node, f"this must be a text, not {_shape(node)}{hint}")
        return None

    def _keyed(self, node: Node, known: Collection[str], what: str) -> dict[str, Node]:
        """Return the values of the known keys, and note the others."""
        found = {}
        for key, value in self._table(node, what):
            if key.text in known:
                found[key.text] = value
            else:
                close = self._close(key.text, known) or f"; known are {', '.join(known)}"
                self._wrong(key, f"unknown key {_quoted(key.text)} in {what}{close}")
        return found

    def _table(self, node: Node | None, what: str) -> tuple[tuple[Scalar, Node], ...]:
        """Return the entries of a mapping; nothing at all stands for an empty one."""
        if isinstance(node, Table):
            return node.entries
        if node is not None and not (isinstance(node, Scalar) and node.is_null):
            self._wrong(node, f"{what} must be a mapping, not {_shape(node)}")
        return ()

    def _close(self, text: str, known: Collection[str]) -> str:
        """Return a guess at what was meant, as long as somebody will read it: it costs a look at every known word."""
        return guess(text, known) if len(self._problems) < MOST_PROBLEMS else ""

    def _wrong(self, node: Node, text: str) -> None:
        self._problems.append(Problem(node.mark, text))


def _naming(node: Node, text: str) -> Node:
    """Return the scalar below `node` that says `text`, for a message that shall point at it."""
    parts: tuple[Node, ...] = ()
    if isinstance(node, Listing):
        parts = node.items
    elif isinstance(node, Table):
        parts = tuple(value for _, value in node.entries)
    found = (_naming(part, text) for part in parts)
    return next((part for part in found if isinstance(part, Scalar) and part.text == text), node)


def _shape(node: Node) -> str:
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Listing):
        return "a list"
    return "nothing" if node.is_null else _quoted(node.text)


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _pair(value: str, key: str) -> tuple[str, str]:
    return spec.pair(f"{key}={value}")


def _listed(prefixes: Collection[Any]) -> str:
    return ", ".join(map(str, prefixes))


def _one(check: Callable[[str], Any]) -> Callable[[_Reader, Node], Any]:
    return lambda reader, node: reader.one(node, check)


def _several(check: Callable[[str], Any]) -> Callable[[_Reader, Node], Any]:
    return lambda reader, node: reader.several(node, check)


NETWORK_KEYS: Mapping[str, tuple[str, Callable[[_Reader, Node], Any]]] = {
    "driver": ("driver", _Reader.word),
    "backend": ("backend", _Reader.word),
    "layer": ("layer", _Reader.layer),
    "subnets": ("subnets", _several(spec.subnet)),
    "gateway": ("gateways", _several(spec.address)),
    "ip-range": ("ip_ranges", _several(spec.subnet)),
    "auxiliary": ("auxiliary", _several(spec.address)),
    "ipv6": ("ipv6", _Reader.boolean),
    "ipv4": ("ipv4", _Reader.boolean),
    "mtu": ("mtu", _Reader.mtu),
    "internal": ("internal", _Reader.boolean),
    "masquerade": ("masquerade", _Reader.boolean),
    "isolated": ("isolated", _Reader.boolean),
    "expose": ("exposed", _Reader.boolean),
    "options": ("options", _Reader.pairs),
    "labels": ("labels", _Reader.pairs),
}
"""The key in the file, the parameter of `network.create`, and how its value is read."""

ENDPOINT_KEYS: Mapping[str, tuple[str, Callable[[_Reader, Node], Any]]] = {
    "ip": ("ip", _several(spec.address)),
    "ip6": ("ip", _several(spec.address)),
    "ifname": ("ifname", _one(spec.interface_name)),
    "mac": ("mac", _one(spec.mac)),
    "aliases": ("aliases", _several(spec.alias)),
    "routes": ("routes", _several(spec.route)),
    "gateway-priority": ("gateway_priority", _Reader.number),
    "publish": ("publish", _several(spec.ports)),
    "publish-from": ("publish_from", _several(spec.sources)),
    "dhcp": ("dhcp", _Reader.boolean),
    "dhcp_client": ("dhcp_client", _Reader.word),
    "dhcp_options": ("dhcp_options", _Reader.words),
}
"""The key in the file, the parameter of `network.connect`, and how its value is read."""
