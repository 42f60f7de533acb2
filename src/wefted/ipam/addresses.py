"""Addresses of one node: handed out from its own blocks, written in its local store, with no word to anybody else.

    addresses/NETWORK/ADDRESS     {"owner": OWNER, "released_at": null, or seconds of the clock}

An address that was given back stays its owner's for a grace time: a container that comes back finds it again, and nobody's ARP
cache or connection leads to a stranger. Others get it earlier only when nothing else is free, or when they ask for it by name.

The book reads the store once and then works in memory, so a claim costs the same beside one address and beside thousands. It
writes nothing itself: claims and releases return operations, which the caller puts into one write with the record that they
belong to, and then reports by `written`. Every operation carries the revision that it expects as far as it is known: a second
process that writes to the same store makes one of the two writes fail with `Conflict`; then `load`, and claim again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from wefted.errors import Conflict, Exhausted, InUse, UsageError
from wefted.interfaces import Store
from wefted.model import codec
from wefted.model.lease import Lease
from wefted.model.network import Segment, Subnet
from wefted.model.objects import IPAddress, IPNetwork
from wefted.model.records import Delete, Item, Op, Put

from .leases import block_length, block_of
from .pool import Cursor, Pool, pools_of

PREFIX = "addresses/"
GRACE = 30.0
"""Seconds for which an address that was given back is kept for its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the store holds for an address."""

    owner: str
    released_at: float | None = None


@dataclass(slots=True)
class _Record:
    """A claim as the book has it. `revision` None: written by this process and not reported yet; 0: not in the store."""

    claim: Claim
    revision: int | None


@dataclass(slots=True)
class _Table:
    """The addresses of one network."""

    records: dict[IPAddress, _Record] = field(default_factory=dict)
    taken: dict[int, set[int]] = field(default_factory=lambda: {4: set(), 6: set()})
    """Numbers by IP version: whatever is claimed, or was released within the grace time."""
    cursors: dict[IPNetwork, Cursor] = field(default_factory=dict)


class AddressBook:
    """The addresses that this node has handed out. One process writes at a time; its caller sees to that with a lock.

    `grace` is in seconds, `clock` returns seconds that mean the same after a restart. `describe` turns an owner into words for
    a message.
    """

    def __init__(
        self,
        store: Store,
        *,
        grace: float = GRACE,
        clock: Callable[[], float] = time.time,
        describe: Callable[[str], str] = str,
    ) -> None:
        self.describe = describe
        self._store = store
        self._grace = grace
        self._clock = clock
        self._latest = clock()
        self._clear()

    def _clear(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._owners: dict[str, dict[tuple[str, IPAddress], None]] = {}
        self._waiting: deque[tuple[float, str, IPAddress]] = deque()

    # -- the store -------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything again, and delete what was released long ago. Raises `UsageError` for a damaged record."""
        found = [_decoded(item) for item in (await self._store.read(PREFIX)).items.values()]
        self._clear()
        now = self._latest = self._clock()
        lapsed: list[Op] = []
        # Of what an owner gave back, the last is what it gets again.
        found.sort(key=lambda entry: entry[2].claim.released_at or 0.0)
        for network, address, record in found:
            since = record.claim.released_at
            if since is not None and since <= now - self._grace:
                lapsed.append(Delete(_key(network, address), expect=record.revision))
                continue
            if since is not None:
                record.claim = replace(record.claim, released_at=min(since, now))
                self._waiting.append((min(since, now), network, address))
            self._enter(network, address, record)
        self._waiting = deque(sorted(self._waiting, key=lambda entry: entry[0]))
        await self._forget_lapsed(lapsed)

    async def _forget_lapsed(self, ops: Sequence[Op]) -> None:
        try:
            if ops:
                await self._store.write(ops)
        except Conflict:
            await self.load()

    def written(self, ops: Iterable[Op], revision: int) -> None:
        """Note that these operations stand in the store at `revision`."""
        for op in ops:
            if isinstance(op, Put) and op.key.startswith(PREFIX):
                network, address = _place(op.key)
                table = self._tables.get(network)
                if table is not None and address in table.records:
                    table.records[address].revision = revision

    # -- claiming --------------------------------------------------------------------------------------------------

    def claim(
        self, owner: str, segment: Segment, subnet: Subnet, explicit: IPAddress | None = None
    ) -> tuple[IPAddress, Sequence[Op]]:
        """Return an address of `subnet` in the node's blocks for `owner`, and what to write.

        An owner who has one gets it again. Raises `UsageError` (an address that may not be given), `InUse` (that somebody has),
        `Exhausted` when our blocks are full or do not hold `explicit`: the caller then acquires a further block.
        """
        self._lapse()
        network = segment.network.name
        pools = pools_of(segment, subnet)
        if explicit is not None:
            _refuse_special(explicit, segment, subnet)
        held = self._held(owner, network, subnet, pools)
        if held is not None and explicit in (None, held):
            return held, self._take(owner, network, held)
        if explicit is not None:
            return explicit, self._take(owner, network, self._asked(owner, network, subnet, pools, explicit))
        address = self._lowest(network, pools)
        return address, self._take(owner, network, address)

    def has_room(self, segment: Segment, subnet: Subnet) -> bool:
        """Tell whether the node's blocks hold an address of `subnet` that nobody has, be it one that was just given back."""
        records = self._tables.get(segment.network.name, _Table()).records
        held = {int(a) for a, record in records.items() if a in subnet.prefix and record.claim.released_at is None}
        return any(pool.lowest_free(held) is not None for pool in pools_of(segment, subnet))

    def free(self, owner: str) -> Sequence[Op]:
        """Give back whatever `owner` has; return what to write. Doing it twice changes nothing."""
        ops: list[Op] = []
        now = self._now()
        for network, address in list(self._owners.get(owner, ())):
            record = self._tables[network].records[address]
            if record.claim.released_at is None:
                ops.append(self._record(network, address, Claim(owner=owner, released_at=now), record))
                self._waiting.append((now, network, address))
        return ops

    def forget(self, network: str) -> Sequence[Op]:
        """Drop a network that is gone; return what to write."""
        table = self._tables.pop(network, None)
        if table is None:
            return []
        for address, record in table.records.items():
            self._disown(record.claim.owner, network, address)
        return [Delete(_key(network, address), record.revision) for address, record in table.records.items()]

    def last_released(self, segment: Segment, subnet: Subnet, owners: str) -> IPAddress | None:
        """Return what was given back last, within the grace time, by an owner whose name begins with `owners`."""
        self._lapse()
        network, pools = segment.network.name, pools_of(segment, subnet)
        for since, name, address in reversed(self._waiting):
            if name != network or not self._still_waiting(since, name, address):
                continue
            theirs = self._tables[name].records[address].claim.owner.startswith(owners)
            if theirs and any(_handed_out(pool, address) for pool in pools):
                return address
        return None

    def claimed(self, network: str, owners: str) -> list[IPAddress]:
        """Return the addresses that owners with names of this beginning have."""
        records = self._tables.get(network, _Table()).records.items()
        return [a for a, record in records if record.claim.released_at is None and record.claim.owner.startswith(owners)]

    def owner(self, network: str, address: IPAddress) -> str:
        """Return who has an address, or an empty string; one that was given back has no owner."""
        table = self._tables.get(network)
        record = table.records.get(address) if table is not None else None
        return record.claim.owner if record is not None and record.claim.released_at is None else ""

    # -- choosing --------------------------------------------------------------------------------------------------

    def _held(self, owner: str, network: str, subnet: Subnet, pools: Sequence[Pool]) -> IPAddress | None:
        """Return what the owner has in the subnet, else what it gave back last, as long as it may still be used."""
        found = [address for name, address in self._owners.get(owner, ()) if name == network and address in subnet.prefix]
        usable = [a for a in reversed(found) if any(a in pool.block and pool.check(a) == "" for pool in pools)]
        return next((a for a in usable if self.owner(network, a) == owner), usable[0] if usable else None)

    def _asked(self, owner: str, network: str, subnet: Subnet, pools: Sequence[Pool], address: IPAddress) -> IPAddress:
        """Return `address` if it is free for `owner`."""
        if not any(address in pool.block for pool in pools):
            raise Exhausted(f"{address} lies in no block of network {network!r} that this host owns")
        holder = self.owner(network, address)
        if holder and holder != owner:
            raise InUse(f"{address} belongs to {self.describe(holder)} already", "choose another address, or leave it out")
        for name, other in self._owners.get(owner, ()):
            if name == network and other != address and other in subnet.prefix and self.owner(name, other) == owner:
                raise InUse(f"{self.describe(owner)} has {other} in {subnet.prefix} already", "detach it first")
        return address

    def _lowest(self, network: str, pools: Sequence[Pool]) -> IPAddress:
        table = self._tables.setdefault(network, _Table())
        for pool in pools:
            number = self._cursor(table, pool).take(table.taken[pool.block.version])
            if number is not None:
                return pool.address(number)
        return self._released(network, pools)

    def _cursor(self, table: _Table, pool: Pool) -> Cursor:
        cursor = table.cursors.get(pool.block)
        if cursor is None or cursor.pool != pool:
            cursor = table.cursors[pool.block] = Cursor(pool)
        return cursor

    def _released(self, network: str, pools: Sequence[Pool]) -> IPAddress:
        """Return the address that was given back the longest ago, although its grace time is not over."""
        for since, name, address in self._waiting:
            if name == network and self._still_waiting(since, name, address) and any(_handed_out(p, address) for p in pools):
                return address
        if not pools:
            raise Exhausted(f"this host owns no block of network {network!r} yet")
        names = ", ".join(str(pool.block) for pool in pools)
        size = sum(pool.size for pool in pools)
        raise Exhausted(
            f"network {network!r}: all {size} addresses of this host ({names}) are taken", "detach a container: wefted ps"
        )

    def _now(self) -> float:
        """Return the clock's time, which never runs backwards here: the queue of released addresses is in its order."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    # -- keeping the books -----------------------------------------------------------------------------------------

    def _take(self, owner: str, network: str, address: IPAddress) -> Sequence[Op]:
        table = self._tables.setdefault(network, _Table())
        record = table.records.get(address)
        if record is None:
            record = _Record(Claim(owner=""), 0)
        elif record.claim == Claim(owner=owner):
            return [] if record.revision is not None else [self._record(network, address, record.claim, record)]
        else:
            self._disown(record.claim.owner, network, address)
        return [self._record(network, address, Claim(owner=owner), record)]

    def _record(self, network: str, address: IPAddress, claim: Claim, before: _Record) -> Op:
        op = Put(_key(network, address), codec.dumps(claim), expect=before.revision)
        self._enter(network, address, _Record(claim, None))
        return op

    def _enter(self, network: str, address: IPAddress, record: _Record) -> None:
        table = self._tables.setdefault(network, _Table())
        table.records[address] = record
        table.taken[address.version].add(int(address))
        held = self._owners.setdefault(record.claim.owner, {})
        held.pop((network, address), None)  # so that what changed last stands last
        held[network, address] = None

    def _disown(self, owner: str, network: str, address: IPAddress) -> None:
        held = self._owners.get(owner, {})
        held.pop((network, address), None)
        if not held:
            self._owners.pop(owner, None)

    def _lapse(self) -> None:
        """End the grace time of those that have had it. The records stay, for the revision that the next owner must expect."""
        end = self._now() - self._grace
        while self._waiting and self._waiting[0][0] <= end:
            since, network, address = self._waiting.popleft()
            if self._still_waiting(since, network, address):
                self._let_go(network, address)

    def _still_waiting(self, since: float, network: str, address: IPAddress) -> bool:
        table = self._tables.get(network)
        record = table.records.get(address) if table is not None else None
        return record is not None and record.claim.released_at == since

    def _let_go(self, network: str, address: IPAddress) -> None:
        table = self._tables[network]
        self._disown(table.records[address].claim.owner, network, address)
        table.taken[address.version].discard(int(address))
        for block, cursor in table.cursors.items():
            if address in block:
                cursor.give_back(int(address))


def _refuse_special(address: IPAddress, segment: Segment, subnet: Subnet) -> None:
    """Raise `UsageError` for an address that nobody may have, before a block is acquired for its sake."""
    if address not in subnet.prefix:
        raise UsageError(f"{address} lies outside {subnet.prefix} of network {segment.network.name!r}")
    blocks = [lease.block for lease in segment.leases if address in lease.block] or [_future_block(address, segment, subnet)]
    lease = Lease(network=segment.network.name, block=blocks[0], node=segment.node.id)
    reason = pools_of(replace(segment, leases=(lease,)), subnet)[0].check(address)
    if reason:
        raise UsageError(f"{address} of network {segment.network.name!r} cannot be used: {reason}", "choose another address")


def _future_block(address: IPAddress, segment: Segment, subnet: Subnet) -> IPNetwork:
    if segment.network.backend == "none" and segment.host_gateway:
        return subnet.prefix
    wanted = segment.network.option("block")
    return block_of(address, block_length(subnet.prefix, int(wanted) if wanted.isdecimal() else None))


def _handed_out(pool: Pool, address: IPAddress) -> bool:
    return address in pool.block and pool.first <= int(address) <= pool.last and pool.check(address) == ""


def _key(network: str, address: IPAddress) -> str:
    return f"{PREFIX}{network}/{address}"


def _place(key: str) -> tuple[str, IPAddress]:
    _, network, text = key.split("/")
    return network, ip_address(text)


def _decoded(item: Item) -> tuple[str, IPAddress, _Record]:
    try:
        network, address = _place(item.key)
    except ValueError:
        raise UsageError(f"{item.key!r} is not the key of an address; the local state is damaged") from None
    return network, address, _Record(codec.loads(Claim, item.value or b"", item.key), item.revision)
