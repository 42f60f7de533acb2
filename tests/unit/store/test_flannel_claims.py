"""Whose a lease in etcd's API v2 is, from what the nodes say of it."""

from __future__ import annotations

import pytest

from wefted.model.records import Item
from wefted.store.flannel_claims import CONTESTED, Claim, claim_for, decode, holder

LEASE = Item("k", b"V", -5, True, created=37)


def said(**claims: Claim) -> dict[str, Item]:
    """Return records as they stand in the store."""
    return {node: Item(node, claim.encode(), 1) for node, claim in claims.items()}


HELD, WANTED = Claim(37, ("V",)), Claim(0, ("V",))


@pytest.mark.parametrize(
    ("claims", "node"),
    [
        ({}, ""),
        ({"a": HELD}, "a"),
        ({"a": WANTED}, "a"),
        ({"a": HELD, "b": WANTED}, "a"),
        ({"a": WANTED, "b": WANTED}, CONTESTED),
        ({"a": Claim(36, ("V",))}, ""),
        ({"a": Claim(37, ("W",))}, ""),
        ({"a": Claim(0, ("W",))}, ""),
        ({"a": Claim(37, ("W", "V"))}, "a"),
        ({"a": Claim(36, ("V",)), "b": HELD}, "b"),
    ],
)
def test_a_lease_is_whose_who_holds_it_or_wants_it_alone(claims: dict[str, Claim], node: str) -> None:
    assert holder(LEASE, said(**claims)) == node


def test_damaged_records_say_nothing() -> None:
    assert holder(LEASE, {"a": Item("a", b"{", 1), "b": Item("b", None, 1), "c": Item("c", b'{"created":"x"}', 1)}) == ""
    assert decode(HELD.encode()) == HELD
    assert decode(None) is None


def test_what_a_node_says_before_it_writes() -> None:
    assert claim_for(None, None, "V") == WANTED
    assert claim_for(HELD, None, "V") == WANTED, "that lease is gone"
    assert claim_for(HELD, LEASE, "V") == HELD, "a renewal needs nothing said"
    assert claim_for(HELD, LEASE, "W") == Claim(37, ("V", "W"))
    assert claim_for(Claim(37, ("V", "W")), LEASE, "X") == Claim(37, ("W", "X"))
    assert claim_for(Claim(36, ("V",)), LEASE, "V") == WANTED, "the lease of somebody else, whose address is ours"
