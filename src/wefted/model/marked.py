"""YAML as nodes that know where they stand, so that a message can name line and column.

Scalars keep the text that was typed: `8080:53` is what it says and no number to the base of 60. What could harm is refused
while it is read: size, depth, aliases beyond a few, tags, a second document, a key given twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_CHARACTERS = 1 << 20
DEEPEST = 16
MOST_ALIASED = 10_000
"""Nodes that aliases may stand for, all together: a few lines of them could else mean more than any memory holds."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"(true|yes|on)|false|no|off", re.IGNORECASE)
_INTEGER = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text; both numbers begin with 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `plain` tells that it was not quoted, so that it may stand for something else than a text."""

    mark: Mark
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        return self.plain and _NULL.fullmatch(self.text) is not None

    @property
    def boolean(self) -> bool | None:
        """The truth value that it stands for, or None."""
        match = _BOOLEAN.fullmatch(self.text) if self.plain else None
        return None if match is None else match[1] is not None

    @property
    def is_integer(self) -> bool:
        return self.plain and _INTEGER.fullmatch(self.text) is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order of the text."""

    mark: Mark
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Listing | Table


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, and where."""

    mark: Mark
    text: str


class Unreadable(Exception):
    """The text cannot be read to its end."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


def compose(text: str) -> tuple[Node | None, list[Problem]]:
    """Return the node of the only document in `text` (None when there is none) and what was left out. Raises `Unreadable`."""
    import yaml

    if len(text) > MOST_CHARACTERS:
        raise Unreadable(Problem(Mark(1, 1), f"the document has {len(text)} characters, at most {MOST_CHARACTERS} are read"))
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        raise Unreadable(Problem(_mark_at(text, bad.start()), f"the character U+{ord(bad[0]):04X} cannot stand in YAML"))
    composer = _Composer()
    try:
        for event in _events(text, yaml):
            composer.take(event, yaml)
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_told(error, text)) from None
    except yaml.YAMLError as error:
        raise Unreadable(Problem(Mark(1, 1), str(error))) from None
    return composer.root, composer.problems


def _events(text: str, yaml: Any) -> Iterator[yaml.Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)
    return found


def _told(error: yaml.MarkedYAMLError, text: str) -> Problem:
    place = error.problem_mark or error.context_mark
    mark = Mark(1, 1) if place is None else Mark(place.line + 1, place.column + 1)
    lines = text.split("\n")
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    if "\t" in line[: mark.column]:
        return Problem(Mark(mark.line, line.index("\t") + 1), "YAML does not allow a tab here, use spaces")
    return Problem(mark, f"this is not YAML: {error.problem or error.context}")


def _mark_at(text: str, position: int) -> Mark:
    return Mark(text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet; of a mapping, `key` is the one that waits for its value."""

    mark: Mark
    is_table: bool
    anchor: str | None
    items: list[Node]
    entries: dict[str, tuple[Scalar, Node]]
    key: Scalar | None = None
    doubled: bool = False


class _Composer:
    """Builds nodes from events, with a stack of its own: the depth of a document is no depth of calls."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliased_size = 0
        self._documents = 0

    def take(self, event: yaml.Event, yaml: Any) -> None:
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1) if event.start_mark else Mark(1, 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(Problem(mark, "a second document begins here, one is possible"))
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._aliased(mark, event.anchor))
        elif isinstance(event, yaml.ScalarEvent):
            self._untagged(mark, event.tag, event.implicit[0] or event.implicit[1])
            self._finish(event.anchor, Scalar(mark, event.value, event.implicit[0]))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._untagged(mark, event.tag, event.implicit)
            self._begin(_Open(mark, isinstance(event, yaml.MappingStartEvent), event.anchor, [], {}))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end(self._stack.pop())

    def _untagged(self, mark: Mark, tag: str | None, implicit: bool) -> None:
        if tag is not None and not implicit:
            raise Unreadable(Problem(mark, f"the tag {tag!r} has no meaning here"))

    def _begin(self, opened: _Open) -> None:
        if len(self._stack) >= DEEPEST:
            raise Unreadable(Problem(opened.mark, f"this is nested more than {DEEPEST} levels deep"))
        parent = self._stack[-1] if self._stack else None
        if parent is not None and parent.is_table and parent.key is None:
            raise Unreadable(Problem(opened.mark, "a key must be a single word"))
        self._stack.append(opened)

    def _end(self, opened: _Open) -> None:
        node: Node
        if opened.is_table:
            node = Table(opened.mark, tuple(opened.entries.values()))
        else:
            node = Listing(opened.mark, tuple(opened.items))
        self._finish(opened.anchor, node)

    def _finish(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node, _size(node)
        self._add(node)

    def _aliased(self, mark: Mark, anchor: str) -> Node:
        if anchor not in self._anchors:
            raise Unreadable(Problem(mark, f"the alias *{anchor} means nothing that stands before it"))
        node, size = self._anchors[anchor]
        self._aliased_size += size
        if self._aliased_size > MOST_ALIASED:
            raise Unreadable(Problem(mark, f"the aliases up to here stand for more than {MOST_ALIASED} values"))
        return node

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if not parent.is_table:
            parent.items.append(node)
        elif parent.key is None:
            self._name(parent, node)
        else:
            if not parent.doubled:
                parent.entries[parent.key.text] = (parent.key, node)
            parent.key = None

    def _name(self, parent: _Open, node: Node) -> None:
        if not isinstance(node, Scalar):
            raise Unreadable(Problem(node.mark, "a key must be a single word"))
        parent.key = node
        before = parent.entries.get(node.text)
        parent.doubled = before is not None
        if before is not None:
            self.problems.append(Problem(node.mark, f"the key {node.text!r} stands in line {before[0].mark.line} already"))


def _size(node: Node) -> int:
    """Return how many nodes there are in this one, itself included."""
    if isinstance(node, Scalar):
        return 1
    parts = node.items if isinstance(node, Listing) else tuple(value for _, value in node.entries)
    return 1 + sum(map(_size, parts))
