"""What every `Store` must do, as tests: subclass `StoreContract` and say how to connect. Needs pytest and pytest-asyncio.

Assertions speak best after `pytest.register_assert_rewrite("wefted.testing.store_contract")`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import pytest

from wefted.errors import Conflict, Unreachable
from wefted.interfaces import Store
from wefted.model.records import Check, Delete, Item, Op, Put, Snapshot

Connect = Callable[[], Awaitable[Store]]
News = Snapshot | tuple[Item, ...]

DEADLINE = 15.0
"""Seconds until a test gives up waiting."""


class StoreContract:
    """The tests. `connect` is a fixture of the subclass: each call opens the same data, which is empty at first."""

    @pytest.fixture
    async def store(self, connect: Connect) -> AsyncIterator[Store]:
        store = await connect()
        yield store
        await store.close()

    async def test_it_is_empty_at_first(self, store: Store) -> None:
        assert (await store.read("")).items == {}

    async def test_what_was_put_is_read(self, store: Store) -> None:
        revision = await store.write([Put("a/1", b"one"), Put("a/2", b"\x00\xff"), Put("a/3", b"")])
        snapshot = await store.read("a/")
        assert snapshot.items == {key: Item(key, value, revision) for key, value in _values("one", "\x00\xff", "")}
        assert snapshot.revision >= revision

    async def test_a_prefix_selects_exactly_the_keys_that_begin_with_it(self, store: Store) -> None:
        await store.write([Put(key, b"") for key in ("a", "a/", "a/ü", "a/1", "a0", "b/1", "a/\U0010ffff", "a//")])
        assert list((await store.read("a/")).items) == ["a/", "a//", "a/1", "a/ü", "a/\U0010ffff"]
        assert len((await store.read("")).items) == 8

    async def test_revisions_grow(self, store: Store) -> None:
        revisions = [await store.write([Put("k", value)]) for value in (b"1", b"1", b"2")]
        revisions.append(await store.write([Delete("k")]))
        assert revisions == sorted(set(revisions))
        assert revisions[0] > 0

    async def test_zero_expects_that_a_key_is_absent(self, store: Store) -> None:
        await store.write([Put("k", b"1", expect=0)])
        with pytest.raises(Conflict, match=r"^k was"):
            await store.write([Put("k", b"2", expect=0)])
        assert (await store.read("k")).items["k"].value == b"1"

    async def test_a_revision_expects_that_nobody_has_written_since(self, store: Store) -> None:
        first = await store.write([Put("k", b"1")])
        second = await store.write([Put("k", b"2", expect=first)])
        for op in (Put("k", b"3", expect=first), Delete("k", expect=first), Check("k", expect=first), Check("k", expect=0)):
            with pytest.raises(Conflict, match=f"found revision {second}"):
                await store.write([op])
        assert (await store.read("k")).items["k"] == Item("k", b"2", second)

    async def test_a_revision_expects_that_the_key_is_there(self, store: Store) -> None:
        revision = await store.write([Put("k", b"1")])
        await store.write([Delete("k", expect=revision)])
        for op in (Put("k", b"2", expect=revision), Delete("k", expect=revision), Check("k", expect=revision)):
            with pytest.raises(Conflict, match="found no such key"):
                await store.write([op])

    async def test_deleting_what_is_absent_does_nothing(self, store: Store) -> None:
        await store.write([Delete("k")])
        await store.write([Delete("k", expect=0)])
        assert (await store.read("")).items == {}

    async def test_a_write_is_done_whole_with_one_revision(self, store: Store) -> None:
        old = await store.write([Put("old", b""), Put("guard", b"")])
        revision = await store.write([Put("a", b""), Check("guard", old), Delete("old", old), Check("none", 0), Put("b", b"")])
        items = (await store.read("")).items
        assert {key: item.revision for key, item in items.items()} == {"a": revision, "b": revision, "guard": old}

    @pytest.mark.parametrize("failing", [Check("guard", 0), Put("guard", b"", expect=0), Delete("absent", expect=7)], ids=str)
    @pytest.mark.parametrize("position", [0, 1, 2])
    async def test_a_write_is_not_done_at_all_when_one_expectation_fails(
        self, store: Store, failing: Op, position: int
    ) -> None:
        await store.write([Put("guard", b"1"), Put("old", b"1")])
        before = (await store.read("")).items
        ops: list[Op] = [Put("new", b"2"), Delete("old")]
        ops.insert(position, failing)
        with pytest.raises(Conflict, match=failing.key):
            await store.write(ops)
        assert (await store.read("")).items == before

    async def test_checks_alone_change_nothing(self, store: Store) -> None:
        revision = await store.write([Put("k", b"")])
        assert await store.write([Check("k", revision), Check("none", 0)]) >= revision
        assert await store.write([]) >= revision
        assert (await store.read("")).items == {"k": Item("k", b"", revision)}

    @pytest.mark.parametrize(
        "ops",
        [[Put("", b"")], [Put("k", b""), Put("k", b"")], [Put("k", b""), Delete("k")], [Put("k", b"", ttl=0)]],
        ids=["empty key", "two puts of a key", "put and delete of a key", "no time to live"],
    )
    async def test_senseless_writes_are_defects(self, store: Store, ops: Sequence[Op]) -> None:
        with pytest.raises(ValueError, match=r"key|two changes|ttl"):
            await store.write(ops)
        assert (await store.read("")).items == {}

    async def test_a_ttl_ends_a_key_unless_it_is_written_again(self, store: Store) -> None:
        await store.write([Put("renewed", b"", ttl=1), Put("made permanent", b"", ttl=1), Put("deleted", b"", ttl=1)])
        await store.write([Put("renewed", b"", ttl=60), Put("made permanent", b""), Delete("deleted")])
        await store.write([Put("deleted", b"again")])
        watch = store.watch("")
        await _next(watch)
        # It is put after the others, so they would be gone first.
        put = await store.write([Put("vanishing", b"", ttl=1)])
        seen = await _until(watch, lambda item: item.value is None)
        assert seen[0] == Item("vanishing", b"", put)
        assert [item.key for item in seen[1:]] == ["vanishing"]
        assert seen[1].revision > put
        assert set((await store.read("")).items) == {"renewed", "made permanent", "deleted"}

    async def test_a_key_vanishes_with_nobody_watching(self, store: Store) -> None:
        await store.write([Put("k", b"", ttl=0.2)])
        async with asyncio.timeout(DEADLINE):
            while (await store.read("k")).items:
                pass
        await store.write([Put("k", b"", expect=0)])

    async def test_a_watch_begins_with_what_is_there(self, store: Store) -> None:
        revision = await store.write([Put("a/1", b"1"), Put("b/1", b"1")])
        snapshot = await _next(store.watch("a/"))
        assert isinstance(snapshot, Snapshot)
        assert snapshot.items == {"a/1": Item("a/1", b"1", revision)}

    async def test_a_watch_tells_every_change_in_order(self, store: Store) -> None:
        await store.write([Put("a/1", b"1")])
        watch = store.watch("a/")
        await _next(watch)
        expected: list[Item] = []
        for ops in (
            [Put("a/1", b"2"), Put("a/2", b"1"), Put("b", b"1")],
            [Put("b", b"2")],
            [Delete("a/1")],
            [Put("a/1", b"3")],
        ):
            revision = await store.write(ops)
            expected += [
                Item(op.key, op.value if isinstance(op, Put) else None, revision) for op in ops if op.key.startswith("a/")
            ]
        assert await _until(watch, lambda item: item.value == b"3") == expected

    async def test_one_write_comes_in_one_piece(self, store: Store) -> None:
        watch = store.watch("")
        await _next(watch)
        await store.write([Put(f"k/{n:02}", b"x" * 1000) for n in range(60)])
        changes = await _next(watch)
        assert isinstance(changes, tuple)
        assert [item.key for item in changes] == [f"k/{n:02}" for n in range(60)]

    async def test_changes_that_happen_before_the_next_look_are_not_lost(self, store: Store) -> None:
        watch = store.watch("k")
        await _next(watch)
        for n in range(50):
            await store.write([Put("k", str(n).encode())])
        seen = await _until(watch, lambda item: item.value == b"49")
        assert [item.value for item in seen] == [str(n).encode() for n in range(50)]

    async def test_many_watch_at_once(self, store: Store) -> None:
        last = {"": "b/1", "a/": "a/1", "a": "a/1", "b/": "b/1"}
        watches = {prefix: store.watch(prefix) for prefix in last}
        for watch in watches.values():
            await _next(watch)
        await store.write([Put("a/1", b"")])
        await store.write([Put("b/1", b"")])
        seen = {prefix: await _until(watch, partial(_is, last[prefix])) for prefix, watch in watches.items()}
        assert [[item.key for item in items] for items in seen.values()] == [["a/1", "b/1"], ["a/1"], ["a/1"], ["b/1"]]

    async def test_a_watch_may_be_left(self, store: Store) -> None:
        async for news in store.watch(""):
            assert isinstance(news, Snapshot)
            break
        await store.write([Put("k", b"")])
        assert "k" in (await store.read("")).items

    async def test_others_see_what_one_writes(self, connect: Connect) -> None:
        one, other = await connect(), await connect()
        try:
            watch = other.watch("k")
            await _next(watch)
            put = await one.write([Put("k", b"1")])
            assert (await other.read("k")).items == {"k": Item("k", b"1", put)}
            deleted = await one.write([Delete("k", expect=put)])
            assert await _until(watch, lambda item: item.value is None) == [Item("k", b"1", put), Item("k", None, deleted)]
        finally:
            await one.close()
            await other.close()

    async def test_no_increment_is_lost_among_many_writers(self, connect: Connect) -> None:
        stores = [await connect(), await connect()]
        try:
            watch = stores[0].watch("counter")
            await _next(watch)
            async with asyncio.TaskGroup() as group:
                for n in range(8):
                    group.create_task(_increment(stores[n % 2], "counter", 12))
            seen = await _until(watch, lambda item: item.value == b"96")
            assert [item.value for item in seen] == [str(n).encode() for n in range(1, 97)]
        finally:
            for store in stores:
                await store.close()

    async def test_only_one_of_many_creates_a_key(self, store: Store) -> None:
        outcomes = await asyncio.gather(*(store.write([Put("k", b"", expect=0)]) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19

    async def test_many_keys_are_read_at_one_revision(self, store: Store) -> None:
        for start in range(0, 2500, 100):
            await store.write([Put(f"k/{n:04}", str(n).encode()) for n in range(start, start + 100)])
        snapshot = await store.read("k/")
        assert list(snapshot.items) == [f"k/{n:04}" for n in range(2500)]
        assert snapshot.items["k/2499"].value == b"2499"

    async def test_large_values_arrive_whole(self, store: Store) -> None:
        watch = store.watch("k")
        await _next(watch)
        value = bytes(range(256)) * 4000
        await store.write([Put("k", value)])
        assert (await _until(watch, lambda item: True))[0].value == value
        assert (await store.read("k")).items["k"].value == value

    async def test_closing_ends_the_watches(self, store: Store) -> None:
        watch = store.watch("")
        await _next(watch)
        ended = asyncio.ensure_future(anext(watch, None))
        await store.close()
        assert await asyncio.wait_for(ended, 1.0) is None

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        await store.close()
        await store.close()
        assert [news async for news in store.watch("")] == []
        with pytest.raises(Unreachable, match="closed"):
            await store.read("")
        with pytest.raises(Unreachable, match="closed"):
            await store.write([Put("k", b"")])


def _is(key: str, item: Item) -> bool:
    return item.key == key


def _values(*texts: str) -> list[tuple[str, bytes]]:
    return [(f"a/{n}", text.encode("latin1")) for n, text in enumerate(texts, 1)]


async def _next(watch: AsyncIterator[News]) -> News:
    return await asyncio.wait_for(anext(watch), DEADLINE)


async def _until(watch: AsyncIterator[News], last: Callable[[Item], bool]) -> list[Item]:
    """Return every change up to the first for which `last` holds; a Snapshot in between would mean that history was lost."""
    seen: list[Item] = []
    while not (seen and last(seen[-1])):
        changes = await _next(watch)
        assert isinstance(changes, tuple)
        seen += changes
    return seen


async def _increment(store: Store, key: str, times: int) -> None:
    done = 0
    while done < times:
        item = (await store.read(key)).items.get(key)
        value = int(item.value or b"0") if item else 0
        try:
            await store.write([Put(key, str(value + 1).encode(), expect=item.revision if item else 0)])
        except Conflict:
            continue
        done += 1
