"""What the stores hold and how they are changed: items with revisions, and operations guarded by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OLDEST = -(2**63)
"""A revision before all others: that of items which are remembered, of whatever time."""

EPOCH = -(2**62)
"""The beginning of another clock than the store's: revisions below zero order among themselves, and before all others.

Those of etcd's API v2 are this and the index, so that a number of one clock is never taken for one of the other.
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A key with its value. In a watch, `value` None means that the key was deleted at `revision`."""

    key: str
    value: bytes | None
    revision: int
    expires: bool = field(default=False, compare=False)
    """Whether it vanishes unless it is written again. SQLite does not tell."""
    created: int = field(default=0, compare=False)
    """Where the store is etcd's API v2, the index at which the key came into being: a later key of this name has another."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything under a prefix as it stood at `revision`."""

    revision: int
    items: Mapping[str, Item] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. `expect` None: whatever is there; 0: it must not exist; else the revision it must still have.

    `ttl` in seconds makes it a lease: the key vanishes unless it is written again in time.
    """

    key: str
    value: bytes
    expect: int | None = None
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key (nothing happens when it is absent and `expect` is None)."""

    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but fail the whole write unless the key has this revision (0: is absent)."""

    key: str
    expect: int


Op = Put | Delete | Check
