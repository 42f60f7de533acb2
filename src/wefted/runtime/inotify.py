"""Changes of directories, as asyncio reads them from inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from ctypes.util import find_library

from wefted.errors import KernelError

CREATE = 0x100
DELETE = 0x200
MOVED_FROM = 0x40
MOVED_TO = 0x80
DELETE_SELF = 0x400
MOVE_SELF = 0x800
ONLY_DIRECTORY = 0x01000000

_ENTRIES = CREATE | DELETE | MOVED_FROM | MOVED_TO | DELETE_SELF | MOVE_SELF | ONLY_DIRECTORY
_OVERFLOW = 0x4000
_UNMOUNT = 0x2000
_IGNORED = 0x8000
_LOST = DELETE_SELF | MOVE_SELF | _OVERFLOW | _UNMOUNT | _IGNORED
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(find_library("c"), use_errno=True)


class Inotify:
    """Directories, inside a running event loop. `close` (or the end of its life) frees the descriptor."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._watches: dict[int, str] = {}
        self._loop = asyncio.get_running_loop()
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _refused("inotify_init1")
        self._woken = asyncio.Event()
        self._loop.add_reader(self._descriptor, self._woken.set)

    def follow(self, *directories: str) -> bool:
        """Watch these directories instead of those before; return False, and change nothing, when none of them exists."""
        found = {watch: directory for directory in directories if (watch := self._add(directory)) >= 0}
        if not found:
            return False
        for watch in self._watches.keys() - found.keys():
            _libc.inotify_rm_watch(self._descriptor, watch)
        self._watches = found
        return True

    def _add(self, directory: str) -> int:
        watch: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _ENTRIES)
        if watch < 0 and ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR):
            raise _refused(f"inotify_add_watch {directory}")
        return watch

    async def wait(self, timeout: float | None) -> set[str] | None:
        """Return the names of the entries that changed, none after `timeout` seconds; None when the watch itself was lost."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return set()
        self._woken.clear()
        return self._read()

    def wake(self) -> None:
        """Let `wait` return now."""
        self._woken.set()

    def close(self) -> None:
        """Free the descriptor; closing twice does nothing."""
        if self._descriptor >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def _read(self) -> set[str] | None:
        names: set[str] = set()
        lost = False
        while data := self._chunk():
            position = 0
            while position < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size + length
                if watch in self._watches or watch == -1:
                    lost = lost or bool(mask & _LOST)
                    names.add(os.fsdecode(data[position - length : position].rstrip(b"\0")))
        return None if lost else names - {""}

    def _chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, 65536)
        except BlockingIOError:
            return b""


def _refused(what: str) -> KernelError:
    number = ctypes.get_errno()
    return KernelError(
        f"cannot watch for containers: {what}: {os.strerror(number)}",
        "if a limit was reached: sysctl fs.inotify.max_user_instances=1024",
        number,
    )
