"""The key space of etcd's API v2, in which flannel before 0.18 keeps its networks.

It is a `Store` as far as that API goes: one write changes one key. Keys are paths with a leading slash; values are text.
After a write whose answer was lost, and which was sent again, the answer may be `Conflict` although it was done: whoever
writes must be able to tell its own value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from wefted.errors import Conflict, WeftedError
from wefted.model.records import Delete, Item, Op, Put, Snapshot

from . import etcd2_wire as wire
from .etcd2_client import KeysAnswer, KeysClient
from .etcd2_watch import KeysWatch
from .etcd2_wire import KeysError, NotServed
from .etcd_errors import Compacted
from .ops import check_ops
from .url import EtcdSpec

_PATIENCE = 2.5
"""How much longer than a read a write may take, as in the API v3."""


class KeysStore:
    """Implements `Store` for writes of one change. It connects when it is first used, and again whenever it must."""

    def __init__(self, spec: EtcdSpec) -> None:
        self._client = KeysClient(spec)

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`. Raises `Unreachable`, and `UsageError` where this API is not served."""
        try:
            answer = await self._call(wire.read(prefix))
        except KeysError as error:
            if error.code != wire.MISSING:
                raise self._client.explain(error) from error
            return Snapshot(wire.revision(error.index))
        found = (item for item in wire.items(answer.body["node"]) if item.key.startswith(prefix))
        return Snapshot(wire.revision(answer.index), {item.key: item for item in found})

    async def serves(self) -> bool:
        """Tell whether this etcd has such a key space at all. Raises `Unreachable`."""
        try:
            await self._client.call(wire.look("/"))
        except NotServed:
            return False
        except KeysError:
            return True
        return True

    async def write(self, ops: Sequence[Op]) -> int:
        """Do the one change; return its revision. Raises `Conflict`, and `Unreachable`, after which it may have been done."""
        check_ops(ops)
        (op,) = ops
        if not isinstance(op, Put | Delete):
            raise ValueError("the API v2 of etcd cannot check a key without writing it")
        try:
            answer = await self._call(wire.change(op), _PATIENCE)
        except KeysError as error:
            return self._refused(op, error)
        return wire.revision(int(answer.body["node"]["modifiedIndex"]))

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot, then changes in order, and a Snapshot again whenever etcd has forgotten what happened since."""
        async with aclosing(KeysWatch(self._client, self.read, prefix).run()) as news:
            async for item in news:
                yield item

    async def seconds_left(self, key: str) -> float | None:
        """Return how long a key has to live, None for one that is for good or not there. Raises `Unreachable`."""
        try:
            found = (await self._call(wire.look(key))).body["node"].get("ttl")
        except KeysError as error:
            if error.code != wire.MISSING:
                raise self._client.explain(error) from error
            return None
        return float(found) if found is not None else None

    async def close(self) -> None:
        """Release everything; watches end."""
        await self._client.close()

    def _refused(self, op: Put | Delete, error: KeysError) -> int:
        if error.code == wire.MISSING and isinstance(op, Delete) and op.expect is None:
            return wire.revision(error.index)
        if error.code in (wire.MISSING, wire.DIFFERENT, wire.THERE):
            raise Conflict(f"{op.key} was changed by somebody else: {error.message}")
        raise self._client.explain(error) from error

    async def _call(self, request: wire.Request, patience: float = 1.0) -> KeysAnswer:
        try:
            return await self._client.call(request, patience)
        except NotServed as error:
            raise self._client.explain(error) from error
        except Compacted as error:
            raise WeftedError(f"etcd has no answer to a read of {request.key}: {error}") from error
