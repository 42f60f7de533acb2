"""The YAML file of `wefted plan` and `wefted apply`: networks, and the containers that are in them.

    networks:
      web: {driver: bridge, backend: vxlan, subnets: [10.9.0.0/16], options: {vni: 77}}
    containers:
      netns:c1:
        networks:
          web: {ip: [10.9.0.5], publish: ["8080:80"]}

A file is read whole, and all that is wrong with it is told at once, each with its line and column. Values stay what was typed:
the operations that they become parse them, here they are only checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from wefted.errors import UsageError

from . import spec

LARGEST = 1 << 20
"""Characters of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A container in a network; the fields are those of the operation `network.connect`."""

    network: str
    container: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file asks for. `networks` has for each name the fields of the operation `network.create`."""

    networks: Mapping[str, Mapping[str, Any]]
    exposed: Mapping[str, bool]
    members: tuple[Membership, ...]


def parse(text: str, source: str) -> Document:
    """Return the document. Raises one `UsageError` that lists every problem as `source:line:column: what`."""
    reading = _Reading(source)
    document = reading.document(_compose(text, source, reading))
    if reading.problems:
        raise UsageError("\n".join(reading.problems), "nothing was changed")
    return document


def _compose(text: str, source: str, reading: _Reading) -> Any:
    """Parse the YAML to nodes, which know their lines. Aliases are refused: a few of them can blow a file up without end."""
    import yaml  # 20 ms, which only this command pays

    if len(text) > LARGEST:
        raise UsageError(f"{source}: larger than {LARGEST} characters", "split the file")
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                reading.problem(event, "aliases (*name) are not taken", "write the value out")
        return None if reading.problems else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{where}: not YAML: {error.problem or error.context}", "nothing was changed") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{source}: not YAML: {str(error).splitlines()[0]}", "nothing was changed") from None


Reader = Callable[["_Reading", Any], Any]


