"""What is compared: everything that can attach a namespace to a bridge network, behind one small interface."""

from __future__ import annotations

from typing import Protocol


class Contender(Protocol):
    """One way to attach. It runs inside a virtual host and is used for one network."""

    what: str
    """One line for the table."""
    prefix: str
    """The addresses of its network."""

    def missing(self) -> str:
        """Return why it cannot be measured here, or nothing."""

    def prepare(self) -> None:
        """Make the network, and whatever else an operator makes once."""

    def arrange(self, sandbox: str, number: int) -> None:
        """Write the files that the attach of this namespace reads: off the clock."""

    def attach(self, sandbox: str, number: int) -> float:
        """Attach the namespace, which is the `number`-th from 0; return the milliseconds until its interface was ready."""
