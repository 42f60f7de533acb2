"""flannel's networks among those of wefted, in one etcd.

    networks/NAME             PREFIX/config                  as a network
    leases/NAME/BLOCK         PREFIX/subnets/KEY             one or two blocks of a host
                              OWN/flannel/NAME/KEY           the node that has them, where it runs wefted
    everything else           OWN/...                        as it is

The value of a lease is flannel's, byte for byte; which node it belongs to is a record of ours beside it, written in the same
transaction, because a public address may be that of many hosts behind one router.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from wefted.errors import Conflict, InUse, UsageError
from wefted.interfaces import Store
from wefted.model import codec, flannel_lease
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import CONFIG_LABEL
from wefted.model.network import Network
from wefted.model.records import Delete, Item, Op, Put, Snapshot

from .flannel_view import CONFIG, Memory, View, owner_of
from .flannel_view import Mount as Mount
from .ops import check_ops

SUBNETS, OWNERS = "subnets/", "flannel/"


class FlannelStore:
    """Implements `Store` over a store of the whole etcd; `own` is the prefix of everything that is not flannel's."""

    validate: Callable[[Network], None] = staticmethod(lambda network: None)
    """Raises `UsageError` for a network that this host cannot make: then its configuration is a wrong one."""

    def __init__(self, root: Store, own: str, mounts: Iterable[Mount]) -> None:
        self._root = root
        self._own = own
        self._mounts = {mount.name: mount for mount in mounts}
        self._memories = {mount.name: Memory() for mount in mounts}
        self._watches: set[_Merged] = set()

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`; the parts are read one after the other, so its revision is the oldest one's."""
        own = await self._root.read(self._own + prefix)
        parts = [own]
        items = self.passed(own.items.values())
        for mount in self._mounts.values():
            if not any(_touch(word, prefix) for word in (f"networks/{mount.name}", f"leases/{mount.name}/")):
                continue
            seen = [await self._root.read(where) for where in self._places(mount)]
            parts += seen
            view = self._view(mount, (item for part in seen for item in part.items.values()))
            items |= {item.key: item for item in view.items() if item.value is not None and item.key.startswith(prefix)}
        return Snapshot(min(part.revision for part in parts), items)

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none. Of what is flannel's, a lost configuration is written again, and nothing else."""
        check_ops(ops)
        try:
            return await self._root.write([raw for op in ops for raw in self._raw(op)])
        except Conflict as conflict:
            raise Conflict(conflict.message.removeprefix(self._own), conflict.hint) from None

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot of everything, then changes as they come, and a Snapshot again whenever history was lost."""
        merged = _Merged(self, self._root, self._own, self._mounts.values())
        self._watches.add(merged)
        try:
            async with aclosing(merged.run(prefix)) as news:
                async for seen in news:
                    yield seen
        finally:
            self._watches.discard(merged)

    async def close(self) -> None:
        await self._root.close()

    def mount(self, mount: Mount, remembered: str = "") -> None:
        """Show a network from now on, also in the watches that are under way. Raises `InUse` for a name that is taken.

        `remembered` is the configuration that it had; it counts while etcd has none that can be used.
        """
        if mount.name in self._mounts:
            raise InUse(f"flannel network {mount.name!r} is joined already", "see them all: wefted flannel ls")
        self._mounts[mount.name] = mount
        self._memories[mount.name] = Memory(remembered)
        for watch in self._watches:
            watch.add(mount)

    def unmount(self, name: str) -> None:
        """Show a network no longer."""
        mount = self._mounts.pop(name)
        self._memories.pop(name)
        for watch in self._watches:
            watch.drop(mount)

    def memory(self, name: str) -> Memory:
        """Return what is remembered of a network's configuration."""
        return self._memories.get(name) or Memory()

    async def names(self, prefix: str) -> AsyncGenerator[tuple[frozenset[str], frozenset[str]], None]:
        """Yield the networks that have a configuration right below `prefix`, and those whose configuration was deleted.

        A network that is only missing, because etcd has lost its data, was not deleted.
        """
        async with aclosing(self._root.watch(prefix)) as news:  # type: ignore[type-var]
            async for seen in news:
                items = seen.items.values() if isinstance(seen, Snapshot) else seen
                found = {name: item for item in items if (name := _network_name(prefix, item.key))}
                there = frozenset(name for name, item in found.items() if item.value is not None)
                yield there, frozenset(found) - there

    async def keep_lease(
        self, name: str, node: str, lease: FlannelLease, expect: int | None, ttl: float | None = flannel_lease.TTL
    ) -> int:
        """Write a lease of ours with its owner, for `ttl` seconds, or for good. Raises `Conflict`, `Unreachable`."""
        mount, key = self._mounts[name], flannel_lease.key(lease)
        ops = [
            Put(f"{mount.prefix}{SUBNETS}{key}", flannel_lease.encode(lease), expect, ttl),
            Put(f"{self._own}{OWNERS}{name}/{key}", node.encode(), ttl=ttl),
        ]
        return await self._root.write(ops)

    def items_of(self, name: str, node: str, lease: FlannelLease, revision: int) -> tuple[Item, ...]:
        """Return what a watch will tell of a lease of ours that was written at `revision`."""
        view = self.view_of(self._mounts[name])
        key = flannel_lease.key(lease)
        view.leases[key] = Item(key, flannel_lease.encode(lease), revision)
        view.owners[key] = Item(key, node.encode(), revision)
        return tuple(view.blocks(key))

    async def give_up_lease(self, name: str, key: str) -> None:
        """Delete a lease of ours, with its owner."""
        mount = self._mounts[name]
        await self._root.write([Delete(f"{mount.prefix}{SUBNETS}{key}"), Delete(f"{self._own}{OWNERS}{name}/{key}")])

    async def raw_leases(self, name: str) -> tuple[Snapshot, Mapping[str, str]]:
        """Return the leases of a network as they stand in etcd, by key, and the nodes of those that have one of ours."""
        mount = self._mounts[name]
        found = await self._root.read(mount.prefix + SUBNETS)
        owners = await self._root.read(f"{self._own}{OWNERS}{name}/")
        leases = {item.key.removeprefix(mount.prefix + SUBNETS): item for item in found.items.values()}
        named = {key.rpartition("/")[2]: item for key, item in owners.items.items()}
        nodes = {key: owner_of(item, named.get(key)) for key, item in leases.items()}
        return Snapshot(found.revision, leases), {key: node for key, node in nodes.items() if node}

    def _places(self, mount: Mount) -> tuple[str, ...]:
        return f"{mount.prefix}{CONFIG}", f"{mount.prefix}{SUBNETS}", f"{self._own}{OWNERS}{mount.name}/"

    def _view(self, mount: Mount, items: Iterable[Item]) -> View:
        view = self.view_of(mount)
        for item in items:
            self.take(view, item)
        return view

    def view_of(self, mount: Mount) -> View:
        """Return an empty view of a mount."""
        return View(mount, self._memories.setdefault(mount.name, Memory()), self.validate)

    def take(self, view: View, item: Item) -> tuple[Item, ...]:
        """Enter a raw item into a view; return what changes by it."""
        prefix, owners = view.mount.prefix, f"{self._own}{OWNERS}{view.mount.name}/"
        if item.key == prefix + CONFIG:
            view.config = item
            return (view.network(item),)
        if item.key.startswith(prefix + SUBNETS):
            key = item.key.removeprefix(prefix + SUBNETS)
            view.leases[key] = item
        elif item.key.startswith(owners):
            key = item.key.removeprefix(owners)
            view.owners[key] = item
        else:
            return ()
        changed = tuple(view.blocks(key)) if key in view.leases else ()
        if key in view.leases and view.leases[key].value is None:
            del view.leases[key]
        return changed

    def passed(self, items: Iterable[Item]) -> dict[str, Item]:
        """Return what is ours alone, by its key without the prefix."""
        found = {}
        for item in items:
            key = item.key.removeprefix(self._own)
            if not key.startswith(OWNERS) and self._mount_of(key) is None:
                found[key] = replace(item, key=key)
        return found

    def _mount_of(self, key: str) -> Mount | None:
        kind, _, rest = key.partition("/")
        return self._mounts.get(rest.partition("/")[0]) if kind in ("networks", "leases") else None

    def _raw(self, op: Op) -> Iterator[Op]:
        mount = self._mount_of(op.key)
        if mount is None:
            yield replace(op, key=self._own + op.key)
        elif isinstance(op, Put) and op.expect == 0 and op.key.startswith("networks/"):
            labels = dict(codec.loads(Network, op.value).labels)
            yield Put(f"{mount.prefix}{CONFIG}", labels.get(CONFIG_LABEL, "").encode(), 0)
        elif isinstance(op, Put) and op.expect == 0:
            raise Conflict(f"a block of {mount.name!r} is written by the host that has it", "wait for its agent")
        else:
            raise UsageError(
                f"network {mount.name!r} is flannel's, so wefted changes neither its configuration nor others' leases",
                f"to leave it: wefted flannel leave {mount.name}",
            )


class _Merged:
    """The watches of a `FlannelStore`'s places as one."""

    def __init__(self, store: FlannelStore, root: Store, own: str, mounts: Iterable[Mount]) -> None:
        self._store = store
        self._root = root
        self._own_prefix = own
        self._own: dict[str, Item] | None = None
        self._owners: dict[str, Item] = {}
        """Whose the leases are, also those of networks that are joined later."""
        self._views = {mount.prefix: store.view_of(mount) for mount in mounts}
        self._waiting = {own, *self._views}
        """The places that have not told what there is."""
        self._revision = 0
        self._queue: asyncio.Queue[tuple[str, Snapshot | tuple[Item, ...] | BaseException | None]] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, mount: Mount) -> None:
        """Watch one more place; until it has told what is there, nothing is yielded."""
        view = self._views[mount.prefix] = self._store.view_of(mount)
        for item in self._owners.values():
            self._store.take(view, item)
        self._waiting.add(mount.prefix)
        self._start(mount.prefix)

    def drop(self, mount: Mount) -> None:
        """Watch a place no longer; what was there is missing in the Snapshot that follows."""
        self._views.pop(mount.prefix, None)
        self._waiting.discard(mount.prefix)
        task = self._tasks.pop(mount.prefix, None)
        if task is not None:
            task.cancel()
        self._queue.put_nowait((mount.prefix, None))

    def _start(self, place: str) -> None:
        self._tasks[place] = asyncio.create_task(self._follow(place))

    async def run(self, prefix: str) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        """Yield what concerns `prefix`, until the store is closed."""
        for place in self._waiting:
            self._start(place)
        try:
            while self._tasks or not self._queue.empty():
                place, seen = await self._queue.get()
                if isinstance(seen, BaseException):
                    raise seen
                news = self._without(place) if seen is None else self._take(place, seen)
                if isinstance(news, Snapshot):
                    yield Snapshot(news.revision, {key: item for key, item in news.items.items() if key.startswith(prefix)})
                elif kept := tuple(item for item in news if item.key.startswith(prefix)):
                    yield kept
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, place: str) -> None:
        try:
            async with aclosing(self._root.watch(place)) as news:  # type: ignore[type-var]
                async for seen in news:
                    self._queue.put_nowait((place, seen))
            self._queue.put_nowait((place, None))
        except Exception as error:
            self._queue.put_nowait((place, error))

    def _without(self, place: str) -> Snapshot | tuple[Item, ...]:
        """Return everything that is left when a place has gone; nothing at the end of the store itself."""
        if self._tasks.pop(place, None) is not None or self._waiting:
            return ()
        return self._everything()

    def _take(self, place: str, seen: Snapshot | tuple[Item, ...]) -> Snapshot | tuple[Item, ...]:
        if place not in self._tasks:
            return ()
        if isinstance(seen, Snapshot):
            # An older revision than before means another history, which whoever watches must be able to tell.
            lost = seen.revision < self._revision and place not in self._waiting
            self._revision = seen.revision if lost else max(self._revision, seen.revision)
            self._waiting.discard(place)
            self._begin(place, seen.items.values())
            return () if self._waiting else self._everything()
        self._revision = max([self._revision, *(item.revision for item in seen)])
        changed = tuple(item for raw in seen for item in self._change(place, raw))
        return () if self._waiting else changed

    def _begin(self, place: str, items: Iterable[Item]) -> None:
        """Take what is at one place, whatever was known of it before."""
        if place != self._own_prefix:
            view = self._views[place]
            view.config, view.leases = None, {}
            for item in items:
                self._store.take(view, item)
            return
        self._own, self._owners = {}, {}
        for view in self._views.values():
            view.owners = {}
        for item in items:
            self._change(place, item)

    def _change(self, place: str, raw: Item) -> tuple[Item, ...]:
        if place != self._own_prefix:
            return self._store.take(self._views[place], raw)
        self._note_owner(raw)
        owned = tuple(item for view in self._views.values() for item in self._store.take(view, raw))
        passed = self._store.passed([raw])
        for key, item in passed.items():
            assert self._own is not None
            self._own[key] = item
            if item.value is None:
                del self._own[key]
        return (*owned, *passed.values())

    def _note_owner(self, raw: Item) -> None:
        if not raw.key.startswith(f"{self._own_prefix}{OWNERS}"):
            return
        self._owners[raw.key] = raw
        if raw.value is None:
            del self._owners[raw.key]

    def _everything(self) -> Snapshot:
        views = (item for view in self._views.values() for item in view.items() if item.value is not None)
        return Snapshot(self._revision, {**(self._own or {}), **{item.key: item for item in views}})


def _network_name(prefix: str, key: str) -> str:
    """Return the name of the network whose configuration a key is, or ""."""
    name, _, rest = key.removeprefix(prefix).partition("/")
    return name if rest == CONFIG else ""


def _touch(one: str, other: str) -> bool:
    """Tell whether one of two prefixes holds keys of the other."""
    return one.startswith(other) or other.startswith(one)
