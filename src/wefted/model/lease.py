"""A lease: the block of a network's addresses that one node owns, and what its peers must know to reach it."""

from __future__ import annotations

from dataclasses import dataclass

from .objects import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A block of one network, owned by one node. `data` is what the backend announces (a VTEP's MAC, a key)."""

    network: str
    block: IPNetwork
    node: str
    """The owner's UUID."""
    underlay: tuple[IPAddress, ...] = ()
    """The owner's addresses on the underlay, the preferred one first."""
    data: tuple[tuple[str, str], ...] = ()

    def get(self, key: str, default: str = "") -> str:
        return dict(self.data).get(key, default)
