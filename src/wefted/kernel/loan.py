"""What the alias of a lent link says: where it is from, and how it was there in case the file with all of it is lost."""

from __future__ import annotations

from dataclasses import dataclass

from .marks import ALIAS_MOVED


@dataclass(frozen=True, slots=True)
class Loan:
    """What the alias of a moved link remembers of it: `wefted moved from eth1 up mtu 1500`."""

    origin: str
    up: bool = False
    mtu: int = 0

    def __str__(self) -> str:
        return f"{ALIAS_MOVED}{self.origin} {'up' if self.up else 'down'} mtu {self.mtu}"

    @classmethod
    def parse(cls, alias: str) -> Loan | None:
        """Return what an alias says, or None for any other alias."""
        words = alias.removeprefix(ALIAS_MOVED).split()
        if not alias.startswith(ALIAS_MOVED) or not words:
            return None
        mtu = words[3] if len(words) > 3 and words[3].isdigit() else "0"
        return cls(words[0], "up" in words[1:2], int(mtu))
