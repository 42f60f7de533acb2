"""The store in a file: the contract, several processes, and what it does to files that are not right."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from wefted.errors import Unreachable, UsageError
from wefted.model.records import Delete, Item, Put, Snapshot
from wefted.store import sqlite_tables
from wefted.store.sqlite import SqliteStore
from wefted.testing.store_contract import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def connect(self, tmp_path):
        async def connected():
            return SqliteStore(str(tmp_path / "state" / "state.db"))

        return connected


class TestSqliteStoreAlone(StoreContract):
    @pytest.fixture
    def connect(self, tmp_path):
        async def connected():
            return SqliteStore(str(tmp_path / "state" / "state.db"), alone=True)

        return connected


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "state.db")


async def written(path: str, *ops) -> None:
    store = SqliteStore(path)
    await store.write(ops or [Put("k", b"kept")])
    await store.close()


async def test_it_survives_its_process(path):
    await written(path)
    store = SqliteStore(path)
    assert (await store.read("")).items == {"k": Item("k", b"kept", 1)}
    await store.close()


async def test_a_ttl_goes_on_while_nobody_has_the_file_open(path):
    await written(path, Put("short", b"", ttl=10), Put("long", b"", ttl=1000))
    store = SqliteStore(path, clock=lambda: time.time() + 20)
    assert set((await store.read("")).items) == {"long"}
    await store.close()


async def test_only_root_reads_it(path):
    await written(path)
    os.chmod(path, 0o644)
    store = SqliteStore(path)
    await store.write([Put("k", b"")])
    modes = {
        name: stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode)
        for name in os.listdir(os.path.dirname(path))
    }
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    await store.close()


async def test_it_leaves_one_file_when_closed(path):
    await written(path)
    assert os.listdir(os.path.dirname(path)) == ["state.db"]


async def test_it_writes_ahead_of_time(path):
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def broken_empty(path: str) -> None:
    Path(path).write_bytes(b"")


def broken_text(path: str) -> None:
    Path(path).write_text("this is no database\n" * 100)


def broken_cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) - 5000)


def broken_page(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096))


def foreign(path: str) -> None:
    os.unlink(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE important (thing)")


def newer(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (broken_empty, "not a store, or it is damaged"),
        (broken_text, "not a store, or it is damaged"),
        (broken_cut, "is damaged"),
        (broken_page, "is damaged"),
        (foreign, "another program"),
        (newer, "has version 2"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_a_file_that_is_not_right_is_refused_and_left_alone(path, harm, reason):
    await written(path, *(Put(f"k/{n}", b"x" * 500) for n in range(100)))
    harm(path)
    before = Path(path).read_bytes()
    with pytest.raises(UsageError, match=reason) as caught:
        SqliteStore(path)
    assert path in caught.value.message
    assert f"mv {path} {path}.old" in caught.value.hint
    assert Path(path).read_bytes() == before
    assert os.listdir(os.path.dirname(path)) == ["state.db"]


async def test_damage_that_comes_later_is_named_too(path):
    store = SqliteStore(path)
    await store.write([Put(f"k/{n}", b"x" * 500) for n in range(100)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE item")
    with pytest.raises(UsageError, match="no such table") as caught:
        await store.read("")
    assert path in caught.value.message
    await store.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("state", "Is a directory"), ("state/state.db/below", "Not a directory"), ("/proc/state.db", "No such file")],
)
async def test_a_path_where_no_file_can_be_is_refused(tmp_path, path, wrong, reason):
    await written(path)
    with pytest.raises(UsageError, match=reason) as caught:
        SqliteStore(str(tmp_path / wrong))
    assert "--store" in caught.value.hint


def as_nobody(path: str) -> str:
    """Return the error of a process without rights that opens `path`."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        try:
            SqliteStore(path)
        except UsageError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return told.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_permission_it_asks_for_root(path):
    asyncio.run(written(path))
    for way in (path, "/nobody-may-write-here.db", "/nobody-may-write-here/state.db"):
        assert f"cannot open the store {way}: Permission denied" in as_nobody(way)
        assert "run it as root" in as_nobody(way)


WRITER = """
import asyncio, sys
from wefted.errors import Conflict
from wefted.model.records import Put
from wefted.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    done = 0
    while done < 100:
        item = (await store.read("counter")).items.get("counter")
        try:
            value = int(item.value) + 1 if item else 1
            await store.write([Put("counter", str(value).encode(), expect=item.revision if item else 0)])
            done += 1
        except Conflict:
            pass
    await store.close()

asyncio.run(main())
"""


async def test_processes_share_it(path):
    """Four processes create the file at once and count; a fifth watches."""
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, path) for _ in range(4)]
    store = SqliteStore(path)
    last = 0
    async with asyncio.timeout(60):
        async for news in store.watch("counter"):
            for item in news.items.values() if isinstance(news, Snapshot) else news:
                assert last == 0 or int(item.value) == last + 1
                last = int(item.value)
            if last == 400:
                break
    assert [await process.wait() for process in processes] == [0, 0, 0, 0]
    await store.close()


async def test_another_process_that_keeps_it_locked_is_named(path, monkeypatch):
    await written(path)
    monkeypatch.setattr("wefted.store.sqlite_file.BUSY", 0.05)
    store = SqliteStore(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await store.read("")).items["k"].value == b"kept"
        with pytest.raises(Unreachable, match="locked"):
            await store.write([Put("k", b"")])
    await store.write([Put("k", b"")])
    await store.close()


async def test_a_watcher_that_fell_far_behind_gets_a_snapshot(path, monkeypatch):
    monkeypatch.setattr(sqlite_tables, "HISTORY", 10)
    monkeypatch.setattr(sqlite_tables, "_SLACK", 1)
    store = SqliteStore(path)
    watch = store.watch("k")
    await anext(watch)
    for n in range(30):
        await store.write([Put("k", str(n).encode())])
    news = await anext(watch)
    assert isinstance(news, Snapshot)
    assert news.items["k"] == Item("k", b"29", 30)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM change").fetchone() == (10,)
    await store.close()


async def test_a_write_whose_caller_has_gone_is_still_seen(path, monkeypatch):
    begun = threading.Event()
    store = SqliteStore(path)
    write = store._tables.write
    monkeypatch.setattr(store._tables, "write", lambda *arguments: begun.set() or write(*arguments))
    watch = store.watch("k")
    await anext(watch)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(store.write([Put("k", b"1")]))
        while not begun.is_set():
            await asyncio.sleep(0)
        writing.cancel()
        other.execute("ROLLBACK")
    assert await asyncio.wait_for(anext(watch), 5) == (Item("k", b"1", 1),)
    await store.close()


async def test_a_write_that_fails_half_way_leaves_nothing(path):
    store = SqliteStore(path)
    await store.write([Put("k", b"1")])
    with pytest.raises(UnicodeEncodeError):
        await store.write([Delete("k"), Put("\ud800", b"")])
    assert (await store.read("")).items["k"].value == b"1"
    assert await store.write([Put("k", b"2")]) == 2
    await store.close()


def test_it_needs_no_aiohttp(path):
    program = (
        "import sys; sys.modules['aiohttp'] = None\nimport wefted.store.sqlite as s; s.SqliteStore(sys.argv[1]); print('open')"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "open\n"
