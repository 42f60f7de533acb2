"""One node's address book, beside a model of what it must do, and beside a second process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wefted.errors import Conflict, Exhausted, InUse
from wefted.ipam.addresses import AddressBook
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import IPAddress
from wefted.model.records import Op
from wefted.store.memory import MemoryStore
from wefted.testing.steps import finish

GRACE = 30.0
OWNERS = st.integers(0, 7)


def owned(disk: MemoryStore) -> dict[str, str]:
    """Return address -> owner as it stands on a disk."""
    records = {
        key.rpartition("/")[2]: json.loads(item.value or b"") for key, item in finish(disk.read("addresses/")).items.items()
    }
    return {address: record["owner"] for address, record in records.items() if record["released_at"] is None}


class Book(RuleBasedStateMachine):
    """One node's book beside a plain model of what it must do: who has which address, and since when it is given back."""

    POOL = tuple(ip_address("10.9.0.0") + n for n in range(2, 7))

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.disk = MemoryStore()
        self.owned: dict[IPAddress, str] = {}
        self.released: dict[IPAddress, tuple[str, float]] = {}
        lease = Lease(network="web", block=ip_network("10.9.0.0/29"), node="n")
        self.subnet = Subnet(prefix=ip_network("10.9.0.0/16"))
        network = Network(name="web", backend="vxlan", subnets=(self.subnet,))
        self.segment = Segment(network=network, node=Node(id="n", name="h"), leases=(lease,))
        self.restart()

    @rule()
    def restart(self) -> None:
        self.book = AddressBook(self.disk, grace=GRACE, clock=lambda: self.now)
        finish(self.book.load())

    @rule(owner=OWNERS, dies=st.booleans())
    def claim(self, owner: int, dies: bool) -> None:
        self.end_grace_times()
        expected = self.expected(f"c{owner}")
        try:
            found, ops = self.book.claim(f"c{owner}", self.segment, self.subnet)
        except Exhausted:
            assert expected is None
            return
        assert found == expected
        self.write(ops, dies, found, f"c{owner}")

    @rule(owner=OWNERS, which=st.sampled_from(POOL))
    def claim_by_address(self, owner: int, which: IPAddress) -> None:
        name = f"c{owner}"
        mine = [address for address, holder in self.owned.items() if holder == name]
        try:
            found, ops = self.book.claim(name, self.segment, self.subnet, which)
        except InUse:
            assert self.owned.get(which, name) != name or mine not in ([], [which])
            return
        assert found == which
        assert mine in ([], [which])
        self.write(ops, False, which, name)

    @rule(owner=OWNERS)
    def free(self, owner: int) -> None:
        self.now += 1 / 1024  # no two things happen at once
        ops = self.book.free(f"c{owner}")
        if ops:
            self.book.written(ops, finish(self.disk.write(ops)))
        for address in [a for a, holder in self.owned.items() if holder == f"c{owner}"]:
            del self.owned[address]
            self.released.pop(address, None)
            self.released[address] = (f"c{owner}", self.now)

    @precondition(lambda self: self.released)
    @rule(seconds=st.sampled_from([1.0, 10.0, 29.0, 30.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def end_grace_times(self) -> None:
        self.released = {a: (owner, since) for a, (owner, since) in self.released.items() if since > self.now - GRACE}

    def write(self, ops: Sequence[Op], dies: bool, address: IPAddress, owner: str) -> None:
        """Write a claim, or die before it is written: then it never was."""
        if dies:
            self.restart()
            return
        if ops:
            self.book.written(ops, finish(self.disk.write(ops)))
        self.released.pop(address, None)
        self.owned[address] = owner

    def expected(self, owner: str) -> IPAddress | None:
        """Return what an owner must get: its own, else the lowest free, else the one that was given back first."""
        own = [a for a, holder in self.owned.items() if holder == owner]
        waiting = [a for a, (holder, _) in self.released.items() if holder == owner]
        free = [a for a in self.POOL if a not in self.owned and a not in self.released]
        if own or waiting:
            return own[0] if own else self.oldest(waiting)[-1]
        return (free or self.oldest(list(self.released)) or [None])[0]

    def oldest(self, addresses: list[IPAddress]) -> list[IPAddress]:
        return sorted(addresses, key=lambda address: self.released[address][1])


class TwoProcesses(RuleBasedStateMachine):
    """Two books on one store, against the rule: one of two writes fails, and after reading again all is well."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.disk = MemoryStore()
        self.books = [AddressBook(self.disk, grace=GRACE, clock=lambda: self.now) for _ in range(2)]
        self.owned: dict[IPAddress, str] = {}
        lease = Lease(network="web", block=ip_network("10.9.0.0/29"), node="n")
        self.subnet = Subnet(prefix=ip_network("10.9.0.0/16"))
        network = Network(name="web", backend="vxlan", subnets=(self.subnet,))
        self.segment = Segment(network=network, node=Node(id="n", name="h"), leases=(lease,))

    @rule(process=st.integers(0, 1), owner=OWNERS)
    def claim(self, process: int, owner: int) -> None:
        name = f"p{process}c{owner}"
        try:
            address, ops = self.books[process].claim(name, self.segment, self.subnet)
        except Exhausted:
            finish(self.books[process].load())
            return
        if self.written(process, ops):
            assert self.owned.get(address, name) == name
            self.owned[address] = name

    @rule(process=st.integers(0, 1), owner=OWNERS)
    def free(self, process: int, owner: int) -> None:
        name = f"p{process}c{owner}"
        if self.written(process, self.books[process].free(name)):
            self.owned = {address: holder for address, holder in self.owned.items() if holder != name}

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def written(self, process: int, ops: Sequence[Op]) -> bool:
        try:
            if ops:
                self.books[process].written(ops, finish(self.disk.write(ops)))
        except Conflict:
            finish(self.books[process].load())
            return False
        return True

    @invariant()
    def the_store_says_who_owns_what(self) -> None:
        assert owned(self.disk) == {str(address): owner for address, owner in self.owned.items()}


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=100, stateful_step_count=40)
TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = settings(max_examples=60, stateful_step_count=40)
