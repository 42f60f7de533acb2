"""Whose a lease of flannel's is, where that cannot be written together with the lease itself: in etcd's API v2. Pure.

Each node has a record of its own for each lease that it wants or holds, in a store of ours: which lease it is (the index at
which its key came into being) and the values that it may have. It is written before the lease, and once more after it:

    {"created": 0, "values": [V]}      wanted: a lease of this value is the node's, unless another node says the same
    {"created": 37, "values": [V]}     held: the lease that came into being at 37, as long as it has this value
    {"created": 37, "values": [V, W]}  held, and about to get another value

Whatever of the two writes a node that dies leaves behind ends by itself, and until then means what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from wefted.model.flannel_network import STRANGER
from wefted.model.records import Item

CONTESTED = f"{STRANGER}contested"
"""The node of a lease that several nodes want, and one of them has just got: which one, the next moment tells."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node says of a lease."""

    created: int
    values: tuple[str, ...]

    def encode(self) -> bytes:
        """Return it as it is stored."""
        return json.dumps(asdict(self)).encode()


def decode(value: bytes | None) -> Claim | None:
    """Return what a record says, or None where it is none."""
    try:
        found = json.loads(value or b"")
        return Claim(int(found["created"]), tuple(map(str, found["values"])))
    except (ValueError, KeyError, TypeError):
        return None


def claim_for(mine: Claim | None, over: Item | None, value: str) -> Claim:
    """Return what a node says before it writes `value`: in place of the lease `over`, which it may hold, or as a new lease."""
    if over is not None and mine is not None and over.created == mine.created:
        return Claim(mine.created, tuple(dict.fromkeys((*mine.values[-1:], value))))
    return Claim(0, (value,))


def holder(lease: Item, records: Mapping[str, Item]) -> str:
    """Return the node that has a lease, by what each node says; "" for nobody of ours, or `CONTESTED`."""
    value = (lease.value or b"").decode(errors="replace")
    agreeing = {node: claim for node, claim in _claims(records) if value in claim.values}
    held = [node for node, claim in agreeing.items() if claim.created == lease.created]
    wanted = [node for node, claim in agreeing.items() if not claim.created]
    nodes = held or wanted
    return CONTESTED if len(nodes) > 1 else "".join(nodes)


def _claims(records: Mapping[str, Item]) -> Iterator[tuple[str, Claim]]:
    for node, item in records.items():
        claim = decode(item.value)
        if claim is not None:
            yield node, claim
