"""Reading the fields of a request: whatever has another type than it should is an error that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from wefted.errors import UsageError

T = TypeVar("T")

LONGEST = 4096
"""Characters of one text: nothing in the protocol comes near."""


class Fields:
    """The fields of a JSON object. Go leaves a field out, or writes null, for what is empty."""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def text(self, name: str) -> str:
        """Return a text; empty where it is missing."""
        return self._get(name, str, "")[:LONGEST]

    def identifier(self, name: str) -> str:
        """Return a text that must be there and can be a part of a key."""
        found = self.text(name)
        if not found:
            raise UsageError(f"{self._where}{name} is missing")
        if not (found.isascii() and found.isprintable()) or len(found) > 256 or "/" in found:
            raise UsageError(f"{self._where}{name} is not an identifier")
        return found

    def needed(self, name: str) -> str:
        """Return a text that must be there."""
        found = self.text(name)
        if not found:
            raise UsageError(f"{self._where}{name} is missing")
        return found

    def flag(self, name: str) -> bool:
        return self._get(name, bool, False)

    def number(self, name: str) -> int:
        found = self._get(name, int, 0)
        if isinstance(found, bool):
            raise UsageError(f"{self._where}{name} is not a number")
        return found

    def inner(self, name: str) -> Fields:
        """Return the fields of an inner object."""
        return Fields(self._get(name, dict, {}), f"{self._where}{name}.")

    def each(self, name: str) -> list[Fields]:
        """Return the fields of each object of an array."""
        found = self._get(name, list, [])
        return [Fields(_object(item, f"{self._where}{name}"), f"{self._where}{name}[{i}].") for i, item in enumerate(found)]

    def texts(self, name: str) -> dict[str, str]:
        """Return an object whose values are texts; numbers and truth values are written out."""
        found = self._get(name, dict, {})
        return {key: _plain(value, f"{self._where}{name}.{key}") for key, value in found.items()}

    def _get(self, name: str, kind: type[T], empty: T) -> T:
        value = self._values.get(name)
        if value is None:
            return empty
        if not isinstance(value, kind):
            raise UsageError(f"{self._where}{name} is not {_WORDS[kind]}")
        return value


_WORDS: Mapping[type, str] = {str: "a text", bool: "true or false", int: "a number", dict: "an object", list: "an array"}


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} has something else than objects")
    return value


def _plain(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    raise UsageError(f"{where} is not a text")
