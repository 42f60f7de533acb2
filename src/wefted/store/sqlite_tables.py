"""The blocking half of the SQLite store: what one connection reads and writes, each in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wefted.model.records import Check, Item, Op, Put, Snapshot

from .feed import Changes, News
from .ops import conflict, end_of

HISTORY = 4096
"""How many revisions the change log keeps at least; a watcher that is further behind gets a new Snapshot."""

_SLACK = 256


class Tables:
    """The tables of one store. All calls come from one thread; `now` is the wall clock, which survives restarts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = (0, 0)

    def close(self) -> None:
        self._connection.close()

    def read(self, prefix: str, now: float) -> Snapshot:
        """Return everything under `prefix` that has not expired."""
        self.expire(now)
        with self._transaction("DEFERRED"):
            return self._snapshot(prefix)

    def write(self, ops: Sequence[Op], now: float) -> int:
        """Do all of `ops` or none; return the new revision. Raises `Conflict`."""
        with self._transaction("IMMEDIATE"):
            revision = self._expire(now)
            for op in ops:
                self._expect(op)
            items = [item for op in ops for item in self._change(op, revision + 1, now)]
            return self._record(revision, items)

    def since(self, prefix: str, seen: int | None, now: float) -> News:
        """Return the changes after revision `seen`, or a Snapshot when `seen` is None or no longer in the log."""
        self.expire(now)
        with self._transaction("DEFERRED"):
            revision, forgotten = self._counter()
            # A smaller revision than the one seen: the file was replaced under us.
            if seen is None or seen < forgotten or seen > revision:
                return self._snapshot(prefix)
            return Changes(revision, tuple(self._changes(prefix, seen)))

    def expire(self, now: float) -> None:
        """Delete what has expired."""
        if self._has_expired(now):
            with self._transaction("IMMEDIATE"):
                self._expire(now)

    def changed(self) -> bool:
        """Tell whether anybody has written since the last call: another connection, or we for a caller that was cancelled."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        seen, self._seen = self._seen, (version, self._connection.total_changes)
        return seen != self._seen

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _counter(self) -> tuple[int, int]:
        revision, forgotten = self._connection.execute("SELECT revision, forgotten FROM counter").fetchone()
        return revision, forgotten

    def _snapshot(self, prefix: str) -> Snapshot:
        revision, _ = self._counter()
        rows = self._connection.execute(
            "SELECT key, value, revision FROM item WHERE key >= ? AND key < ? ORDER BY key", _range(prefix)
        )
        items = (Item(key.decode(), value, changed) for key, value, changed in rows)
        return Snapshot(revision, {item.key: item for item in items})

    def _changes(self, prefix: str, seen: int) -> Iterator[Item]:
        rows = self._connection.execute(
            "SELECT key, value, revision FROM change WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, step",
            (seen, *_range(prefix)),
        )
        for key, value, revision in rows:
            yield Item(key.decode(), value, revision)

    def _expect(self, op: Op) -> None:
        if op.expect is None:
            return
        row = self._connection.execute("SELECT revision FROM item WHERE key = ?", (op.key.encode(),)).fetchone()
        found = row[0] if row else 0
        if op.expect != found:
            raise conflict(op.key, op.expect, found)

    def _change(self, op: Op, revision: int, now: float) -> Iterator[Item]:
        if isinstance(op, Put):
            expires = None if op.ttl is None else now + op.ttl
            self._connection.execute("REPLACE INTO item VALUES (?, ?, ?, ?)", (op.key.encode(), op.value, revision, expires))
            yield Item(op.key, op.value, revision)
        elif not isinstance(op, Check):
            gone = self._connection.execute("DELETE FROM item WHERE key = ?", (op.key.encode(),)).rowcount
            if gone:
                yield Item(op.key, None, revision)

    def _record(self, revision: int, items: Sequence[Item]) -> int:
        """Append `items` to the log as one revision, and return the revision after that."""
        if not items:
            return revision
        rows = ((revision + 1, step, item.key.encode(), item.value) for step, item in enumerate(items))
        self._connection.executemany("INSERT INTO change VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("UPDATE counter SET revision = ?", (revision + 1,))
        if (revision + 1) % _SLACK == 0:
            self._forget(revision + 1 - HISTORY)
        return revision + 1

    def _forget(self, last: int) -> None:
        if last > 0:
            self._connection.execute("DELETE FROM change WHERE revision <= ?", (last,))
            self._connection.execute("UPDATE counter SET forgotten = ?", (last,))

    def _has_expired(self, now: float) -> bool:
        return self._connection.execute("SELECT 1 FROM item WHERE expires <= ? LIMIT 1", (now,)).fetchone() is not None

    def _expire(self, now: float) -> int:
        """Delete what has expired, each as its own revision, and return the revision after that."""
        revision, _ = self._counter()
        rows = self._connection.execute("SELECT key FROM item WHERE expires <= ? ORDER BY expires", (now,)).fetchall()
        for (key,) in rows:
            self._connection.execute("DELETE FROM item WHERE key = ?", (key,))
            revision = self._record(revision, [Item(key.decode(), None, revision + 1)])
        return revision


def _range(prefix: str) -> tuple[bytes, bytes]:
    encoded = prefix.encode()
    return encoded, end_of(encoded)
