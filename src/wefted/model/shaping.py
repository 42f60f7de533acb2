"""How fast packets may leave a link."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .objects import KernelObject, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaper(KernelObject):
    """A token bucket at the root of a link's queues (tc-tbf(8)): `rate` in bytes per second, `burst` in bytes."""

    rank: ClassVar[int] = 45

    link: str
    rate: int
    burst: int = field(default=65536, compare=False)
    """The kernel keeps it as a time, so it does not read back as it went in."""

    @property
    def key(self) -> Key:
        return ("shaper", self.ns, self.link)

    def __str__(self) -> str:
        place = f"netns {self.ns} " if self.ns else ""
        return f"{place}shaper {self.rate} bytes/s dev {self.link}"
