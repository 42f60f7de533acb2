"""Marks: how a write whose answer was lost is known to have been done.

etcd may do a transaction and die before it answers. Sending it again must then neither do it twice nor report a false
Conflict; and that the key already has the wanted value proves nothing, because two writers may want the same value. So each
transaction also moves a key that only this writer uses, and demands that nobody has moved it: if it has another revision than
we know, then our earlier attempt was done, at exactly that revision. The keys hang on a lease, and vanish with their writer.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress

from wefted.errors import WeftedError

from .etcd_client import EtcdClient
from .etcd_errors import FAILED_PRECONDITION, MemberFailed, Refused
from .etcd_wire import MARKS, Json, Mark

LIFETIME = 600
"""Seconds until the marks of a writer that died vanish. A living one takes a new lease after half of that."""


class Marks:
    """The marks of one writer: as many as it has writes under way at once."""

    def __init__(self, client: EtcdClient, prefix: str = MARKS) -> None:
        self._client = client
        self._prefix = prefix
        self._lock = asyncio.Lock()
        self._lease = 0
        self._renew_at = 0.0
        self._count = 0
        self._free: list[Mark] = []

    async def take(self) -> Mark:
        """Return a mark that no other write uses. Raises `Unreachable`."""
        async with self._lock:
            if time.monotonic() >= self._renew_at:
                self.forget_lease()
                self._lease = await grant(self._client, LIFETIME)
                self._renew_at = time.monotonic() + LIFETIME / 2
        if self._free:
            return self._free.pop()
        self._count += 1
        return Mark(f"{self._prefix}{self._lease:x}/{self._count}", self._lease)

    def give_back(self, mark: Mark, revision: int) -> None:
        """Let others use it. Only for a mark whose revision is certain: no attempt to move it may still be under way."""
        mark.revision = revision
        if mark.lease == self._lease:
            self._free.append(mark)

    def forget_lease(self) -> None:
        """Take a new lease before the next write: the old one is near its end, or etcd says that it is gone."""
        self._renew_at = 0.0
        self._free.clear()

    async def close(self) -> None:
        """Let the marks vanish at once."""
        if self._lease:
            await revoke(self._client, self._lease)


async def grant(client: EtcdClient, ttl: int) -> int:
    """Return a new lease of `ttl` seconds. We choose its number, so that asking twice makes one. Raises `Unreachable`."""
    lease = secrets.randbits(62) + 1
    try:
        await client.call("/lease/grant", {"TTL": str(ttl), "ID": str(lease)})
    except Refused as refused:
        if not (refused.code == FAILED_PRECONDITION and "already exists" in refused.message):
            raise client.explain(refused) from refused
    return lease


async def revoke(client: EtcdClient, lease: int) -> None:
    """End a lease and what hangs on it; one attempt, because it also ends by itself."""
    with suppress(MemberFailed, Refused, WeftedError):
        await client.ask(client.endpoint, "/lease/revoke", {"ID": str(lease)})


async def revoke_unused(client: EtcdClient, lease: int) -> None:
    """End a lease unless another key hangs on it, which another program may have put there; one attempt."""
    with suppress(MemberFailed, Refused, WeftedError):
        answer: Json = await client.ask(client.endpoint, "/lease/timetolive", {"ID": str(lease), "keys": True})
        if not answer.get("keys"):
            await revoke(client, lease)
