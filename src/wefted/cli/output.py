"""What is printed: JSON as it came, tables that fit the terminal, durations for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click

NARROWEST = 6
"""Characters below which no column is cut."""
GAP = "  "
COLOURS = {"+": "green", "-": "red", "~": "yellow"}


def show(value: Any, as_json: bool, lines: Callable[[Any], Iterable[str]]) -> None:
    """Print `value` as JSON, or as the lines that `lines` makes of it."""
    text = json.dumps(value, indent=2, ensure_ascii=False) if as_json else "\n".join(lines(value))
    if text:
        click.echo(text)


def removed(result: Mapping[str, Any]) -> Sequence[str]:
    """Return the lines of a result that is a list of names."""
    names: Sequence[str] = result["removed"]
    return names


def changes(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each change of a plan, in its colour on a terminal."""
    for item in items:
        ns = item.get("ns", "")
        where = f"  [{ns}]" if ns and ns not in item["text"] else ""
        yield click.style(item["text"] + where, fg=COLOURS.get(item["text"][:1]))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None = None) -> Iterator[str]:
    """Yield a table's lines. The widest columns are cut until it fits `width` (the terminal's; a pipe has no end)."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = zip_longest(heads, *cells, fillvalue="")
    widths = _fit([max(map(len, column)) for column in columns], terminal_width() if width is None else width)
    for row in [list(heads), *cells]:
        yield GAP.join(_cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()


def tree(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of any JSON value as an indented outline; what is empty is left out."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield f"{indent}{key}:"
            yield from tree(item, indent + GAP)
        elif isinstance(item, list) and any(isinstance(part, Mapping) for part in item):
            yield f"{indent}{key}:"
            yield from _items(item, indent + GAP)
        elif item not in (None, "", [], {}):
            yield f"{indent}{key}: {', '.join(map(str, item)) if isinstance(item, list) else _word(item)}"


def _items(items: Sequence[Any], indent: str) -> Iterator[str]:
    for item in items:
        for number, line in enumerate(tree(item, indent + GAP)):
            yield line if number else f"{indent}- {line.lstrip()}"


def _word(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Return a time in its two largest units: `45s`, `3m20s`, `2h5m`, `4d1h`."""
    whole = max(0, int(seconds))
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{small}" if rest else "")
    return f"{whole}s"


def port(mapping: Mapping[str, Any]) -> str:
    """Return a published port as it is typed: `10.0.0.1:8080:80/tcp`."""
    ip = mapping.get("host_ip") or ""
    prefix = f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else ""
    return f"{prefix}{mapping['host_port']}:{mapping['port']}/{mapping['protocol']}"


def terminal_width() -> int:
    """Return the columns of the terminal, or 0 where standard output is none."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"])
    try:
        # not shutil: importing it takes 5 ms
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


def _fit(widths: list[int], total: int) -> list[int]:
    widths = list(widths)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - total
    while total and excess > 0 and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
        excess -= 1
    return widths


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else cell[: size - 1] + "…"
