"""The address book of one node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from wefted.errors import Conflict, Exhausted, InUse, UsageError
from wefted.ipam.addresses import AddressBook
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.records import Op, Put
from wefted.store.memory import MemoryStore

SUBNET = Subnet(prefix=ip_network("10.9.0.0/16"))
SIX = Subnet(prefix=ip_network("fd77::/48"))


def segment(*blocks: str, name: str = "web", subnets: Sequence[Subnet] = (SUBNET, SIX)) -> Segment:
    network = Network(name=name, backend="vxlan", subnets=tuple(subnets))
    leases = tuple(Lease(network=name, block=ip_network(block), node="n") for block in blocks)
    return Segment(network=network, node=Node(id="n", name="h"), leases=leases)


ONE = segment("10.9.0.0/29")


class World:
    """A book on a store, with a clock that stands still."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 1000.0
        self.book = AddressBook(self.store, clock=lambda: self.now)

    async def claim(self, owner: str, where: Segment = ONE, address: str = "", subnet: Subnet = SUBNET) -> str:
        found, ops = self.book.claim(owner, where, subnet, ip_address(address) if address else None)
        await self.write(ops)
        return str(found)

    async def free(self, owner: str) -> None:
        await self.write(self.book.free(owner))

    async def write(self, ops: Sequence[Op]) -> None:
        if ops:
            self.book.written(ops, await self.store.write(ops))

    async def restart(self) -> None:
        self.book = AddressBook(self.store, clock=lambda: self.now)
        await self.book.load()

    async def keys(self) -> list[str]:
        return list((await self.store.read("")).items)


@pytest.fixture
def world() -> World:
    return World()


async def test_the_lowest_free_address_is_claimed(world: World) -> None:
    assert [await world.claim(owner) for owner in "abc"] == ["10.9.0.2", "10.9.0.3", "10.9.0.4"]
    assert await world.keys() == [f"addresses/web/10.9.0.{n}" for n in (2, 3, 4)]


async def test_an_owner_gets_its_address_again(world: World) -> None:
    first = await world.claim("a")
    assert world.book.claim("a", ONE, SUBNET) == (ip_address(first), [])
    await world.restart()
    assert world.book.claim("a", ONE, SUBNET) == (ip_address(first), [])
    assert await world.claim("a", address=first) == first


async def test_each_network_and_subnet_has_addresses_of_its_own(world: World) -> None:
    both = segment("10.9.0.0/29", "fd77::/64")
    assert await world.claim("a", both) == "10.9.0.2"
    assert await world.claim("a", both, subnet=SIX) == "fd77::2"
    assert await world.claim("b", segment("10.9.0.0/29", name="db")) == "10.9.0.2"


async def test_an_address_may_be_asked_for(world: World) -> None:
    assert await world.claim("a", address="10.9.0.5") == "10.9.0.5"
    assert [await world.claim(owner) for owner in "bcde"] == ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.6"]


async def test_an_address_in_use_names_its_owner(world: World) -> None:
    await world.claim("a")
    world.book.describe = {"a": "netns:c1"}.__getitem__
    with pytest.raises(InUse, match=r"10\.9\.0\.2 belongs to netns:c1"):
        await world.claim("b", address="10.9.0.2")


