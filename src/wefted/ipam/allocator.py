"""Leases: how a node comes to own a block, by compare-and-swap in the cluster store and nothing else.

    leases/NETWORK/BLOCK           the block's owner; the block is written with a dash, as in 10.9.3.0-24
    leases/NETWORK/NODE/BLOCK      on island networks, where every node has the whole subnet to itself

A key is created only where there is none, and all blocks of a subnet have one length (`leases.block_length`), so whatever the
order in which nodes read and write, no two own overlapping blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NoReturn

from wefted.errors import Conflict, Exhausted, InUse, UsageError
from wefted.interfaces import Store
from wefted.model import codec
from wefted.model.lease import Lease
from wefted.model.network import Subnet
from wefted.model.node import Node
from wefted.model.objects import IPAddress, IPNetwork
from wefted.model.records import Delete, Item, Put

from .addresses import AddressBook
from .leases import block_of, choose_block, count

__all__ = ["AddressBook", "acquire", "decode", "key", "prefix", "refresh", "release", "stored"]

_TRIES = 1000
"""Each lost race means that another node got a block, so this many are lost only by a store that is broken."""


def prefix(network: str) -> str:
    """Return the prefix of the keys of a network's leases."""
    return f"leases/{network}/"


def key(lease: Lease, *, island: bool = False) -> str:
    """Return the key of a lease."""
    owner = f"{lease.node}/" if island else ""
    return f"{prefix(lease.network)}{owner}{str(lease.block).replace('/', '-')}"


def decode(items: Iterable[Item]) -> tuple[Lease, ...]:
    """Return the leases in these items. Raises `UsageError` for a damaged one."""
    return tuple(codec.loads(Lease, item.value, item.key) for item in items if item.value is not None)


async def stored(store: Store, network: str) -> tuple[Lease, ...]:
    """Return all leases of a network."""
    return decode((await store.read(prefix(network))).items.values())


async def acquire(
    store: Store,
    network: str,
    subnet: Subnet,
    node: Node,
    length: int,
    *,
    containing: IPAddress | None = None,
    data: tuple[tuple[str, str], ...] = (),
    island: bool = False,
    owned: Collection[IPNetwork] | None = None,
) -> Lease:
    """Make `node` own a block of `subnet`, or find that it does already; the lowest free one, or that which holds `containing`.

    `owned` are the blocks that the caller knows to be its own and finds full: another one of its own, which it had forgotten,
    is then returned before a new one is taken. With None, all of its own count as full. Raises `InUse` when another node owns
    the block that holds `containing`, `Exhausted` when no block is left.
    """
    for _ in range(_TRIES):
        known = [lease for lease in await stored(store, network) if _in(lease.block, subnet.prefix)]
        mine = [lease for lease in known if lease.node == node.id]
        found = _kept(mine, containing, owned, island)
        if found is not None:
            return found
        if island:
            block: IPNetwork | None = subnet.prefix
        else:
            block = choose_block(subnet, length, (lease.block for lease in known), containing)
        if block is None:
            await _refuse(store, network, subnet, length, known, containing)
        lease = Lease(network=network, block=block, node=node.id, underlay=node.addresses, data=data)
        try:
            await store.write([Put(key(lease, island=island), codec.dumps(lease), expect=0)])
        except Conflict:
            continue
        return lease
    raise Conflict(f"the store refused {_TRIES} times to create a lease of network {network!r} that it does not have")


async def release(store: Store, lease: Lease, *, island: bool = False) -> None:
    """Give a block back; nothing happens when it is not (or no longer) its node's.

    Forget it before: when the answer is lost, another node may own it already.
    """
    name = key(lease, island=island)
    while (item := await _read(store, name)) is not None and _decoded(item).node == lease.node:
        try:
            await store.write([Delete(name, expect=item.revision)])
        except Conflict:
            continue
        return


async def refresh(store: Store, lease: Lease, *, island: bool = False) -> Lease:
    """Write a lease of ours again, where it was lost or has changed. Raises `InUse` when another node owns the block now."""
    name = key(lease, island=island)
    while True:
        item = await _read(store, name)
        now = None if item is None else _decoded(item)
        if now == lease:
            return lease
        if now is not None and now.node != lease.node:
            owner = (await _names(store)).get(now.node, now.node)
            raise InUse(f"block {lease.block} of network {lease.network!r} belongs to {owner} now")
        if item is None:
            await _still_free(store, lease, island)
        try:
            await store.write([Put(name, codec.dumps(lease), expect=0 if item is None else item.revision)])
        except Conflict:
            continue
        return lease


async def _still_free(store: Store, lease: Lease, island: bool) -> None:
    """Raise `InUse` when somebody owns a block that overlaps a lost one (where the length of blocks was another meanwhile)."""
    for other in await stored(store, lease.network):
        if not island and other.node != lease.node and _overlap(other.block, lease.block):
            owner = (await _names(store)).get(other.node, other.node)
            raise InUse(
                f"block {lease.block} of network {lease.network!r} overlaps {other.block}, which belongs to {owner} now"
            )


def _kept(mine: list[Lease], containing: IPAddress | None, owned: Collection[IPNetwork] | None, island: bool) -> Lease | None:
    """Return the lease that makes a new one unnecessary."""
    if containing is not None:
        return next((lease for lease in mine if containing in lease.block), None)
    if island:
        return mine[0] if mine else None
    if owned is None:
        return None
    return next((lease for lease in mine if lease.block not in owned), None)


async def _refuse(
    store: Store, network: str, subnet: Subnet, length: int, known: list[Lease], containing: IPAddress | None
) -> NoReturn:
    names = await _names(store)
    if containing is not None:
        block = block_of(containing, length)
        other = next(lease for lease in known if _overlap(lease.block, block))
        owner = names.get(other.node, other.node)
        raise InUse(
            f"{containing} lies in block {other.block} of network {network!r}, which belongs to {owner}",
            "use that address on that host, or another one here",
        )
    held = Counter(names.get(lease.node, lease.node) for lease in known)
    holders = ", ".join(f"{name} ({number})" for name, number in held.most_common())
    total = count(subnet, length)
    raise Exhausted(
        f"network {network!r} has no free block: its {total} of /{length} in {subnet.prefix} are held by {holders}",
        "forget a host that is gone: wefted host rm HOST; or make a network with a larger subnet",
    )


async def _names(store: Store) -> dict[str, str]:
    """Return the nodes' names by their ids, for messages."""
    names = {}
    for item in (await store.read("nodes/")).items.values():
        try:
            node = codec.loads(Node, item.value or b"")
        except UsageError:
            continue
        names[node.id] = node.name
    return names


async def _read(store: Store, name: str) -> Item | None:
    return (await store.read(name)).items.get(name)


def _decoded(item: Item) -> Lease:
    return codec.loads(Lease, item.value or b"", item.key)


def _in(block: IPNetwork, prefix: IPNetwork) -> bool:
    return block.version == prefix.version and block.overlaps(prefix)


def _overlap(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.overlaps(b)
