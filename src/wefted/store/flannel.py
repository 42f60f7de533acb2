"""flannel's networks among those of wefted, in one etcd.

    networks/NAME             PREFIX/config                  as a network
    leases/NAME/BLOCK         PREFIX/subnets/KEY             one or two blocks of a host
                              OWN/flannel/NAME/KEY...        the node that has them, where it runs wefted
    everything else           OWN/...                        as it is

The value of a lease is flannel's, byte for byte; which node it belongs to is a record of ours beside it, because a public
address may be that of many hosts behind one router. `flannel_layout` has how the two are written, in each API of etcd.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from wefted.errors import Conflict, InUse, Unreachable, UsageError, WeftedError
from wefted.interfaces import Store
from wefted.model import codec, flannel_lease
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import CONFIG_LABEL
from wefted.model.network import Network
from wefted.model.objects import IPNetwork
from wefted.model.records import Item, Op, Put, Snapshot

from .flannel_layout import Layout, SingleKeys, Transactions
from .flannel_view import CONFIG, OWNERS, SUBNETS, Memory, View, owner_of
from .flannel_view import Mount as Mount
from .flannel_watch import Merged
from .ops import check_ops

if TYPE_CHECKING:
    from .etcd2 import KeysStore
    from .flannel_served import ServedKeys, ServedLeases

_log = logging.getLogger("wefted.flannel")


class FlannelStore:
    """Implements `Store` over a store of the whole etcd; `own` is the prefix of everything that is not flannel's.

    `keys` is the same etcd by its API v2, where networks of older flannels are.
    """

    validate: Callable[[Network], None] = staticmethod(lambda network: None)
    """Raises `UsageError` for a network that this host cannot make: then its configuration is a wrong one."""

    def __init__(self, root: Store, own: str, mounts: Iterable[Mount], keys: KeysStore | None = None) -> None:
        self._root = root
        self._own = own
        self._keys = keys
        self._transactions = Transactions(root, own)
        self._single = SingleKeys(keys, root, own) if keys is not None else None
        self._servers: dict[str, ServedLeases] = {}
        self._mounts = {mount.name: mount for mount in mounts}
        self._memories = {mount.name: Memory() for mount in mounts}
        self._watches: set[Merged] = set()

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`; the parts are read one after the other, so its revision is the oldest one's."""
        while True:
            mounts = tuple(self._mounts.values())
            found = await self._read(prefix, mounts)
            if mounts == tuple(self._mounts.values()):  # else a network was joined or left meanwhile
                return found

    async def _read(self, prefix: str, mounts: Iterable[Mount]) -> Snapshot:
        own = await self._root.read(self._own + prefix)
        parts = [own]
        items = self.passed(own.items.values())
        for mount in mounts:
            if not any(_touch(word, prefix) for word in (f"networks/{mount.name}", f"leases/{mount.name}/")):
                continue
            view, seen = await self._read_mount(mount)
            parts += [part for part in seen if part.revision >= 0]
            items |= {item.key: item for item in view.items() if item.value is not None and item.key.startswith(prefix)}
        return Snapshot(min(part.revision for part in parts), items)

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none. Of what is flannel's, a lost configuration is written again, and nothing else."""
        check_ops(ops)
        lost = self._lost_in_v2(ops)
        if lost is not None and self._keys is not None:
            return await self._keys.write([lost])
        try:
            return await self._root.write([raw for op in ops for raw in self._raw(op)])
        except Conflict as conflict:
            raise Conflict(conflict.message.removeprefix(self._own), conflict.hint) from None

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot of everything, then changes as they come, and a Snapshot again whenever history was lost."""
        merged = Merged(self, self._own, self._mounts.values())
        self._watches.add(merged)
        try:
            async with aclosing(merged.run(prefix)) as news:
                async for seen in news:
                    yield seen
        finally:
            self._watches.discard(merged)

    async def close(self) -> None:
        for server in self._servers.values():
            await server.keys.close()
        if self._keys is not None:
            await self._keys.close()
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

    async def look_elsewhere(self, name: str) -> bool:
        """Go over to etcd's other API for a network that has no configuration in this one; tell whether that has it.

        Raises `UsageError` for a network whose API was told, and which is not served.
        """
        mount = self._mounts[name]
        if self._keys is None or not mount.auto:
            if mount.is_v2:
                await self._layout(mount).root.read(f"{mount.prefix}{CONFIG}")
            return False
        if not mount.is_v2 and not await self._keys.serves():
            return False
        other = replace(mount, is_v2=not mount.is_v2)
        if await self._is_configured(mount) or not await self._is_configured(other):
            return False
        _log.info("a flannel network's records are found", extra={"network": name, "api": other.api, "prefix": mount.prefix})
        self._mounts[name] = other
        for watch in self._watches:
            watch.drop(mount)
            watch.add(other)
        return True

    async def _is_configured(self, mount: Mount) -> bool:
        return bool((await self._layout(mount).root.read(f"{mount.prefix}{CONFIG}")).items)

    def api(self, name: str) -> str:
        """Return the version of etcd's API that has a network, or "" for one that is not joined."""
        mount = self._mounts.get(name)
        return mount.api if mount is not None else ""

    async def names(self, prefix: str, api: str = "3") -> AsyncGenerator[tuple[frozenset[str], frozenset[str]], None]:
        """Yield the networks that have a configuration right below `prefix`, and those whose configuration was deleted.

        A network that is only missing, because etcd has lost its data, was not deleted.
        """
        root = self._layout(Mount("", prefix, is_v2=api == "2")).root
        async with aclosing(root.watch(prefix)) as news:  # type: ignore[type-var]
            async for seen in news:
                items = seen.items.values() if isinstance(seen, Snapshot) else seen
                found = {name: item for item in items if (name := _network_name(prefix, item.key))}
                there = frozenset(name for name, item in found.items() if item.value is not None)
                yield there, frozenset(found) - there

    async def serves_v2(self) -> bool:
        """Tell whether this etcd has the API v2 at all. Raises `Unreachable`."""
        return self._keys is not None and await self._keys.serves()

    def encode(self, name: str, lease: FlannelLease) -> bytes:
        """Return the value of a lease of a network, as the flannel of its API writes it."""
        return self._layout(self._mounts[name]).encode(lease)

    async def keep_lease(
        self, name: str, node: str, lease: FlannelLease, over: Item | None, ttl: float | None = flannel_lease.TTL
    ) -> int:
        """Write a lease of ours with its owner, for `ttl` seconds, or for good, in place of `over` or as a new one.

        Raises `Conflict` when that is not what is there, `Unreachable`.
        """
        mount = self._mounts[name]
        return await self._layout(mount).keep(mount, node, lease, over, ttl)

    def items_of(self, name: str, node: str, lease: FlannelLease, revision: int) -> tuple[Item, ...]:
        """Return what a watch will tell of a lease of ours that was written at `revision`."""
        mount = self._mounts[name]
        view, key, value = self.view_of(mount), flannel_lease.key(lease), self.encode(name, lease)
        view.leases[key] = Item(key, value, revision)
        view.owners[key] = {"": Item(key, node.encode(), revision)}
        return tuple(view.blocks(key))

    async def give_up_lease(self, name: str, node: str, key: str) -> None:
        """Delete a lease of ours, with its owner."""
        mount = self._mounts[name]
        await self._layout(mount).give_up(mount, node, key)

    async def raw_leases(self, name: str) -> tuple[Snapshot, Mapping[str, str]]:
        """Return the leases of a network as they stand in etcd, by key, and the nodes of those that have one of ours."""
        mount = self._mounts[name]
        found = await self._layout(mount).root.read(mount.prefix + SUBNETS)
        owners = await self._root.read(f"{self._own}{OWNERS}{name}/")
        view = self.view_of(mount)
        for item in (*found.items.values(), *owners.items.values()):
            self._enter(view, item)
        nodes = {key: owner_of(item, view.owners.get(key, {})) for key, item in view.leases.items()}
        return Snapshot(found.revision, view.leases), {key: node for key, node in nodes.items() if node}

    @property
    def own_place(self) -> tuple[Store, str]:
        """The store, and the prefix in it, of everything that is not flannel's."""
        return self._root, self._own

    def place_of(self, mount: Mount) -> tuple[Store, str]:
        """Return the store that has a network, and the prefix in it."""
        return self._layout(mount).root, mount.prefix

    def where(self, name: str) -> tuple[Mount, Layout]:
        """Return where a network's records are, and how they are written there."""
        mount = self._mounts[name]
        return mount, self._layout(mount)

    def beside(self, mount: Mount) -> FlannelStore:
        """Return a store of one network more, over the same connections; whoever has this one closes them."""
        return FlannelStore(self._root, self._own, [mount], self._keys)

    def server(self, text: str) -> ServedKeys:
        """Return what a flannel server has. Raises `UsageError` for what is no address."""
        return self._served(text).keys

    async def allot(self, name: str, node: str, wish: FlannelLease) -> tuple[IPNetwork, ...] | None:
        """Have the flannel server choose a subnet, and take it; None where hosts choose for themselves, in etcd."""
        mount = self._mounts[name]
        return await self._served(mount.remote).allot(mount, node, wish) if mount.remote else None

    def _served(self, text: str) -> ServedLeases:
        # aiohttp costs half a second of start-up, which hosts without a server must not pay.
        from .flannel_served import ServedLeases

        if text not in self._servers:
            self._servers[text] = ServedLeases(text, self._root, self._own)
        return self._servers[text]

    def _layout(self, mount: Mount) -> Layout:
        if mount.remote:
            return self._served(mount.remote)
        if not mount.is_v2:
            return self._transactions
        if self._single is None:
            raise UsageError("this store has no API v2 of etcd", "wefted up --store etcd://HOST:2379")
        return self._single

    async def _read_mount(self, mount: Mount) -> tuple[View, list[Snapshot]]:
        """Return what is known of a network, and what was read for that."""
        root = self._layout(mount).root
        if mount.remote:
            return await self._read_served(mount)
        try:
            seen = [await root.read(f"{mount.prefix}{CONFIG}"), await root.read(f"{mount.prefix}{SUBNETS}")]
        except WeftedError as error:
            if isinstance(error, Unreachable) or not mount.is_v2:
                raise
            # An etcd that was started without its API v2 has the records still: what is known goes on.
            known = next((view for watch in self._watches if (view := watch.view(mount)) is not None), self.view_of(mount))
            known.memory.trouble = error.message
            return known, []
        seen.append(await self._root.read(f"{self._own}{OWNERS}{mount.name}/"))
        return self._view(mount, (item for part in seen for item in part.items.values())), seen

    async def _read_served(self, mount: Mount) -> tuple[View, list[Snapshot]]:
        """Return what is known of a network of a server's, which need not be asked for that."""
        view = self.view_of(mount)
        try:
            seen = await self._served(mount.remote).keys.picture()
        except WeftedError as error:
            view.memory.trouble = error.message
            return view, []
        owners = await self._root.read(f"{self._own}{OWNERS}{mount.name}/")
        return self._view(mount, (*owners.items.values(), *seen.items.values())), [seen]

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
        if item.key == view.mount.prefix + CONFIG:
            view.config = item
            return (view.network(item),)
        key = self._enter(view, item)
        changed = tuple(view.blocks(key)) if key in view.leases else ()
        if key in view.leases and view.leases[key].value is None:
            del view.leases[key]
        return changed

    def _enter(self, view: View, item: Item) -> str:
        """Enter a lease, or whose it is, into a view; return the key of that lease, "" for any other item."""
        subnets, owners = view.mount.prefix + SUBNETS, f"{self._own}{OWNERS}{view.mount.name}/"
        if item.key.startswith(subnets):
            key = item.key.removeprefix(subnets)
            view.leases[key] = item
            return key
        if not item.key.startswith(owners):
            return ""
        key, _, node = item.key.removeprefix(owners).partition("/")
        view.owners.setdefault(key, {})[node] = item
        return key

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

    def _lost_in_v2(self, ops: Sequence[Op]) -> Put | None:
        """Return the one change that writes the lost configuration of a network in the API v2, if that is what is wanted."""
        if not any(mount is not None and mount.is_v2 for mount in (self._mount_of(op.key) for op in ops)):
            return None
        if len(ops) > 1:
            raise UsageError("a configuration in the API v2 of etcd cannot be written together with anything else")
        raw = next(self._raw(ops[0]))
        return raw if isinstance(raw, Put) else None

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


def _network_name(prefix: str, key: str) -> str:
    """Return the name of the network whose configuration a key is, or ""."""
    name, _, rest = key.removeprefix(prefix).partition("/")
    return name if rest == CONFIG else ""


def _touch(one: str, other: str) -> bool:
    """Tell whether one of two prefixes holds keys of the other."""
    return one.startswith(other) or other.startswith(one)
