"""The difference between what should be and what is, as an ordered list of changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wefted.model.link import Link
from wefted.model.objects import Change, KernelObject, Key


def diff(desired: Mapping[Key, KernelObject], actual: Mapping[Key, KernelObject], *, handing: bool = False) -> list[Change]:
    """Return the changes that turn `actual` into `desired`: deletions from the highest rank, then the rest from the lowest.

    Objects that are not ours (`owned` False) are corrected and never deleted. A link that is handed over is made only when it
    is (`handing`); afterwards it is let be where it is, and not missed where it is not.
    """
    gone = [Change(old, None) for key, old in actual.items() if key not in desired and old.owned]
    made: list[Change] = []
    for key, new in desired.items():
        old = actual.get(key)
        if not handing and isinstance(new, Link) and new.handed:
            continue
        if old is None or not (new is old or new.satisfied_by(old)):
            made.append(Change(old, new))
    gone.sort(key=lambda change: -change.subject.rank)
    made.sort(key=lambda change: change.subject.rank)
    return gone + made


def index(objects: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """Return the objects by key; of equal keys the first one stays."""
    found: dict[Key, KernelObject] = {}
    for item in objects:
        found.setdefault(item.key, item)
    return found
