"""The store in memory: the contract, and what its clock makes testable."""

from __future__ import annotations

import pytest

from wefted.model.records import Item, Put, Snapshot
from wefted.store.memory import HISTORY, MemoryStore
from wefted.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def connect(self):
        store = MemoryStore()

        async def connected():
            return store

        return connected


async def test_time_passes_as_its_clock_says():
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    await store.write([Put("b", b"", ttl=5), Put("a", b"", ttl=10)])
    watch = store.watch("")
    assert set((await anext(watch)).items) == {"a", "b"}
    now[0] = 4.9
    assert set((await store.read("")).items) == {"a", "b"}
    now[0] = 20.0
    assert (await store.read("")).items == {}
    assert await anext(watch) == (Item("b", None, 2), Item("a", None, 3))
    await store.close()


async def test_a_watcher_that_fell_far_behind_gets_a_snapshot():
    store = MemoryStore()
    watch = store.watch("k")
    await anext(watch)
    for n in range(HISTORY + 1):
        await store.write([Put("k", str(n).encode())])
    news = await anext(watch)
    assert isinstance(news, Snapshot)
    assert news.items["k"].value == str(HISTORY).encode()
    await store.close()
