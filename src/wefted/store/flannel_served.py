"""A flannel network as a flannel server tells of it: the third place where its records can be, beside etcd's two APIs.

    http://HOST:8888/v1/NETWORK/config            the configuration
    http://HOST:8888/v1/NETWORK/subnets/KEY       a lease; the server calls this .../leases/KEY

What was seen last is kept in the host's own store, and goes on while the server is away, also over a restart. Whose a lease is
stands there too: only this host needs to know its own. The revisions are those of our own counting, on a clock of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from wefted.errors import Conflict, Unreachable, UsageError, WeftedError
from wefted.interfaces import Store
from wefted.model import flannel_lease
from wefted.model import flannel_wire as wire
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_wire import Lent
from wefted.model.objects import IPNetwork
from wefted.model.records import EPOCH, Delete, Item, Op, Put, Snapshot

from .flannel_claims import Claim
from .flannel_client import ServerClient
from .flannel_server_url import ServerSpec, parse_server
from .flannel_view import CONFIG, OWNERS, SUBNETS, Mount

SEEN = "served/"
"""The keys of what was seen last."""
PATIENCE = 30.0
"""Seconds that one question for news lasts; after a quiet one the configuration is read again, of which there is no news."""
PAUSE = (0.1, 2.0)
"""The first and the longest pause before the server is asked again, in seconds."""
_CREATED = 1
"""The server does not tell when a lease came into being, so a claim names its value alone."""
_RESERVED, _LENT = b"r", b"l"

_log = logging.getLogger("wefted.flannel")


class ServedKeys:
    """Implements `Store` as far as a flannel server goes: what is at one network, and news of it."""

    def __init__(self, text: str, records: Store) -> None:
        self.spec: ServerSpec = parse_server(text)
        self.client = ServerClient(self.spec)
        self._records = records
        self._rows = f"{SEEN}{self.spec.base}"
        self._items: dict[str, Item] = {}
        self._loaded = False
        self._count = 0
        self._cursor = ""
        self._silent = False
        """Whether it was said that the server does not answer."""

    async def read(self, prefix: str) -> Snapshot:
        """Ask for what is under `prefix`: the configuration, the leases, or both. Raises `Unreachable`, `WeftedError`."""
        await self._load()
        wanted = [word for word in (CONFIG, SUBNETS) if (self.spec.base + word).startswith(prefix)]
        if CONFIG in wanted:
            await self._read_config()
        if SUBNETS in wanted:
            await self._read_leases()
        return self._snapshot(prefix)

    async def picture(self) -> Snapshot:
        """Return what is known, without asking; only where nothing is, ask. Raises as `read` does."""
        await self._load()
        return self._snapshot("") if self._items else await self.read(self.spec.base)

    async def write(self, ops: Sequence[Op]) -> int:
        """Refuse: leases are written by `ServedLeases`, and configurations by nobody."""
        raise UsageError(f"{self.spec.base} is a flannel server's, which writes no configuration", "write it on that host")

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot of what was seen last, then what the server tells, as soon and as long as it answers."""
        await self._load()
        if self._items:
            yield self._snapshot("")
        cursor, pause = "", PAUSE[0]
        while not self.client.closed.is_set():
            try:
                news = await self._next(cursor)
                cursor, pause = self._cursor, PAUSE[0]
                self._answers()
                if news:
                    yield news
            except WeftedError as error:
                self._silence(error)
                cursor = cursor if isinstance(error, Unreachable) else ""
                await self.client.pause(pause)
                pause = min(2 * pause, PAUSE[1])

    async def names(self) -> AsyncGenerator[tuple[frozenset[str], frozenset[str]], None]:
        """Yield the networks that the server has, and those that were deleted. Raises `Unreachable`, `WeftedError`."""
        cursor, there, _ = wire.read_networks(await self.client.ask("GET", self.spec.root))
        yield there or frozenset(), frozenset()
        while True:
            found = await self.client.wait(self.spec.root, cursor, PATIENCE)
            if found is None:
                continue
            cursor, there, events = wire.read_networks(found)
            gone = frozenset(name for name, is_there in events if not is_there)
            yield there or frozenset(name for name, is_there in events if is_there), gone

    async def close(self) -> None:
        """End every request."""
        await self.client.close()

    async def forget(self) -> None:
        """Delete what was seen last."""
        found = (await self._records.read(self._rows)).items
        self._items, self._loaded = {}, True
        if found:
            await self._records.write([Delete(key) for key in found])

    async def note(self, lent: Lent) -> Item:
        """Take a lease that the server has just given us."""
        key, value, expires = self._raw(lent)
        (changed,) = await self._update([(key, value, expires)]) or (self._items[key],)
        return changed

    async def _next(self, cursor: str) -> Snapshot | tuple[Item, ...]:
        if not cursor:
            return await self.read(self.spec.base)
        found = await self.client.wait(f"{self.spec.base}leases", cursor, PATIENCE)
        if found is None:
            return await self._read_config()
        watched = wire.read_watched(found)
        self._cursor = watched.cursor
        if watched.snapshot is not None:
            await self._read_config()
            await self._replace(SUBNETS, map(self._raw, watched.snapshot))
            return self._snapshot("")
        return await self._update([self._gone(subnet) if lent is None else self._raw(lent) for subnet, lent in watched.events])

    async def _read_config(self) -> tuple[Item, ...]:
        where = self.spec.base + CONFIG
        found = await self.client.ask("GET", where)
        return await self._update([(where, json.dumps(found, separators=(",", ":")).encode(), False)])

    async def _read_leases(self) -> None:
        watched = wire.read_watched(await self.client.ask("GET", f"{self.spec.base}leases"))
        # An answer may be older than news that have overtaken it.
        if watched.snapshot is not None and not _is_before(watched.cursor, self._cursor):
            self._cursor = watched.cursor
            await self._replace(SUBNETS, map(self._raw, watched.snapshot))

    def _raw(self, lent: Lent) -> tuple[str, bytes | None, bool]:
        where = f"{self.spec.base}{SUBNETS}{flannel_lease.key(lent.lease)}"
        return where, flannel_lease.encode_first(lent.lease), lent.ends is not None

    def _gone(self, subnet: IPNetwork) -> tuple[str, bytes | None, bool]:
        return f"{self.spec.base}{SUBNETS}{subnet.network_address}-{subnet.prefixlen}", None, False

    async def _replace(self, word: str, found: Iterable[tuple[str, bytes | None, bool]]) -> None:
        """Take everything that there is under a word."""
        new = list(found)
        there = {key for key, _, _ in new}
        lost = [key for key in self._items if key.startswith(self.spec.base + word) and key not in there]
        await self._update([*new, *((key, None, False) for key in lost)])

    async def _update(self, found: Sequence[tuple[str, bytes | None, bool]]) -> tuple[Item, ...]:
        """Take what was told; return what is another than before, and keep it for the next start."""
        changed: list[Item] = []
        for key, value, expires in found:
            known = self._items.get(key)
            if (known.value, known.expires) == (value, expires) if known is not None else value is None:
                continue
            self._count += 1
            item = Item(key, value, EPOCH + self._count, expires, _CREATED)
            changed.append(item)
            if value is None:
                del self._items[key]
            else:
                self._items[key] = item
        if changed:
            await self._records.write([self._row(item) for item in changed])
        return tuple(changed)

    def _row(self, item: Item) -> Op:
        key = f"{SEEN}{item.key}"
        return Delete(key) if item.value is None else Put(key, (_LENT if item.expires else _RESERVED) + item.value)

    async def _load(self) -> None:
        """Take what was seen before this process."""
        if self._loaded:
            return
        self._loaded = True
        for row in (await self._records.read(self._rows)).items.values():
            key, value = row.key.removeprefix(SEEN), row.value or b""
            self._items[key] = Item(key, value[1:], EPOCH, value[:1] == _LENT, _CREATED)

    def _snapshot(self, prefix: str) -> Snapshot:
        return Snapshot(EPOCH + self._count, {key: item for key, item in self._items.items() if key.startswith(prefix)})

    def _silence(self, error: WeftedError) -> None:
        if not self._silent:
            _log.warning("a flannel server gives no news", extra={"server": self.spec.base, "error": error.message})
        self._silent = True

    def _answers(self) -> None:
        if self._silent:
            _log.info("a flannel server gives news again", extra={"server": self.spec.base})
        self._silent = False


