"""Whatever the order in which nodes read and write, and whenever they die: nothing is owned twice, and nothing is lost.

The coroutines of the allocator are driven step by step, without an event loop: the store stops before each of its calls and
after it, and hypothesis chooses who goes on.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wefted.errors import Exhausted, InUse, Unreachable, UsageError
from wefted.ipam import allocator
from wefted.ipam.addresses import AddressBook
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import IPAddress
from wefted.model.records import Op
from wefted.store.memory import MemoryStore
from wefted.testing.steps import Pause, SteppedStore, finish

GRACE = 30.0
SUBNETS = {4: Subnet(prefix=ip_network("10.9.0.0/27")), 6: Subnet(prefix=ip_network("fd77::/122"))}
LENGTHS = {4: 29, 6: 124}
NODES = st.integers(0, 2)
OWNERS = st.integers(0, 7)


def owned(disk: MemoryStore) -> dict[str, str]:
    """Return address -> owner as it stands on a disk."""
    records = {
        key.rpartition("/")[2]: json.loads(item.value or b"") for key, item in finish(disk.read("addresses/")).items.items()
    }
    return {address: record["owner"] for address, record in records.items() if record["released_at"] is None}


@dataclass
class Host:
    """A node as it is while its agent runs. Only `disk` and the cluster outlive a kill."""

    node: Node
    disk: MemoryStore
    cluster: SteppedStore
    book: AddressBook
    leases: tuple[Lease, ...] = ()
    task: Coroutine[Any, Any, None] | None = field(default=None, repr=False)

    def segment(self, subnet: Subnet) -> Segment:
        network = Network(
            name="web", backend="vxlan", subnets=(subnet,), options=(("block", str(LENGTHS[subnet.prefix.version])),)
        )
        return Segment(network=network, node=self.node, leases=self.leases)

    async def connect(self, owner: str, subnet: Subnet, explicit: IPAddress | None) -> None:
        """Do what the engine does: claim, take a further block where that fails, claim again; write."""
        try:
            _, ops = self.book.claim(owner, self.segment(subnet), subnet, explicit)
        except Exhausted:
            await self.acquire(subnet, explicit)
            _, ops = self.book.claim(owner, self.segment(subnet), subnet, explicit)
        await self.write(ops)

    async def acquire(self, subnet: Subnet, explicit: IPAddress | None) -> None:
        known = [lease.block for lease in self.leases]
        length = LENGTHS[subnet.prefix.version]
        lease = await allocator.acquire(self.cluster, "web", subnet, self.node, length, containing=explicit, owned=known)
        self.leases = tuple({lease.block: lease for lease in (*self.leases, lease)}.values())

    async def disconnect(self, owner: str) -> None:
        await self.write(self.book.free(owner))

    async def leave(self) -> None:
        """Give every block back: first forget, then release, for after a lost answer it may be another node's already."""
        while self.leases:
            lease, *others = self.leases
            self.leases = tuple(others)
            await allocator.release(self.cluster, lease)

    async def refresh(self) -> None:
        for lease in self.leases:
            await allocator.refresh(self.cluster, lease)

    async def write(self, ops: Sequence[Op]) -> None:
        if ops:
            await Pause()
            self.book.written(ops, await self.disk.write(ops))


