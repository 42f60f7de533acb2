"""A random walk over two stores at once: the one in memory is right, and the other must do the same. Needs hypothesis.

Revisions are each store's own, so a walk names an expectation by what it means: the key's present revision, an earlier one, or
none. What the watches tell must rebuild what a read finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wefted.errors import Conflict
from wefted.interfaces import Store
from wefted.model.records import Check, Delete, Item, Op, Put, Snapshot

KEYS = ("a", "a/1", "a/2", "b")
ABSENT, PRESENT, STALE, ANY = "absent", "present", "stale", "any"

Step = tuple[str, str, str, bytes]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "check"]),
        st.sampled_from(KEYS),
        st.sampled_from([ABSENT, PRESENT, STALE, ANY]),
        st.sampled_from([b"", b"1", b"2"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda step: step[1],
)


@dataclass
class Side:
    """One of the two stores, with what a reader and a watcher know of it."""

    store: Store
    revisions: dict[str, list[int]] = field(default_factory=dict)
    watch: AsyncIterator[Snapshot | tuple[Item, ...]] | None = None
    told: dict[str, bytes] = field(default_factory=dict)
    seen: int = 0

    async def write(self, steps: list[Step]) -> bool:
        """Do the steps as one write; tell whether that was done."""
        present = (await self.store.read("")).items
        ops = [self._op(step, present.get(step[1])) for step in steps]
        try:
            revision = await self.store.write(ops)
        except Conflict:
            return False
        for op in ops:
            if not isinstance(op, Check):
                self.revisions.setdefault(op.key, []).append(revision)
        return True

    async def values(self, prefix: str) -> dict[str, bytes | None]:
        return {key: item.value for key, item in (await self.store.read(prefix)).items.items()}

    async def listen(self) -> dict[str, bytes]:
        """Return what the watch has told, once it has caught up with a change made for that."""
        if self.watch is None:
            self.watch = self.store.watch("")
        goal = await self.store.write([Put("~", b"")])
        while self.seen < goal:
            self._hear(await asyncio.wait_for(anext(self.watch), 10))
        return {key: value for key, value in self.told.items() if key != "~"}

    def _hear(self, news: Snapshot | tuple[Item, ...]) -> None:
        if isinstance(news, Snapshot):
            self.told = {}
            self.seen = news.revision
        for item in news.items.values() if isinstance(news, Snapshot) else news:
            assert isinstance(news, Snapshot) or item.revision >= self.seen
            self.seen = max(self.seen, item.revision)
            if item.value is None:
                del self.told[item.key]
            else:
                self.told[item.key] = item.value

    def _op(self, step: Step, present: Item | None) -> Op:
        kind, key, expectation, value = step
        expect = self._expect(key, expectation, present)
        if kind == "check":
            return Check(key, expect or 0)
        return Put(key, value, expect) if kind == "put" else Delete(key, expect)

    def _expect(self, key: str, expectation: str, present: Item | None) -> int | None:
        if expectation == ANY:
            return None
        if expectation == ABSENT:
            return 0
        now = present.revision if present else 0
        if expectation == PRESENT:
            return now
        return next((r for r in self.revisions.get(key, ()) if r != now), 2**40)


def machine(reference: Callable[[], Store], connect: Callable[[], Coroutine[Any, Any, Store]]) -> type[RuleBasedStateMachine]:
    """Return a state machine that compares what `connect` opens, empty each time, with `reference`."""

    class Comparison(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.reference = Side(reference())
            self.other = Side(self.runner.run(connect()))

        def both(self, work: Callable[[Side], Awaitable[Any]]) -> None:
            async def compare() -> None:
                expected, found = await work(self.reference), await work(self.other)
                assert found == expected

            self.runner.run(compare())

        @rule(steps=STEPS)
        def write(self, steps: list[Step]) -> None:
            self.both(lambda side: side.write(steps))

        @rule(prefix=st.sampled_from(["", "a", "a/", "c"]))
        def read(self, prefix: str) -> None:
            self.both(lambda side: side.values(prefix))

        @rule()
        def listen(self) -> None:
            self.both(lambda side: side.listen())

        @invariant()
        def revisions_are_current(self) -> None:
            self.runner.run(self._check_revisions())

        async def _check_revisions(self) -> None:
            for side in (self.reference, self.other):
                snapshot = await side.store.read("")
                assert all(0 < item.revision <= snapshot.revision for item in snapshot.items.values())

        def teardown(self) -> None:
            self.runner.run(self._close())
            self.runner.close()

        async def _close(self) -> None:
            await self.reference.store.close()
            await self.other.store.close()

    return Comparison