class ServedLeases:
    """Implements `Layout` at a flannel server; whose a lease is stands in `records`, below `own`."""

    def __init__(self, text: str, records: Store, own: str) -> None:
        self.keys = ServedKeys(text, records)
        self.root: Store = self.keys
        self._records = records
        self._own = own

    def encode(self, lease: FlannelLease) -> bytes:
        """Return the value as it is told from all servers alike."""
        return flannel_lease.encode_first(lease)

    async def keep(self, mount: Mount, node: str, lease: FlannelLease, over: Item | None, ttl: float | None) -> int:
        """Renew a lease, or take a certain one. A reservation is asked for anew: flannel's renewal would end it."""
        if ttl is None:
            lent = await self._ask("POST", "leases", wire.attrs(lease), node)
            if lent.lease.subnet != lease.subnet:
                raise Conflict(f"the server gives {lent.lease.subnet} instead of {lease.subnet}")
        else:
            lent = await self._ask("PUT", f"leases/{flannel_lease.key(lease)}", wire.lease(Lent(lease, 0.0)), node)
        return await self._hold(mount, node, lease, lent.ends)

    async def allot(self, mount: Mount, node: str, wish: FlannelLease) -> tuple[IPNetwork, ...]:
        """Have the server choose a subnet for this host, the one that it knows of this host first; it is ours then."""
        lent = await self._ask("POST", "leases", wire.attrs(wish), node)
        held = replace(wish, subnet=lent.lease.subnet)
        await self._hold(mount, node, held, lent.ends)
        return held.subnets

    async def give_up(self, mount: Mount, node: str, key: str) -> None:
        """Delete a lease of ours, and that it was ours; one that the server does not know any more is gone."""
        with suppress(Conflict):
            try:
                await self.keys.client.ask("DELETE", f"{self.keys.spec.base}leases/{key}", node=node)
            except Unreachable:
                raise
            except WeftedError as refused:
                _log.warning("a lease is not given back", extra={"lease": key, "error": refused.message})
        await self._records.write([Delete(self._record(mount, node, key))])

    async def _ask(self, method: str, where: str, body: Mapping[str, object], node: str) -> Lent:
        return wire.read_lease(await self.keys.client.ask(method, self.keys.spec.base + where, body, node))

    async def _hold(self, mount: Mount, node: str, lease: FlannelLease, ends: float | None) -> int:
        """Note that a lease is ours. What the server repeats of it is not taken: flannel's own garbles BackendData there."""
        claim = Claim(_CREATED, (self.encode(lease).decode(),))
        await self._records.write([Put(self._record(mount, node, flannel_lease.key(lease)), claim.encode())])
        return (await self.keys.note(Lent(lease, ends))).revision

    def _record(self, mount: Mount, node: str, key: str) -> str:
        return f"{self._own}{OWNERS}{mount.name}/{key}/{node}"


def _is_before(cursor: str, other: str) -> bool:
    return cursor.isdigit() and other.isdigit() and int(cursor) < int(other)
