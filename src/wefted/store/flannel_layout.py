"""Where the records of a flannel network stand: in etcd's API v3, or in its API v2 as flannel before 0.18 had them.

v3: a lease and its owner are written in one transaction, and the owner is the record OWN/flannel/NAME/KEY
v2: one request writes one key. The lease is flannel's alone, and OWN/flannel/NAME/KEY/NODE is what a node says of it
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol, runtime_checkable

from wefted.errors import Conflict
from wefted.interfaces import Store
from wefted.model import flannel_lease
from wefted.model.flannel_lease import FlannelLease
from wefted.model.records import EPOCH, Delete, Item, Put

from .flannel_claims import Claim, claim_for, decode, holder
from .flannel_view import OWNERS, SUBNETS, Mount

WANTED = 60.0
"""Seconds that a node's wish for a lease is heard when nothing more comes from it."""


class Layout(Protocol):
    """How leases are written; `root` is where they and the configuration are."""

    root: Store

    def encode(self, lease: FlannelLease) -> bytes:
        """Return the value of a lease, as flannel of that time writes it."""

    async def keep(self, mount: Mount, node: str, lease: FlannelLease, over: Item | None, ttl: float | None) -> int:
        """Write a lease of ours, in place of `over`, and whose it is; return its revision. Raises `Conflict`."""
        ...

    async def give_up(self, mount: Mount, node: str, key: str) -> None:
        """Delete a lease of ours, and whose it was."""


@runtime_checkable
class Expiring(Protocol):
    """A store that tells how long its keys live."""

    async def seconds_left(self, key: str) -> float | None:
        """Return how long a key has to live, None for one that is for good or not there."""
        ...


class Transactions:
    """Implements `Layout` in the API v3."""

    def __init__(self, root: Store, own: str) -> None:
        self.root = root
        self._own = own

    def encode(self, lease: FlannelLease) -> bytes:
        """Return the value as flannel since 0.18 writes it."""
        return flannel_lease.encode(lease)

    async def keep(self, mount: Mount, node: str, lease: FlannelLease, over: Item | None, ttl: float | None) -> int:
        """Write both at once."""
        key = flannel_lease.key(lease)
        expect = over.revision if over is not None else 0
        ours = Put(f"{self._own}{OWNERS}{mount.name}/{key}", node.encode(), ttl=ttl)
        return await self.root.write([Put(f"{mount.prefix}{SUBNETS}{key}", self.encode(lease), expect, ttl), ours])

    async def give_up(self, mount: Mount, node: str, key: str) -> None:
        """Delete both at once."""
        ours = f"{self._own}{OWNERS}{mount.name}/{key}"
        await self.root.write([Delete(f"{mount.prefix}{SUBNETS}{key}"), Delete(ours)])


class SingleKeys:
    """Implements `Layout` in the API v2, which `root` is; what nodes say of leases stands in `records`, below `own`."""

    def __init__(self, root: Store, records: Store, own: str) -> None:
        self.root = root
        self._records = records
        self._own = own

    def encode(self, lease: FlannelLease) -> bytes:
        """Return the value as flannel before 0.15 writes it."""
        return flannel_lease.encode_first(lease)

    async def keep(self, mount: Mount, node: str, lease: FlannelLease, over: Item | None, ttl: float | None) -> int:
        """Say that we want it, write it, say that we hold it. Who loses, or dies, leaves no lease that nobody has."""
        key, value = flannel_lease.key(lease), self.encode(lease)
        record = self._record(mount, node, key)
        mine = decode(await self._value(record))
        claim = claim_for(mine, over, value.decode())
        if claim != mine:
            await self._say(record, claim, flannel_lease.TTL if claim.created else WANTED)
        try:
            expect = over.revision if over is not None else 0
            revision = await self.root.write([Put(f"{mount.prefix}{SUBNETS}{key}", value, expect, ttl)])
        except Conflict:
            if not claim.created:
                await self._records.write([Delete(record)])
            raise
        created = over.created if over is not None else revision - EPOCH
        await self._say(record, Claim(created, (value.decode(),)), ttl)
        return revision

    async def give_up(self, mount: Mount, node: str, key: str) -> None:
        """Delete the lease unless somebody else has it meanwhile, then what we say of it."""
        where, record = f"{mount.prefix}{SUBNETS}{key}", self._record(mount, node, key)
        lease = (await self.root.read(where)).items.get(where)
        said = (await self._records.read(record)).items.get(record)
        if lease is not None and said is not None and holder(lease, {node: said}):
            with suppress(Conflict):
                await self.root.write([Delete(where, lease.revision)])
        await self._records.write([Delete(record)])

    def _record(self, mount: Mount, node: str, key: str) -> str:
        return f"{self._own}{OWNERS}{mount.name}/{key}/{node}"

    async def _value(self, key: str) -> bytes | None:
        found = (await self._records.read(key)).items.get(key)
        return found.value if found is not None else None

    async def _say(self, record: str, claim: Claim, ttl: float | None) -> None:
        await self._records.write([Put(record, claim.encode(), ttl=ttl)])