async def test_an_owner_has_one_address_in_each_subnet(world: World) -> None:
    await world.claim("a")
    with pytest.raises(InUse, match=r"a has 10\.9\.0\.2 in 10\.9\.0\.0/16 already"):
        await world.claim("a", address="10.9.0.3")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.8.0.1", r"lies outside 10\.9\.0\.0/16 of network 'web'"),
        ("10.9.0.0", "network address of 10.9.0.0/29"),
        ("10.9.0.7", "broadcast address of 10.9.0.0/29"),
        ("10.9.0.1", "it is the gateway"),
        ("10.9.77.0", "network address of 10.9.77.0/24"),
        ("10.9.77.1", "it is the gateway"),
    ],
)
async def test_an_address_that_nobody_may_have_is_refused_before_a_block_is_taken(world: World, address: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as error:
        await world.claim("a", address=address)
    assert not isinstance(error.value, Exhausted | InUse)
    assert await world.keys() == []


async def test_where_a_further_block_is_needed_it_says_so(world: World) -> None:
    with pytest.raises(Exhausted, match="owns no block of network 'web' yet"):
        await world.claim("a", segment())
    with pytest.raises(Exhausted, match=r"10\.9\.77\.7 lies in no block"):
        await world.claim("a", address="10.9.77.7")
    for owner in "abcde":
        await world.claim(owner)
    with pytest.raises(Exhausted, match=r"all 5 addresses of this host \(10\.9\.0\.0/29\) are taken"):
        await world.claim("f")
    assert await world.claim("f", segment("10.9.0.0/29", "10.9.8.0/29")) == "10.9.8.2"


async def test_an_address_given_back_waits_for_its_owner(world: World) -> None:
    for owner in "ab":
        await world.claim(owner)
    await world.free("a")
    assert await world.claim("c") == "10.9.0.4"
    await world.restart()
    assert await world.claim("d") == "10.9.0.5"
    assert await world.claim("a") == "10.9.0.2"


async def test_after_the_grace_time_it_is_the_lowest_free_again(world: World) -> None:
    for owner in "abc":
        await world.claim(owner)
    await world.free("a")
    await world.free("b")
    world.now += 29.9
    assert await world.claim("d") == "10.9.0.5"
    world.now += 0.1
    assert [await world.claim(owner) for owner in "efg"] == ["10.9.0.2", "10.9.0.3", "10.9.0.6"]


async def test_when_nothing_else_is_free_the_one_given_back_first_goes_first(world: World) -> None:
    for owner in "abcde":
        await world.claim(owner)
    for owner in "ca":
        await world.free(owner)
        world.now += 1
    assert [await world.claim(owner) for owner in "xy"] == ["10.9.0.4", "10.9.0.2"]
    with pytest.raises(Exhausted):
        await world.claim("c")


async def test_an_address_given_back_may_be_asked_for(world: World) -> None:
    await world.claim("a")
    await world.free("a")
    assert await world.claim("b", address="10.9.0.2") == "10.9.0.2"
    assert await world.claim("a") == "10.9.0.3"


async def test_giving_back_twice_changes_nothing(world: World) -> None:
    await world.claim("a")
    await world.free("a")
    assert world.book.free("a") == []
    assert world.book.free("nobody") == []


async def test_a_restart_drops_what_was_given_back_long_ago(world: World) -> None:
    for owner in "ab":
        await world.claim(owner)
    await world.free("a")
    world.now += 31
    await world.restart()
    assert await world.keys() == ["addresses/web/10.9.0.3"]
    assert await world.claim("c") == "10.9.0.2"


async def test_a_clock_that_was_set_back_frees_nothing_early(world: World) -> None:
    await world.claim("a")
    await world.free("a")
    world.now -= 500
    await world.restart()
    assert await world.claim("b") == "10.9.0.3"
    world.now += 30
    assert await world.claim("c") == "10.9.0.2"


async def test_a_network_that_is_gone_leaves_nothing(world: World) -> None:
    for owner in "ab":
        await world.claim(owner)
    await world.claim("a", segment("10.9.0.0/29", name="db"))
    await world.free("b")
    await world.write(world.book.forget("web"))
    assert await world.keys() == ["addresses/db/10.9.0.2"]
    assert world.book.forget("web") == []
    assert await world.claim("b") == "10.9.0.2"


async def test_a_claim_that_was_not_written_is_asked_for_again(world: World) -> None:
    first, ops = world.book.claim("a", ONE, SUBNET)
    again, more = world.book.claim("a", ONE, SUBNET)
    assert again == first
    assert [op.key for op in more] == [op.key for op in ops]
    await world.write(more)
    assert world.book.owner("web", first) == "a"


async def test_a_second_process_is_noticed(world: World) -> None:
    other = AddressBook(world.store, clock=lambda: world.now)
    await other.load()
    await world.claim("a")
    address, ops = other.claim("b", ONE, SUBNET)
    with pytest.raises(Conflict):
        await world.store.write(ops)
    await other.load()
    assert other.owner("web", address) == "a"
    assert other.claim("b", ONE, SUBNET)[0] == ip_address("10.9.0.3")


async def test_a_second_process_is_noticed_when_it_takes_what_was_given_back(world: World) -> None:
    await world.claim("a")
    await world.free("a")
    other = AddressBook(world.store, clock=lambda: world.now)
    await other.load()
    await world.claim("a")
    _, ops = other.claim("a", ONE, SUBNET)
    with pytest.raises(Conflict):
        await world.store.write(ops)


@pytest.mark.parametrize(
    ("key", "value"), [("addresses/web/x", b"{}"), ("addresses/web", b"{}"), ("addresses/web/10.9.0.2", b"{")]
)
async def test_damaged_records_are_told_by_their_keys(world: World, key: str, value: bytes) -> None:
    await world.store.write([Put(key, value)])
    with pytest.raises(UsageError, match=key):
        await world.book.load()


async def test_claims_cost_the_same_beside_many(world: World) -> None:
    wide = segment("10.9.0.0/16")
    times = []
    for number in range(3000):
        begun = time.perf_counter_ns()
        _, ops = world.book.claim(f"c{number}", wide, SUBNET)
        times.append(time.perf_counter_ns() - begun)
        world.book.written(ops, number)
    assert sorted(times[-100:])[50] <= 2 * sorted(times[:100])[50]
