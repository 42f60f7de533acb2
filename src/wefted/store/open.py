"""From a store's description to the open store. Each kind is imported only when it is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from wefted.interfaces import Store

from .etcd_wire import MARKS
from .url import EtcdSpec, MemorySpec, SqliteSpec, StoreSpec, parse_store_url

if TYPE_CHECKING:
    from .flannel import FlannelStore, Mount


async def open_store(where: StoreSpec | str) -> Store:
    """Open the store that `where` (a spec or its text) describes. Raises `UsageError`; etcd is not contacted yet."""
    spec = parse_store_url(where) if isinstance(where, str) else where
    match spec:
        case MemorySpec():
            return _memory()
        case SqliteSpec():
            return _sqlite(spec)
        case EtcdSpec():
            return open_flannel(spec)


def open_flannel(spec: EtcdSpec, mounts: Iterable[Mount] = ()) -> FlannelStore:
    """Open an etcd that holds networks of flannel's as well; `spec.prefix` is where ours is. It is not contacted yet."""
    # aiohttp costs half a second of start-up, which users of SQLite must not pay.
    from .etcd import EtcdStore
    from .etcd2 import KeysStore
    from .flannel import FlannelStore

    return FlannelStore(EtcdStore(replace(spec, prefix=""), f"{spec.prefix}{MARKS}"), spec.prefix, mounts, KeysStore(spec))


def _memory() -> Store:
    from .memory import MemoryStore

    return MemoryStore()


def _sqlite(spec: SqliteSpec) -> Store:
    from .sqlite import SqliteStore

    return SqliteStore(spec.path)