class _Reading:
    """Walks the nodes of one file and collects what is wrong."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.problems: list[str] = []

    def problem(self, node: Any, what: str, hint: str = "") -> None:
        mark = node.start_mark
        self.problems.append(f"{self._source}:{mark.line + 1}:{mark.column + 1}: {what}{f' ({hint})' if hint else ''}")

    def document(self, root: Any) -> Document:
        top = self._known(root, "the file", ("networks", "containers"))
        networks: dict[str, Mapping[str, Any]] = {}
        exposed: dict[str, bool] = {}
        for name, (key, node) in self._mapping(top.get("networks"), "networks").items():
            self._checked(key, name, spec.network_name)
            fields = self._fields(node, f"network {name!r}", _NETWORK)
            exposed[name] = bool(fields.pop("expose", False))
            networks[name] = fields
        members: list[Membership] = []
        for container, (key, node) in self._mapping(top.get("containers"), "containers").items():
            self._checked(key, container, spec.container)
            members += self._memberships(container, node, networks)
        return Document(networks=networks, exposed=exposed, members=tuple(members))

    def _memberships(self, container: str, node: Any, networks: Mapping[str, Any]) -> list[Membership]:
        parts = self._known(node, f"container {container!r}", ("networks",))
        found = []
        for name, (key, inner) in self._mapping(parts.get("networks"), f"the networks of {container!r}").items():
            if name not in networks:
                self.problem(
                    key, f"container {container!r} names network {name!r}, which the file does not have{_near(name, networks)}"
                )
            fields = self._fields(inner, f"{container!r} in network {name!r}", _MEMBERSHIP)
            found.append(Membership(network=name, container=container, fields=fields))
        return found

    def _fields(self, node: Any, what: str, readers: Mapping[str, tuple[str, Reader]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in self._known(node, what, tuple(readers)).items():
            name, read = readers[key]
            found = read(self, value)
            if found is not None:
                fields[name] = found
        return fields

    def _known(self, node: Any, what: str, known: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, (key, value) in self._mapping(node, what).items():
            if name in known:
                found[name] = value
            else:
                self.problem(key, f"{what} has an unknown key {name!r}{_near(name, known)}", f"known are: {', '.join(known)}")
        return found

    def _mapping(self, node: Any, what: str) -> dict[str, tuple[Any, Any]]:
        """Return name -> (key node, value node); an empty value counts as an empty mapping."""
        if node is None or (node.id == "scalar" and node.tag == "tag:yaml.org,2002:null"):
            return {}
        if node.id != "mapping":
            self.problem(node, f"{what} must be a mapping, not {_kind(node)}")
            return {}
        found: dict[str, tuple[Any, Any]] = {}
        for key, value in node.value:
            if key.id != "scalar":
                self.problem(key, f"a key of {what} must be a word, not {_kind(key)}")
            elif key.value in found:
                self.problem(key, f"{what} has {key.value!r} twice")
            else:
                found[key.value] = (key, value)
        return found

    def _checked(self, node: Any, text: str, check: Callable[[str], Any]) -> bool:
        try:
            check(text)
        except UsageError as error:
            self.problem(node, error.message, error.hint)
            return False
        return True

    # -- values ----------------------------------------------------------------------------------------------------

    def text(self, node: Any, check: Callable[[str], Any] | None = None) -> str | None:
        if node.id != "scalar":
            self.problem(node, f"expected one value, not {_kind(node)}")
            return None
        value = str(node.value)
        return value if check is None or self._checked(node, value, check) else None

    def texts(self, node: Any, check: Callable[[str], Any]) -> list[str] | None:
        nodes = node.value if node.id == "sequence" else [node]
        values = [self.text(inner, check) for inner in nodes]
        return [value for value in values if value is not None]

    def flag(self, node: Any) -> bool | None:
        if node.id != "scalar" or node.tag != "tag:yaml.org,2002:bool":
            self.problem(node, "expected true or false")
            return None
        return bool(node.value.lower() in ("true", "yes", "on"))

    def number(self, node: Any) -> int | None:
        value = self.text(node, spec.mtu)
        return int(value) if value is not None else None

    def table(self, node: Any) -> dict[str, str]:
        found = {}
        for name, (_, value) in self._mapping(node, "a table of keys and values").items():
            inner = self.text(value)
            if inner is not None:
                found[name] = inner
        return found


def _kind(node: Any) -> str:
    return {"scalar": "a single value", "sequence": "a list", "mapping": "a mapping"}[node.id]


def _near(word: str, known: Any) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def _text(check: Callable[[str], Any] | None = None) -> Reader:
    return lambda reading, node: reading.text(node, check)


def _texts(check: Callable[[str], Any]) -> Reader:
    return lambda reading, node: reading.texts(node, check)


_NETWORK: Mapping[str, tuple[str, Reader]] = {
    "driver": ("driver", _text()),
    "backend": ("backend", _text()),
    "layer": ("layer", _text()),
    "subnets": ("subnets", _texts(spec.subnet)),
    "gateway": ("gateways", _texts(spec.address)),
    "ip-range": ("ip_ranges", _texts(spec.subnet)),
    "auxiliary": ("auxiliary", _texts(spec.address)),
    "ipv6": ("ipv6", _Reading.flag),
    "mtu": ("mtu", _Reading.number),
    "internal": ("internal", _Reading.flag),
    "masquerade": ("masquerade", _Reading.flag),
    "isolated": ("isolated", _Reading.flag),
    "expose": ("expose", _Reading.flag),
    "options": ("options", _Reading.table),
    "labels": ("labels", _Reading.table),
}
_MEMBERSHIP: Mapping[str, tuple[str, Reader]] = {
    "ip": ("ip", _texts(spec.address)),
    "ifname": ("ifname", _text(spec.interface_name)),
    "mac": ("mac", _text(spec.mac)),
    "aliases": ("aliases", _texts(spec.alias)),
    "routes": ("routes", _texts(spec.route)),
    "publish": ("publish", _texts(spec.ports)),
}
