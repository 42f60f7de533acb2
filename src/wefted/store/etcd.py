"""The store in etcd v3, for several hosts: the user's own cluster, or members that wefted runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from math import ceil

from wefted.errors import Conflict, Unreachable, UsageError
from wefted.model.records import Check, Item, Op, Put, Snapshot

from .etcd_client import Answer, EtcdClient
from .etcd_errors import NOT_FOUND, Compacted, Refused
from .etcd_marks import Marks, grant, revoke, revoke_unused
from .etcd_watch import EtcdWatch
from .etcd_wire import MARKS, Codec, Json, Mark, expectations, found_revisions, replaced_leases, revision_of
from .ops import check_ops, conflict
from .url import EtcdSpec

PAGE = 1000
"""How many keys one answer holds; more of them come in several answers, all at one revision."""

_PATIENCE = 2.5
"""How much longer than a read a write may take: it can lie in a queue while a leader is elected, and its outcome matters."""


class EtcdStore:
    """Implements `Store`. It connects when it is first used, and again whenever it must."""

    def __init__(self, spec: EtcdSpec, marks: str = MARKS) -> None:
        self._client = EtcdClient(spec)
        self._codec = Codec(spec.prefix, marks)
        self._marks = Marks(self._client, marks)

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`, as a quorum of members knows it. Raises `Unreachable`, `UsageError`."""
        while True:
            try:
                return await self._read_pages(prefix)
            except Compacted:
                continue

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none; return the new revision.

        Raises `Conflict`, `UsageError`, and `Unreachable`, after which the write may have been done or not. A ttl is
        rounded up to whole seconds, and etcd makes it at least one and a half times its election time-out.
        """
        check_ops(ops)
        if all(isinstance(op, Check) for op in ops):
            return await self._verify(ops)
        leases = await self._grant_all(ops)
        try:
            revision, replaced = await self._commit(ops, leases)
        except (Conflict, UsageError):
            await self._each(revoke, leases.values())
            raise
        await self._each(revoke_unused, replaced)
        return revision

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot, then changes in order, and a Snapshot again whenever etcd has forgotten what happened since."""
        async with aclosing(EtcdWatch(self._client, self._codec, self.read, prefix).run()) as news:
            async for item in news:
                yield item

    async def seconds_left(self, key: str) -> float | None:
        """Return how long a key has to live, None for one that is for good or not there. Raises `Unreachable`."""
        kvs = (await self._call("/kv/range", {"key": self._codec.encode(key)})).body.get("kvs", ())
        lease = kvs[0].get("lease", "0") if kvs else "0"
        if lease == "0":
            return None
        try:
            return float((await self._client.call("/lease/timetolive", {"ID": lease})).body.get("TTL", 0))
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise self._client.explain(refused) from refused
            return 0.0

    async def close(self) -> None:
        """Release everything; watches end."""
        if not self._client.closed.is_set():
            await self._marks.close()
            await self._client.close()

    async def _read_pages(self, prefix: str) -> Snapshot:
        span = self._codec.span(prefix)
        answer = await self._call("/kv/range", {**span, "limit": str(PAGE)})
        revision = revision_of(answer.body)
        kvs = list(answer.body.get("kvs", ()))
        while answer.body.get("more"):
            span = self._codec.after(kvs[-1], span)
            answer = await self._call("/kv/range", {**span, "limit": str(PAGE), "revision": str(revision)})
            kvs += answer.body.get("kvs", ())
        return Snapshot(revision, {item.key: item for item in self._codec.items(kvs)})

    async def _verify(self, ops: Sequence[Op]) -> int:
        answer = await self._call("/kv/txn", self._codec.verification(ops))
        if not answer.body.get("succeeded"):
            raise _conflict(ops, found_revisions(answer.body))
        return revision_of(answer.body)

    async def _commit(self, ops: Sequence[Op], leases: Mapping[str, int]) -> tuple[int, set[int]]:
        """Return the revision of the write, and the leases of what it replaced."""
        for _ in range(2):
            mark = await self._marks.take()
            answer = await self._call_marked(self._codec.transaction(ops, leases, mark))
            done = self._outcome(ops, mark, answer) if answer else None
            if done:
                return done
            self._marks.forget_lease()
        raise Unreachable("etcd has lost a lease that it gave us a moment ago", "check that its members run with right clocks")

    def _outcome(self, ops: Sequence[Op], mark: Mark, answer: Answer) -> tuple[int, set[int]] | None:
        """Read the answer to a transaction; None when nothing was done because the mark has vanished."""
        if answer.body.get("succeeded"):
            revision = revision_of(answer.body)
            self._marks.give_back(mark, revision)
            return revision, replaced_leases(answer.body)
        moved, *found = found_revisions(answer.body)
        if moved < mark.revision:
            return None
        if moved > mark.revision:
            self._marks.give_back(mark, moved)
            return moved, set()
        # After a repetition an earlier attempt may still be under way, and move the mark later.
        if not answer.repeated:
            self._marks.give_back(mark, moved)
        raise _conflict(ops, found)

    async def _call_marked(self, transaction: Json) -> Answer | None:
        """Return the answer, or None when a lease is gone, of the mark or of a value."""
        try:
            return await self._client.call("/kv/txn", transaction, _PATIENCE)
        except Refused as refused:
            if refused.code == NOT_FOUND:
                return None
            raise self._client.explain(refused) from refused

    async def _call(self, path: str, body: Json) -> Answer:
        try:
            return await self._client.call(path, body)
        except Refused as refused:
            raise self._client.explain(refused) from refused

    async def _grant_all(self, ops: Sequence[Op]) -> dict[str, int]:
        """Return a lease of its own for each key with a ttl, so that writing one again does not end another."""
        seconds = {op.key: ceil(op.ttl) for op in ops if isinstance(op, Put) and op.ttl is not None}
        leases = await asyncio.gather(*(grant(self._client, ttl) for ttl in seconds.values()))
        return dict(zip(seconds, leases, strict=True))

    async def _each(self, end: Callable[[EtcdClient, int], Awaitable[None]], leases: Iterable[int]) -> None:
        await asyncio.gather(*(end(self._client, lease) for lease in leases))


def _conflict(ops: Sequence[Op], found: Sequence[int]) -> Conflict:
    """Return the error that names the first key which has not the expected revision."""
    for (key, expected), revision in zip(expectations(ops), found, strict=True):
        if revision != expected:
            return conflict(key, expected, revision)
    raise AssertionError("etcd refused a transaction whose expectations all hold")
