"""What etcd's API v2 does as flannel relies on it, as tests: subclass `KeysContract` and say where one listens.

The fake and the real one pass the same. Needs pytest and pytest-asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from wefted.errors import Conflict
from wefted.model.records import Check, Delete, Item, Put, Snapshot
from wefted.store.etcd2 import KeysStore
from wefted.store.url import EtcdSpec

DEADLINE = 15.0
"""Seconds until a test gives up waiting."""


class KeysContract:
    """The tests. `url` and `prefix` are fixtures of the subclass: where it listens, and a directory of the test's own."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[KeysStore]:
        store = KeysStore(EtcdSpec(endpoints=(url,)))
        yield store
        await store.close()

    async def test_it_is_served(self, store: KeysStore) -> None:
        assert await store.serves()

    async def test_what_is_not_there_is_empty(self, store: KeysStore, prefix: str) -> None:
        assert (await store.read(prefix)).items == {}

    async def test_what_was_put_is_read(self, store: KeysStore, prefix: str) -> None:
        values = {"config": '{"Network":"10.5.0.0/16"} & %+ü', "subnets/10.5.1.0-24": "", "subnets/10.5.2.0-24&fd00::-64": "x"}
        put = {f"{prefix}{key}": await store.write([Put(f"{prefix}{key}", v.encode())]) for key, v in values.items()}
        snapshot = await store.read(prefix)
        expected = [Item(f"{prefix}{k}", v.encode(), put[f"{prefix}{k}"]) for k, v in values.items()]
        assert snapshot.items == {item.key: item for item in expected}
        assert snapshot.revision >= max(put.values())
        assert set((await store.read(f"{prefix}subnets/")).items) == {key for key in put if "subnets" in key}
        assert set((await store.read(f"{prefix}config")).items) == {f"{prefix}config"}

    async def test_only_what_is_as_expected_is_changed(self, store: KeysStore, prefix: str) -> None:
        key = f"{prefix}k"
        first = await store.write([Put(key, b"1", 0)])
        second = await store.write([Put(key, b"2", first)])
        assert second > first
        for op in (Put(key, b"3", 0), Put(key, b"3", first), Delete(key, first)):
            with pytest.raises(Conflict, match="was changed by somebody else"):
                await store.write([op])
        assert (await store.read(prefix)).items == {key: Item(key, b"2", second)}
        await store.write([Delete(key, second)])
        for gone in (Put(key, b"3", second), Delete(key, second)):
            with pytest.raises(Conflict):
                await store.write([gone])
        await store.write([Delete(key)])
        assert (await store.read(prefix)).items == {}

    async def test_a_key_remembers_when_it_came_into_being(self, store: KeysStore, prefix: str) -> None:
        key = f"{prefix}k"

        async def created() -> int:
            return (await store.read(prefix)).items[key].created

        revision = await store.write([Put(key, b"1", 0)])
        first = await created()
        assert first == revision + 2**62
        await store.write([Put(key, b"2", revision)])
        assert await created() == first
        await store.write([Put(key, b"3")])
        assert await created() > first, "whoever writes without comparing makes it anew"

    async def test_a_time_to_live_ends_a_key_unless_it_is_written_again(self, store: KeysStore, prefix: str) -> None:
        for name in ("renewed", "permanent", "vanishing"):
            await store.write([Put(f"{prefix}{name}", b"", ttl=1)])
        await store.write([Put(f"{prefix}renewed", b"", ttl=60)])
        await store.write([Put(f"{prefix}permanent", b"")])
        items = (await store.read(prefix)).items
        assert [items[f"{prefix}{name}"].expires for name in ("renewed", "permanent")] == [True, False]
        watch = store.watch(prefix)
        async with asyncio.timeout(DEADLINE):
            seen = await anext(watch)
            while not (isinstance(seen, tuple) and seen[0].value is None):
                assert not isinstance(seen, Snapshot) or f"{prefix}vanishing" in seen.items
                seen = await anext(watch)
        assert seen[0].key == f"{prefix}vanishing"
        assert set((await store.read(prefix)).items) == {f"{prefix}renewed", f"{prefix}permanent"}

    async def test_a_watch_tells_every_change_in_order(self, store: KeysStore, prefix: str) -> None:
        watch = store.watch(prefix)
        async with asyncio.timeout(DEADLINE):
            assert (await anext(watch)).items == {}  # type: ignore[union-attr]
            expected = []
            for number in range(20):
                key, value = f"{prefix}subnets/{number % 3}", str(number).encode()
                expected.append(Item(key, value, await store.write([Put(key, value)])))
            expected.append(Item(key, None, await store.write([Delete(key)])))
            await store.write([Put(f"{prefix[:-1]}-beside/k", b"")])
            assert [await anext(watch) for _ in expected] == [(item,) for item in expected]

    async def test_a_watch_that_is_far_behind_begins_anew(self, store: KeysStore, prefix: str) -> None:
        """etcd keeps 1,000 changes of all keys; a watcher that comes for an older one is told 401 EventIndexCleared."""
        watch = store.watch(prefix)
        async with asyncio.timeout(4 * DEADLINE):
            await anext(watch)
            await store.write([Put(f"{prefix}k", b"1")])
            await anext(watch)
            for _ in range(11):
                await asyncio.gather(*(store.write([Put(f"{prefix[:-1]}-beside", b"")]) for _ in range(100)))
            await store.write([Put(f"{prefix}new", b"")])
            seen = await anext(watch)
            assert isinstance(seen, Snapshot)
            assert set(seen.items) == {f"{prefix}k", f"{prefix}new"}
            last = await store.write([Put(f"{prefix}k", b"3")])
            assert await anext(watch) == (Item(f"{prefix}k", b"3", last),)

    async def test_a_watch_notices_that_a_directory_has_gone(self, store: KeysStore, url: str, prefix: str) -> None:
        """`etcdctl rm --recursive`: etcd tells of the directory alone."""
        await store.write([Put(f"{prefix}subnets/1", b"")])
        await store.write([Put(f"{prefix}config", b"")])
        watch = store.watch(prefix)
        async with asyncio.timeout(DEADLINE):
            assert len((await anext(watch)).items) == 2  # type: ignore[union-attr]
            await remove(url, f"{prefix}subnets")
            seen = await anext(watch)
            assert isinstance(seen, Snapshot)
            assert set(seen.items) == {f"{prefix}config"}
            await remove(url, prefix.rstrip("/"))
            assert (await anext(watch)).items == {}  # type: ignore[union-attr]

    async def test_one_request_writes_one_key(self, store: KeysStore, prefix: str) -> None:
        for ops in ([Put(f"{prefix}a", b""), Put(f"{prefix}b", b"")], [Check(f"{prefix}a", 0)]):
            with pytest.raises(ValueError, match=r"unpack|check"):
                await store.write(ops)

    async def test_of_many_who_create_a_key_one_wins(self, store: KeysStore, prefix: str) -> None:
        wins = await asyncio.gather(
            *(store.write([Put(f"{prefix}k", str(n).encode(), 0)]) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(won, int) for won in wins) == 1
        assert all(isinstance(won, int | Conflict) for won in wins)


async def remove(url: str, directory: str) -> None:
    """Delete a directory with all that is in it, as `etcdctl rm --recursive` does."""
    async with ClientSession() as session, session.delete(f"{url}/v2/keys{directory}?recursive=true") as response:
        assert response.status == 200
