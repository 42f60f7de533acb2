"""Flags as Go's `flag` package reads them: one dash or two, `-name=value` or `-name value`, and booleans without a value.

The messages for mistakes are those of Go, and so is the exit code 2: scripts look at both. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class FlagError(Exception):
    """A mistake in the command line; `usage` tells whether the list of flags follows the message."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its default tells its type; a tuple is one that may be given several times."""

    name: str
    default: str | int | bool | float | tuple[str, ...]
    help: str
    supported: bool = True


def parse(words: Sequence[str], flags: Sequence[Flag]) -> tuple[dict[str, Any], list[str]]:
    """Return the values that were given, and the words after the last flag. Raises `FlagError`."""
    known = {flag.name: flag for flag in flags}
    given: dict[str, Any] = {}
    rest = list(words)
    while rest and len(rest[0]) > 1 and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith(("-", "=")):
            raise FlagError(f"bad flag syntax: {word}")
        if name not in known:
            raise FlagError(f"flag provided but not defined: -{name}")
        if not equals and not isinstance(known[name].default, bool):
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        given[name] = _value(known[name], value if equals or value else "true", given.get(name, ()))
    return given, rest


def overlay(given: Mapping[str, Any], flags: Sequence[Flag], environment: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Return the value of every flag: as given, else from the environment (`FLANNELD_ETCD_PREFIX`), else the default."""
    values: dict[str, Any] = {}
    for flag in flags:
        variable = f"{prefix}{flag.name.upper().replace('-', '_')}"
        if flag.name in given:
            values[flag.name] = given[flag.name]
        elif environment.get(variable):
            try:
                values[flag.name] = _value(flag, environment[variable], ())
            except FlagError as error:
                raise FlagError(f"{variable}: {error}") from None
        else:
            values[flag.name] = flag.default
    return values


def usage(program: str, flags: Sequence[Flag]) -> str:
    """Return what Go prints for -h: every flag with its default."""
    lines = [f"Usage: {program} [OPTION]..."]
    for flag in sorted(flags, key=lambda flag: flag.name):
        shown = "" if flag.default in ("", False, ()) else f" (default {_shown(flag.default)})"
        lines += [f"  -{flag.name}{_kind(flag)}", f"    \t{flag.help}{shown}"]
    return "\n".join(lines) + "\n"


def _value(flag: Flag, text: str, before: tuple[str, ...]) -> Any:
    if isinstance(flag.default, tuple):
        return (*before, text)
    if isinstance(flag.default, str):
        return text
    for kind, read in _READERS.items():
        if type(flag.default) is kind:
            try:
                return read(text)
            except (ValueError, KeyError):
                word = "boolean value" if kind is bool else "value"
                raise FlagError(f'invalid {word} "{text}" for flag -{flag.name}: parse error') from None
    raise AssertionError(f"no reader for {flag.default!r}")


def _truth(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(text)


def _duration(text: str) -> float:
    """Return seconds (Go's `time.ParseDuration`)."""
    if text == "0":
        return 0.0
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(h|ms|m|s|us|ns))+", text):
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"([0-9]+(\.[0-9]+)?)(h|ms|m|s|us|ns)", text))


_READERS: Mapping[type, Callable[[str], Any]] = {bool: _truth, int: lambda text: int(text, 0), float: _duration}


def _kind(flag: Flag) -> str:
    return {str: " string", int: " int", float: " duration", tuple: " value", bool: ""}[type(flag.default)]


def _shown(default: object) -> str:
    return f'"{default}"' if isinstance(default, str) else str(default).lower()
