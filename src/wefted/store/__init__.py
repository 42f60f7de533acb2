"""The stores: keys with revisions, in memory, in an SQLite file or in etcd. Nobody outside this room knows which."""

from .open import open_store
from .url import EtcdSpec, MemorySpec, SqliteSpec, StoreSpec, parse_store_url

__all__ = ["EtcdSpec", "MemorySpec", "SqliteSpec", "StoreSpec", "open_store", "parse_store_url"]
