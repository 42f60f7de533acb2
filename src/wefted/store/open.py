"""From a store's description to the open store. Each kind is imported only when it is opened."""

from __future__ import annotations

from wefted.interfaces import Store

from .url import EtcdSpec, MemorySpec, SqliteSpec, StoreSpec, parse_store_url


async def open_store(where: StoreSpec | str) -> Store:
    """Open the store that `where` (a spec or its text) describes. Raises `UsageError`; etcd is not contacted yet."""
    spec = parse_store_url(where) if isinstance(where, str) else where
    match spec:
        case MemorySpec():
            return _memory()
        case SqliteSpec():
            return _sqlite(spec)
        case EtcdSpec():
            return _etcd(spec)


def _memory() -> Store:
    from .memory import MemoryStore

    return MemoryStore()


def _sqlite(spec: SqliteSpec) -> Store:
    from .sqlite import SqliteStore

    return SqliteStore(spec.path)


def _etcd(spec: EtcdSpec) -> Store:
    # aiohttp costs half a second of start-up, which users of SQLite must not pay.
    from .etcd import EtcdStore

    return EtcdStore(spec)
