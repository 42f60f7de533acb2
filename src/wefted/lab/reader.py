"""Reading YAML so that everything that is wrong can be told at once, with file and line: over nodes, not over values.

The text of a scalar is taken as it is written: `8080:80` is a port mapping here, and not the sexagesimal number of YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wefted.model.nearest import guess

T = TypeVar("T")


class Reader:
    """Walks nodes, collects errors, and goes on after each. `errors` are pairs of a line number and a message."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.errors: list[tuple[int, str]] = []

    def flags(self, parts: Mapping[str, Node], table: Mapping[str, str]) -> tuple[str, ...]:
        """Return each value of each key, behind the flag that it becomes."""
        found: list[str] = []
        for key, flag in table.items():
            for item in self.items(parts.get(key)):
                text = self.text(item, f"a value for {key}")
                found += [flag, text] if text is not None else []
        return tuple(found)

    def pairs(self, node: Node | None, where: str) -> list[str]:
        if node is None:
            return []
        entries = self.entries(node, where)
        return [f"{key.value}={text}" for key, item in entries if (text := self.text(item, "a value")) is not None]

    def mapping(self, node: Node, where: str, keys: Iterable[str]) -> dict[str, Node]:
        """Return the entries that are known and not null; a null for the whole is an empty mapping."""
        allowed = tuple(keys)
        found = {}
        for key, value in self.entries(node, where):
            if key.value not in allowed:
                self.fail(key, f"{where} has no {key.value!r}{instead(str(key.value), allowed)}")
            elif not is_null(value):
                found[str(key.value)] = value
        return found

    def entries(self, node: Node, where: str) -> list[tuple[ScalarNode, Node]]:
        if is_null(node):
            return []
        if not isinstance(node, MappingNode):
            self.fail(node, f"{where} must be a mapping (key: value), not {_kind(node)}")
            return []
        found: dict[str, tuple[ScalarNode, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.fail(key, f"a key of {where} must be a word, not {_kind(key)}")
            elif key.value in found:
                self.fail(key, f"{key.value!r} is there twice")
            else:
                found[key.value] = (key, value)
        return list(found.values())

    def named(self, node: Node | None, where: str, names: re.Pattern[str]) -> list[tuple[str, Node]]:
        """Return the items of a mapping by name; a list of names stands for items that say nothing more."""
        found = []
        for name, key, value in self._named(node, where):
            if not names.fullmatch(name):
                self.fail(key, f"{name!r} cannot be a name in {where}: it must match {names.pattern}")
            found.append((name, value))
        return found

    def _named(self, node: Node | None, where: str) -> list[tuple[str, Node, Node]]:
        if isinstance(node, SequenceNode):
            names = [(item, self.text(item, "a name")) for item in node.value]
            nothing = [ScalarNode("tag:yaml.org,2002:null", "", item.start_mark) for item, _ in names]
            return [(name, item, null) for (item, name), null in zip(names, nothing, strict=True) if name is not None]
        return [(str(key.value), key, value) for key, value in self.entries(node, where)] if node is not None else []

    def names(self, node: Node | None) -> list[tuple[str, Node]]:
        """Return names with their nodes, and complain of nothing."""
        if isinstance(node, SequenceNode):
            return [(str(item.value), item) for item in node.value]
        return [(str(key.value), key) for key, _ in node.value] if isinstance(node, MappingNode) else []

    def key(self, node: Node, name: str) -> Node:
        return next((key for found, key in self.names(node) if found == name), node)

    def items(self, node: Node | None) -> list[Node]:
        """Return the items of a list; anything else is a list of one."""
        if node is None:
            return []
        return list(node.value) if isinstance(node, SequenceNode) else [node]

    def text(self, node: Node, what: str) -> str | None:
        if isinstance(node, ScalarNode) and node.value:
            return str(node.value)
        self.fail(node, f"this must be {what}, not {_kind(node)}")
        return None

    def value(self, node: Node, make: Callable[[str], T], what: str) -> T | None:
        text = self.text(node, what)
        try:
            return make(text) if text is not None else None
        except ValueError as error:
            self.fail(node, f"{text!r} is not {what}: {error}")
            return None

    def number(self, node: Node | None, what: str, least: int, most: int, default: int) -> int:
        """Return a number, or `default` where there is none or it is wrong."""
        value = self.value(node, int, "a whole number") if node is not None else None
        if value is None or least <= value <= most:
            return default if value is None else value
        self.fail(node, f"{what} is {least} to {most}, not {value}")
        return default

    def flag(self, node: Node | None) -> bool:
        if node is not None and node.value not in ("true", "false"):
            self.fail(node, f"this must be true or false, not {_kind(node)}")
        return node is not None and node.value == "true"

    def fail(self, node: Node | None, message: str) -> None:
        line = node.start_mark.line + 1 if node is not None and node.start_mark is not None else 1
        if (line, f"{self.source}:{line}: {message}") not in self.errors:
            self.errors.append((line, f"{self.source}:{line}: {message}"))


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if is_null(node) else repr(node.value)


def instead(name: str, known: Iterable[str]) -> str:
    """Return what may stand in the place of `name`, to be put behind a message."""
    words = sorted(known)
    return guess(name, words, ": ") or (f" (there is {', '.join(words)})" if words else "")
