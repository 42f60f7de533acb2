"""Reading a configuration that anybody may have written: each wrong type is named with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .refusal import CONFIGURATION, Refusal


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object; every method raises `Refusal` for a value of another type than it returns. null is as good as absent."""

    values: Mapping[str, Any]
    place: str = ""

    def text(self, key: str, default: str = "") -> str:
        found = self.values.get(key)
        if found is None:
            return default
        return found if isinstance(found, str) else self._wrong(key, "a string")

    def flag(self, key: str, default: bool) -> bool:
        found = self.values.get(key)
        if found is None:
            return default
        return found if isinstance(found, bool) else self._wrong(key, "true or false")

    def number(self, key: str) -> int:
        """Return a whole number that is not negative; 0 where there is none."""
        found = self.values.get(key)
        if found is None:
            return 0
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            self._wrong(key, "a whole number, not negative")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        found = self._sequence(key)
        return tuple(found) if all(isinstance(item, str) for item in found) else self._wrong(key, "a list of strings")

    def object(self, key: str) -> Fields:
        """Return an inner object, empty where there is none."""
        found = self.values.get(key)
        if found is None:
            found = {}
        return Fields(found, self._path(key)) if isinstance(found, Mapping) else self._wrong(key, "an object")

    def objects(self, key: str) -> Iterator[Fields]:
        for number, found in enumerate(self._sequence(key)):
            if not isinstance(found, Mapping):
                self._wrong(f"{key}[{number}]", "an object")
            yield Fields(found, self._path(f"{key}[{number}]"))

    def _sequence(self, key: str) -> Sequence[Any]:
        found = self.values.get(key)
        if found is None:
            return ()
        return found if isinstance(found, list) else self._wrong(key, "a list")

    def _path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _wrong(self, key: str, what: str) -> NoReturn:
        raise Refusal(CONFIGURATION, f"{self._path(key)} must be {what}", f"it is {self.values.get(key)!r:.100}")
