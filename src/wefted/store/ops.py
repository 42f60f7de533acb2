"""What all stores demand of a write, and how they name a lost race."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from wefted.errors import Conflict
from wefted.model.records import Check, Op, Put


def check_ops(ops: Sequence[Op]) -> None:
    """Raise `ValueError` for a write that no store can do: an empty key, a senseless ttl, two changes of one key."""
    changed: set[str] = set()
    for op in ops:
        if not op.key:
            raise ValueError("a store key cannot be empty")
        if isinstance(op, Check):
            continue
        if op.key in changed:
            raise ValueError(f"two changes of {op.key!r} in one write")
        if isinstance(op, Put) and op.ttl is not None and not 0 < op.ttl < inf:
            raise ValueError(f"a ttl of {op.ttl} seconds")
        changed.add(op.key)


def conflict(key: str, expected: int, found: int) -> Conflict:
    """Return the error for a key that has revision `found` (0: it is absent) instead of `expected`."""
    return Conflict(f"{key} was changed by somebody else: expected {_state(expected)}, found {_state(found)}")


def end_of(prefix: bytes) -> bytes:
    """Return the first key after all that begin with `prefix`; UTF-8 never contains the byte 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\xff"


def _state(revision: int) -> str:
    return f"revision {revision}" if revision else "no such key"
