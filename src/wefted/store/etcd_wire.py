"""What goes over the wire to etcd's JSON gateway, and how its answers read. Pure.

The messages are those of https://etcd.io/docs/v3.4/dev-guide/apispec/swagger/rpc.swagger.json: keys and values in base64,
64-bit numbers as strings, and fields left out where they are empty or 0.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wefted.model.records import Check, Item, Op, Put

from .ops import end_of

Json = Mapping[str, Any]

MARKS = ".written/"
"""The keys below our prefix that are ours alone, and never shown: see `etcd_marks`."""


@dataclass(slots=True)
class Mark:
    """A key that only one writer uses, and its revision as that writer knows it (0: it does not exist yet)."""

    key: str
    lease: int
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Codec:
    """Translates between our keys and those below `prefix` in etcd; `marks` begins those that are never shown."""

    prefix: str
    marks: str = MARKS

    def encode(self, key: str) -> str:
        return _text((self.prefix + key).encode())

    def span(self, prefix: str) -> dict[str, str]:
        """Return the fields that select every key under `prefix`."""
        first = (self.prefix + prefix).encode()
        return {"key": _text(first), "range_end": _text(end_of(first))}

    def after(self, kv: Json, span: Mapping[str, str]) -> dict[str, str]:
        """Return the part of `span` that comes after the key of `kv`."""
        return {**span, "key": _text(b64decode(kv["key"]) + b"\0")}

    def item(self, kv: Json, deleted: bool = False) -> Item:
        key = b64decode(kv["key"]).decode().removeprefix(self.prefix)
        value = None if deleted else b64decode(kv.get("value", ""))
        return Item(key, value, int(kv["mod_revision"]), bool(int(kv.get("lease", 0))))

    def items(self, kvs: Sequence[Json]) -> Iterator[Item]:
        """Yield the items that are not marks."""
        return self._shown(self.item(kv) for kv in kvs)

    def events(self, events: Sequence[Json]) -> tuple[Item, ...]:
        """Return the changes that are not of marks."""
        return tuple(self._shown(self.item(event["kv"], event.get("type") == "DELETE") for event in events))

    def transaction(self, ops: Sequence[Op], leases: Mapping[str, int], mark: Mark) -> Json:
        """Return the request that does `ops` and moves `mark`; when it must not, it answers with what it found instead.

        The mark makes it safe to send the request again: once it was done, the mark has another revision.
        """
        guarded = expectations(ops)
        return {
            "compare": [self._compare(mark.key, mark.revision), *(self._compare(*pair) for pair in guarded)],
            "success": [self._move(mark), *(self._change(op, leases) for op in ops if not isinstance(op, Check))],
            "failure": [self._look(mark.key), *(self._look(key) for key, _ in guarded)],
        }

    def verification(self, ops: Sequence[Op]) -> Json:
        """Return the request that changes nothing, and tells whether the expectations of `ops` hold."""
        guarded = expectations(ops)
        return {
            "compare": [self._compare(*pair) for pair in guarded],
            "failure": [self._look(key) for key, _ in guarded],
        }

    def _shown(self, items: Iterator[Item]) -> Iterator[Item]:
        return (item for item in items if not item.key.startswith(self.marks))

    def _compare(self, key: str, revision: int) -> Json:
        return {"target": "MOD", "result": "EQUAL", "key": self.encode(key), "mod_revision": str(revision)}

    def _change(self, op: Op, leases: Mapping[str, int]) -> Json:
        if isinstance(op, Put):
            return self._put(op.key, op.value, leases.get(op.key, 0))
        return {"request_delete_range": {"key": self.encode(op.key), "prev_kv": True}}

    def _put(self, key: str, value: bytes, lease: int) -> Json:
        return {"request_put": {"key": self.encode(key), "value": _text(value), "lease": str(lease), "prev_kv": True}}

    def _move(self, mark: Mark) -> Json:
        return {"request_put": {"key": self.encode(mark.key), "lease": str(mark.lease)}}

    def _look(self, key: str) -> Json:
        return {"request_range": {"key": self.encode(key), "keys_only": True}}


def expectations(ops: Sequence[Op]) -> list[tuple[str, int]]:
    """Return each key with the revision that it must have."""
    return [(op.key, op.expect) for op in ops if op.expect is not None]


def revision_of(answer: Json) -> int:
    """Return the revision of the whole store that an answer tells."""
    return int(answer.get("header", {}).get("revision", 0))


def found_revisions(answer: Json) -> list[int]:
    """Return the revision of each key that a refused transaction looked at, 0 for those that are absent."""
    looks = [response.get("response_range", {}).get("kvs", ()) for response in answer.get("responses", ())]
    return [int(kvs[0]["mod_revision"]) if kvs else 0 for kvs in looks]


def replaced_leases(answer: Json) -> set[int]:
    """Return the leases of the values that a transaction replaced or deleted."""
    leases: set[int] = set()
    for response in answer.get("responses", ()):
        put = response.get("response_put", {}).get("prev_kv")
        gone = response.get("response_delete_range", {}).get("prev_kvs", ())
        leases |= {int(kv.get("lease", 0)) for kv in (*([put] if put else ()), *gone)}
    return leases - {0}


def _text(data: bytes) -> str:
    return b64encode(data).decode()
