"""Leases in the cluster store."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from wefted.errors import Exhausted, InUse, UsageError
from wefted.ipam import allocator
from wefted.model import codec
from wefted.model.lease import Lease
from wefted.model.network import Subnet
from wefted.model.node import Node
from wefted.model.objects import IPNetwork
from wefted.model.records import Delete, Put
from wefted.store.memory import MemoryStore

SUBNET = Subnet(prefix=ip_network("10.9.0.0/22"))
SIX = Subnet(prefix=ip_network("fd77::/48"))


def node(name: str) -> Node:
    return Node(id=f"id-{name}", name=name)


async def acquire(store: MemoryStore, name: str, subnet: Subnet = SUBNET, length: int = 24, **more: object) -> Lease:
    return await allocator.acquire(store, "web", subnet, node(name), length, **more)  # type: ignore[arg-type]


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.write([Put(f"nodes/id-{name}", codec.dumps(node(name))) for name in ("h1", "h2")])
    return store


async def test_nodes_get_different_blocks_lowest_first(store: MemoryStore) -> None:
    found = [(await acquire(store, name)).block for name in ("h1", "h2", "h1")]
    assert [str(block) for block in found] == ["10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24"]
    assert list((await store.read("leases/")).items) == [
        "leases/web/10.9.0.0-24",
        "leases/web/10.9.1.0-24",
        "leases/web/10.9.2.0-24",
    ]


async def test_both_families_stand_side_by_side(store: MemoryStore) -> None:
    four, six = await acquire(store, "h1"), await acquire(store, "h1", SIX, 64)
    assert (str(four.block), str(six.block)) == ("10.9.0.0/24", "fd77::/64")
    assert await allocator.stored(store, "web") == (four, six)


async def test_a_forgotten_block_is_found_again(store: MemoryStore) -> None:
    first = await acquire(store, "h1")
    assert await acquire(store, "h1", owned=[]) == first
    assert await acquire(store, "h1", owned=[first.block]) != first


async def test_a_lease_carries_what_peers_must_know(store: MemoryStore) -> None:
    told = (("mac", "02:00:00:00:00:01"),)
    lease = await acquire(store, "h1", data=told)
    assert (await allocator.stored(store, "web"))[0] == lease
    assert lease.data == told


async def test_an_address_chooses_its_block(store: MemoryStore) -> None:
    lease = await acquire(store, "h1", containing=ip_address("10.9.3.7"))
    assert lease.block == ip_network("10.9.3.0/24")
    assert await acquire(store, "h1", containing=ip_address("10.9.3.9")) == lease


async def test_an_address_in_the_block_of_another_node_names_it(store: MemoryStore) -> None:
    await acquire(store, "h1")
    with pytest.raises(InUse, match=r"10\.9\.0\.7 lies in block 10\.9\.0\.0/24 of network 'web', which belongs to h1"):
        await acquire(store, "h2", containing=ip_address("10.9.0.7"))


async def test_a_network_without_free_blocks_tells_who_holds_them(store: MemoryStore) -> None:
    for name in ("h1", "h1", "h2", "h1"):
        await acquire(store, name)
    with pytest.raises(Exhausted, match=r"its 4 of /24 in 10\.9\.0\.0/22 are held by h1 \(3\), h2 \(1\)") as error:
        await acquire(store, "h2")
    assert "wefted host rm" in error.value.hint


async def test_islands_do_not_compete(store: MemoryStore) -> None:
    first, second = await acquire(store, "h1", island=True), await acquire(store, "h2", island=True)
    assert first.block == second.block == SUBNET.prefix
    assert await acquire(store, "h1", island=True) == first
    assert list((await store.read("leases/")).items) == ["leases/web/id-h1/10.9.0.0-22", "leases/web/id-h2/10.9.0.0-22"]


async def test_a_released_block_is_free(store: MemoryStore) -> None:
    lease = await acquire(store, "h1")
    await allocator.release(store, lease)
    await allocator.release(store, lease)
    assert (await acquire(store, "h2")).block == lease.block


async def test_the_block_of_another_node_is_not_released(store: MemoryStore) -> None:
    mine = await acquire(store, "h1")
    await allocator.release(store, Lease(network="web", block=mine.block, node="id-h2"))
    assert await allocator.stored(store, "web") == (mine,)


async def test_a_lost_or_changed_lease_is_written_again(store: MemoryStore) -> None:
    lease = await acquire(store, "h1")
    await store.write([Delete(allocator.key(lease))])
    assert await allocator.refresh(store, lease) == lease
    changed = Lease(network="web", block=lease.block, node=lease.node, data=(("mac", "x"),))
    assert await allocator.refresh(store, changed) == changed
    revision = (await store.read("")).revision
    assert await allocator.refresh(store, changed) == changed
    assert (await allocator.stored(store, "web"), (await store.read("")).revision) == ((changed,), revision)


async def test_a_lost_lease_that_another_node_has_now_is_not_taken_back(store: MemoryStore) -> None:
    lease = await acquire(store, "h1")
    await allocator.release(store, lease)
    await acquire(store, "h2")
    with pytest.raises(InUse, match="belongs to h2 now"):
        await allocator.refresh(store, lease)
    wider = Lease(network="web", block=ip_network("10.9.0.0/23"), node="id-h1")
    with pytest.raises(InUse, match=r"overlaps 10\.9\.0\.0/24, which belongs to h2"):
        await allocator.refresh(store, wider)


async def test_a_damaged_lease_is_told_by_its_key(store: MemoryStore) -> None:
    await store.write([Put("leases/web/10.9.0.0-24", b"{")])
    with pytest.raises(UsageError, match="leases/web/10"):
        await acquire(store, "h1")


async def test_many_nodes_at_once_get_a_block_each(store: MemoryStore) -> None:
    wide = Subnet(prefix=ip_network("10.64.0.0/16"))
    found = await asyncio.gather(*(acquire(store, f"n{number}", wide) for number in range(200)))
    blocks: set[IPNetwork] = {lease.block for lease in found}
    assert len(blocks) == 200