class Cluster(RuleBasedStateMachine):
    """Three nodes, each doing one thing at a time, in one network."""

    @initialize(version=st.sampled_from([4, 6]))
    def begin(self, version: int) -> None:
        self.now = 0.0
        self.subnet = SUBNETS[version]
        self.cluster = MemoryStore()
        self.hosts = [self.host(Node(id=f"n{n}", name=f"h{n}"), MemoryStore()) for n in range(3)]

    def host(self, node: Node, disk: MemoryStore) -> Host:
        book = AddressBook(disk, grace=GRACE, clock=lambda: self.now)
        finish(book.load())
        mine = tuple(lease for lease in finish(allocator.stored(self.cluster, "web")) if lease.node == node.id)
        return Host(node, disk, SteppedStore(self.cluster), book, mine)

    def start(self, number: int, task: Coroutine[Any, Any, None]) -> None:
        self.hosts[number].task = task
        self.go_on(number)

    def idle(self, number: int) -> bool:
        return self.hosts[number].task is None

    def go_on(self, number: int) -> None:
        host = self.hosts[number]
        assert host.task is not None
        try:
            host.task.send(None)
        except StopIteration:
            host.task = None
        except UsageError as error:
            host.task = None
            if not isinstance(error, Exhausted | InUse) and "cannot be used" not in error.message:
                raise

    @rule(number=NODES, owner=OWNERS)
    def connect(self, number: int, owner: int) -> None:
        if self.idle(number):
            self.start(number, self.hosts[number].connect(f"c{number}{owner}", self.subnet, None))

    @rule(number=NODES, owner=OWNERS, offset=st.integers(0, 31))
    def connect_with_address(self, number: int, owner: int, offset: int) -> None:
        if self.idle(number):
            address = self.subnet.prefix.network_address + offset
            self.start(number, self.hosts[number].connect(f"c{number}{owner}", self.subnet, address))

    @rule(number=NODES, owner=OWNERS)
    def disconnect(self, number: int, owner: int) -> None:
        if self.idle(number):
            self.start(number, self.hosts[number].disconnect(f"c{number}{owner}"))

    @rule(number=NODES)
    def leave_when_empty(self, number: int) -> None:
        if self.idle(number) and not owned(self.hosts[number].disk):
            self.start(number, self.hosts[number].leave())

    @rule(number=NODES)
    def refresh(self, number: int) -> None:
        if self.idle(number):
            self.start(number, self.hosts[number].refresh())

    @rule(seconds=st.sampled_from([1.0, 15.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(schedule=st.lists(NODES, min_size=1, max_size=12))
    def step(self, schedule: list[int]) -> None:
        for number in schedule:
            if not self.idle(number):
                self.go_on(number)
            self.nobody_believes_what_is_not_so()

    @rule(number=NODES)
    def kill(self, number: int) -> None:
        """Lose what the agent had in memory, and start another."""
        host = self.hosts[number]
        if host.task is not None:
            host.task.close()
        self.hosts[number] = self.host(host.node, host.disk)

    @rule(number=NODES)
    def lose_the_answer(self, number: int) -> None:
        """Let the store be unreachable at this point of a call: the work may be done or not."""
        host = self.hosts[number]
        if host.task is not None:
            try:
                host.task.throw(Unreachable("no answer"))
            except (Unreachable, StopIteration):
                host.task = None
            finish(host.book.load())

    @invariant()
    def nobody_believes_what_is_not_so(self) -> None:
        leases = set(finish(allocator.stored(self.cluster, "web")))
        assert all(leases >= set(host.leases) for host in self.hosts)

    @invariant()
    def no_two_blocks_overlap(self) -> None:
        leases = finish(allocator.stored(self.cluster, "web"))
        assert not [(a, b) for a, b in combinations(leases, 2) if a.block.overlaps(b.block)]

    @invariant()
    def no_address_is_owned_twice(self) -> None:
        everybody = [owned(host.disk) for host in self.hosts]
        assert len({address for one in everybody for address in one}) == sum(map(len, everybody))
        for one in everybody:
            assert len(set(one.values())) == len(one)

    @invariant()
    def every_address_lies_in_a_block_of_its_node(self) -> None:
        leases = finish(allocator.stored(self.cluster, "web"))
        for host in self.hosts:
            blocks = [lease.block for lease in leases if lease.node == host.node.id]
            assert all(any(ip_address(address) in block for block in blocks) for address in owned(host.disk))

    def teardown(self) -> None:
        """Let everything end, then find that what is in the store is all known to its node and all usable."""
        if not hasattr(self, "hosts"):
            return
        for number in range(3):
            while not self.idle(number):
                self.go_on(number)
        self.now += 2 * GRACE
        for host in self.hosts:
            self.fill(host)
        leases = finish(allocator.stored(self.cluster, "web"))
        assert {lease for host in self.hosts for lease in host.leases} == set(leases)
        assert sum(lease.block.num_addresses for lease in leases) == self.subnet.prefix.num_addresses
        edges = 3 if self.subnet.prefix.version == 4 else 2
        assert sum(len(owned(host.disk)) for host in self.hosts) == sum(lease.block.num_addresses - edges for lease in leases)

    def fill(self, host: Host) -> None:
        for number in range(1000):
            try:
                finish(host.connect(f"last{number}", self.subnet, None))
            except Exhausted:
                return


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=40)
