"""What every kernel object has in common: where it is, what it is called, when it is made, when it is good enough.

Drivers, backends and features return these; the kernel room creates, reads and deletes them; nobody else needs to know how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import ClassVar, NewType, Self

Netns = NewType("Netns", str)
"""A network namespace as a path (`/run/netns/c1`, `/proc/4242/ns/net`); the empty string is the host's own."""

HOST = Netns("")

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelObject:
    """One thing in one network namespace. Fields with `compare=False` matter only when the object is created."""

    rank: ClassVar[int] = 0
    """Objects are created from the lowest rank to the highest, and deleted the other way round."""

    owned: ClassVar[bool] = True
    """False for settings of things that are not ours: they are corrected, and never deleted."""

    ns: Netns = HOST

    @property
    def key(self) -> Key:
        """Return what makes this object this object: two objects with one key cannot exist at once."""
        raise NotImplementedError

    def satisfied_by(self, actual: Self) -> bool:
        """Tell whether `actual`, as read from the kernel, needs no change."""
        return self == actual


@dataclass(frozen=True, slots=True)
class Change:
    """One step: create `new`, delete `old`, or turn `old` into `new`."""

    old: KernelObject | None
    new: KernelObject | None

    @property
    def subject(self) -> KernelObject:
        subject = self.new if self.new is not None else self.old
        assert subject is not None, "a change without an object"
        return subject

    def __str__(self) -> str:
        if self.old is None:
            return f"+ {self.new}"
        if self.new is None:
            return f"- {self.old}"
        return f"~ {self.new}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change: `error` is empty when it was done; `errno` is the kernel's number or 0."""

    change: Change
    error: str = ""
    errno: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What one namespace holds: every object that carries our mark, and the settings of the links that do not."""

    ns: Netns
    objects: Mapping[Key, KernelObject] = field(default_factory=dict)
    exists: bool = True

    @classmethod
    def of(cls, ns: Netns, objects: Iterable[KernelObject]) -> State:
        return cls(ns, {o.key: o for o in objects})
