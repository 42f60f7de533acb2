"""What a program of the user's does for a network: a command that is run once, and another one that takes it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .objects import KernelObject, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(KernelObject):
    """A line for `sh -c`, run on the host. It is there when it has been run with success, and gone when `undo` has."""

    rank: ClassVar[int] = 80

    network: str
    subject: str
    """What it is about, as in `10.5.2.0/24`; one command for each in a network."""
    run: str
    undo: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    """Sorted by name, as a record of it is."""
    stdin: str = ""
    announced: bool = False
    """Whether this host's leases say what it says: then it is run before one is written."""
    output: str = field(default="", compare=False)
    """Only in what was read: what `run` said."""

    @property
    def key(self) -> Key:
        return ("command", self.ns, self.network, self.subject)

    def __str__(self) -> str:
        words = " ".join(f"{name}={value}" for name, value in self.environment)
        return f"command for {self.subject}: {words}{' ' if words else ''}{self.run}"
