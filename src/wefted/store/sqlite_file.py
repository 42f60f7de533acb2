"""Opening the SQLite file: made whole or not at all, refused and left as it is when it is damaged or not ours.

The schema version and the application id stand at the offsets 60 and 68 of the file (https://www.sqlite.org/fileformat.html),
so a foreign file is recognised by reading 72 bytes, before SQLite itself could touch it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import tempfile
from contextlib import closing, suppress
from errno import ENOTDIR
from urllib.parse import quote

from wefted.errors import UsageError

APPLICATION_ID = 0x77656674
"""The letters `weft`: file(1) and we ourselves tell by it whose file it is."""

VERSION = 1
"""The version of the tables below; a file of a later one is not opened."""

BUSY = 5.0
"""Seconds to wait while another process writes."""

_HEADER = 72
_WAL = b"\2\2"
"""What stands at offset 18 of a file that is in WAL mode."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE item (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, expires REAL
) WITHOUT ROWID;
CREATE INDEX item_expires ON item (expires) WHERE expires IS NOT NULL;

-- A row for each change, so that watchers in other processes see deletions too; those have no value.
CREATE TABLE change (
    revision INTEGER, step INTEGER, key BLOB NOT NULL, value BLOB, PRIMARY KEY (revision, step)
) WITHOUT ROWID;

-- One row. `forgotten` is the last revision whose changes are no longer in the table above.
CREATE TABLE counter (revision INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO counter VALUES (0, 0);
"""


def connect(path: str) -> sqlite3.Connection:
    """Return a connection to the store in `path`, which is made when absent. Raises `UsageError`; then nothing was changed."""
    try:
        if not os.path.lexists(path):
            _create(path)
        _check_header(path)
        # Before SQLite is let in: the files it makes beside this one get the same mode.
        _restrict(path)
        _check_content(path)
        return _open(path)
    except PermissionError as error:
        raise UsageError(f"cannot open the store {path}: {error.strerror}", "run it as root") from error
    except OSError as error:
        raise UsageError(
            f"cannot open the store {path}: {error.strerror}", "choose another path: --store sqlite:/PATH"
        ) from error
    except sqlite3.Error as error:
        raise explain(path, error) from error


def explain(path: str, error: sqlite3.Error) -> UsageError:
    """Return what the user must know and do when SQLite refuses the file itself."""
    if isinstance(error, sqlite3.OperationalError):
        hint = "check that you are root, and that the disk is writable and not full"
        return UsageError(f"cannot use the store {path}: {error}", hint)
    return UsageError(f"the store {path} is damaged: {error}", _move(path))


def _create(path: str) -> None:
    """Link a complete file to `path`, so that a crash, or another process that does the same, never meets half of one."""
    directory = os.path.dirname(path)
    _make_directory(directory)
    descriptor, draft = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_image())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)


def _make_directory(directory: str) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR)) from error


def _image() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        image = connection.serialize()
    return image[:18] + _WAL + image[20:]


def _check_header(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        header = os.read(descriptor, _HEADER)
    finally:
        os.close(descriptor)
    if len(header) < _HEADER or not header.startswith(b"SQLite format 3\0"):
        raise UsageError(f"{path} is not a store, or it is damaged", _move(path))
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application != APPLICATION_ID:
        raise UsageError(f"{path} is the database of another program", _move(path))
    if version != VERSION:
        hint = f"use the wefted that wrote it, or {_move(path)}"
        raise UsageError(f"the store {path} has version {version}, but this wefted knows only version {VERSION}", hint)


def _check_content(path: str) -> None:
    """Read the whole file, without leaving a trace: a connection that may write folds the log into it, or leaves a new one."""
    quiet = not os.path.exists(f"{path}-wal")
    verdict = _verdict(path, "immutable=1" if quiet else "mode=ro")
    if verdict != "ok" and quiet and os.path.exists(f"{path}-wal"):
        # Another process has begun to write meanwhile, and an immutable file must not change.
        verdict = _verdict(path, "mode=ro")
    if verdict != "ok":
        raise UsageError(f"the store {path} is damaged: {verdict}", _move(path))


def _verdict(path: str, access: str) -> str:
    with closing(sqlite3.connect(f"file:{quote(path)}?{access}", uri=True, timeout=BUSY)) as connection:
        try:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return str(error)


def _restrict(path: str) -> None:
    if stat.S_IMODE(os.stat(path).st_mode) != 0o600:
        os.chmod(path, 0o600)


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    # NORMAL: a crash of the process loses nothing, a power cut at most the last moments, and never consistency.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _move(path: str) -> str:
    return f"move it away and start again: mv {path} {path}.old"
