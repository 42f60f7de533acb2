"""Changes of the firewall as commands of nft's language, and nft's JSON listing as objects. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2s
from typing import Any

from wefted.model.firewall import NftElement, NftTable
from wefted.model.objects import Change

from .foreigngate import ADMITTED, OPEN, PREFIX, Gate
from .marks import MARKER_CHAIN

_PLAIN = re.compile(r"[0-9a-fA-F:./*-]+|0x[0-9a-fA-F]+")
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 50: "esp", 51: "ah", 58: "ipv6-icmp", 132: "sctp", 136: "udplite"}
_VERDICTS = ("accept", "drop", "continue", "return", "jump", "goto")
_WORDS = frozenset(_PROTOCOLS.values()) | frozenset(_VERDICTS)
_SEALED = re.compile(rf"{MARKER_CHAIN}([0-9a-f]{{12}})_([0-9a-f]{{12}})(?:_([0-9a-f]{{12}}))?")
_FINGERPRINT = "# text "

Table = tuple[str, str]
"""Family and name."""


def script(changes: Sequence[Change], gate: Gate = OPEN) -> str:
    """Return one transaction: tables first, then what leaves their sets and maps, then what enters them.

    Tables with a gate get this one.
    """
    tables = [c for c in changes if isinstance(c.subject, NftTable)]
    elements = [c for c in changes if isinstance(c.subject, NftElement)]
    fresh = {(c.subject.family, c.subject.name) for c in tables if isinstance(c.subject, NftTable)}
    leaving = [c.old for c in elements if isinstance(c.old, NftElement) and (c.old.family, c.old.table) not in fresh]
    entering = [c.new for c in elements if isinstance(c.new, NftElement)]
    lines = [*_tables(tables, gate), *_commands("delete", leaving), *_commands("add", entering)]
    return "\n".join(lines) + "\n"


def seal(table: NftTable, listing: Sequence[Mapping[str, Any]], gate: Gate = OPEN) -> str:
    """Return the command that marks a table as holding exactly its text and this gate, as nft lists it at this moment."""
    text = table.fingerprint.removeprefix(_FINGERPRINT)
    through = f"_{gate.digest}" if table.gate else ""
    return f"add chain {table.family} {table.name} {MARKER_CHAIN}{text}_{digest(listing)}{through}\n"


def read_table(table: Table, listing: Sequence[Mapping[str, Any]], gate: Gate | None = OPEN) -> Iterator[NftTable | NftElement]:
    """Yield the table, and its elements if it is intact; else it will be replaced, and they are as good as gone.

    Intact is one with a gate only if it has this one; any, if `gate` is None.
    """
    family, name = table
    seals = [m for entry in listing if (m := _SEALED.fullmatch(entry.get("chain", {}).get("name", "")))]
    stale = gate is not None and len(seals) == 1 and seals[0][3] not in (None, gate.digest)
    if len(seals) != 1 or stale or seals[0][2] != digest(listing):
        yield NftTable(family=family, name=name, body=f"{_FINGERPRINT}(changed)")
        return
    yield NftTable(family=family, name=name, body=_FINGERPRINT + seals[0][1])
    for entry in listing:
        for kind in ("set", "map"):
            if kind in entry and "dynamic" not in entry[kind].get("flags", ()) and not _is_copied(entry[kind]):
                yield from _elements(table, entry[kind])


def digest(listing: Iterable[Mapping[str, Any]]) -> str:
    """Return a digest of everything in a table but its handles, its elements (those of the gate count) and the mark."""
    kept = [_stripped(entry) for entry in listing if "metainfo" not in entry and "table" not in entry]
    kept = [entry for entry in kept if not _SEALED.fullmatch(entry.get("chain", {}).get("name", ""))]
    return blake2s(json.dumps(kept, sort_keys=True).encode(), digest_size=6).hexdigest()


def _stripped(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {k: v for k, v in body.items() if k != "handle" and (k != "elem" or _is_copied(body))}
        for kind, body in entry.items()
    }


def _is_copied(body: Mapping[str, Any]) -> bool:
    return str(body.get("name", "")).startswith(PREFIX)


def _tables(changes: Iterable[Change], gate: Gate) -> Iterator[str]:
    for change in changes:
        table = change.subject
        assert isinstance(table, NftTable)
        # `add` first: `delete` alone fails where there is none.
        yield f"add table {table.family} {table.name}\ndelete table {table.family} {table.name}"
        if change.new is not None:
            yield f"table {table.family} {table.name} {{\n{table.body}\n}}"
            if table.gate and gate.entry:
                admit = f"chain {ADMITTED} {{\n    goto {table.admitted}\n}}"
                yield f"table {table.family} {table.name} {{\n{admit}\n{gate.text}\n}}"
                yield f"insert rule {table.family} {table.name} {table.gate} {gate.entry}"


def _commands(verb: str, elements: Iterable[NftElement]) -> Iterator[str]:
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for element in elements:
        value = f" : {_joined(element.value)}" if element.value and verb == "add" else ""
        where = (element.family, element.table, element.container)
        grouped.setdefault(where, []).append(_joined(element.match) + value)
    for (family, table, container), items in grouped.items():
        yield f"{verb} element {family} {table} {container} {{ {', '.join(items)} }}"


def _joined(parts: Iterable[str]) -> str:
    return " . ".join(map(_word, parts))


def _word(part: str) -> str:
    """Quote what could be an interface name, so that it can never be read as anything else."""
    if _PLAIN.fullmatch(part) or part.partition(" ")[0] in _WORDS:
        return part
    return '"' + part.replace('"', "") + '"'


def _elements(table: Table, body: Mapping[str, Any]) -> Iterator[NftElement]:
    is_map = "map" in body
    for item in body.get("elem", ()):
        match, value = item if is_map and isinstance(item, list) else (item, None)
        yield NftElement(
            family=table[0],
            table=table[1],
            container=body["name"],
            match=_parts(match, body["type"]),
            value=_parts(value, body["map"]) if is_map else (),
        )


def _parts(value: Any, kinds: Any) -> tuple[str, ...]:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"]["val"]
    values = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    types = kinds if isinstance(kinds, list) else [kinds] * len(values)
    return tuple(_text(v, kind) for v, kind in zip(values, types, strict=True))


def _text(value: Any, kind: str) -> str:
    if isinstance(value, dict):
        if "prefix" in value:
            return f"{value['prefix']['addr']}/{value['prefix']['len']}"
        if "range" in value:
            return "-".join(_text(end, kind) for end in value["range"])
        return _verdict(value)
    if kind == "inet_proto" and isinstance(value, int):
        return _PROTOCOLS.get(value, str(value))
    return str(value)


def _verdict(value: Mapping[str, Any]) -> str:
    word = next((word for word in _VERDICTS if word in value), "")
    target = value.get(word)
    return f"{word} {target['target']}" if isinstance(target, dict) else word or json.dumps(value)
