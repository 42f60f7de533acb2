"""What goes through a door: all that a program was started with, and what it is to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wefted.engine.operations import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The environment, and standard input with one character (U+0000 to U+00FF) for each byte: it may be no text at all."""

    environment: Pairs = ()
    input: str = ""

    @property
    def bytes(self) -> bytes:
        """Standard input as it came. A character beyond U+00FF becomes a question mark."""
        return self.input.encode("latin-1", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to exit with, and what to print as JSON; None is nothing at all."""

    exit_code: int = 0
    output: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values; the small program relies on the order of the keys."""
        return {"exit_code": self.exit_code, "output": self.output}
