"""Changes of directories, as asyncio reads them from inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from ctypes.util import find_library
from weakref import WeakSet

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
    """The directories that one watcher follows, inside a running event loop. `close` (or the end of its life) frees them.

    All watchers of a loop share one descriptor: a user has 128 of them, for all the programs on a machine together.
    """

    def __init__(self) -> None:
        self._watches: set[int] = set()
        self._names: set[str] = set()
        self._lost = False
        self._woken = asyncio.Event()
        self._hub: _Hub | None = _hub()
        self._hub.users += 1

    def follow(self, *directories: str) -> bool:
        """Watch these directories instead of those before; return False, and change nothing, when none of them exists."""
        assert self._hub is not None
        found = {watch for directory in directories if (watch := self._hub.add(directory, self)) >= 0}
        if not found:
            return False
        for watch in self._watches - found:
            self._hub.remove(watch, self)
        self._watches = found
        return True

    async def wait(self, timeout: float | None) -> set[str] | None:
        """Return the names of the entries that changed, none after `timeout` seconds; None when the watch itself was lost."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return set()
        self._woken.clear()
        names, lost = self._names, self._lost
        self._names, self._lost = set(), False
        return None if lost else names - {""}

    def wake(self) -> None:
        """Let `wait` return now."""
        self._woken.set()

    def tell(self, name: str, lost: bool) -> None:
        """Take an event: what happened to an entry of a directory, or that the directory itself is gone."""
        self._names.add(name)
        self._lost = self._lost or lost
        self._woken.set()

    def close(self) -> None:
        """Free what is held; closing twice does nothing."""
        hub, self._hub = self._hub, None
        if hub is not None:
            for watch in self._watches:
                hub.remove(watch, self)
            hub.users -= 1
            if not hub.users:
                hub.close()

    def __del__(self) -> None:
        self.close()


class _Hub:
    """The descriptor of one event loop, and who wants to hear of which of its watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self._loop = loop
        self._listeners: dict[int, WeakSet[Inotify]] = {}
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _refused("inotify_init1")
        loop.add_reader(self._descriptor, self._read)

    def add(self, directory: str, listener: Inotify) -> int:
        """Return the watch of a directory (the kernel has one for each), or a negative number when it does not exist."""
        watch: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _ENTRIES)
        if watch >= 0:
            self._listeners.setdefault(watch, WeakSet()).add(listener)
        elif ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR):
            raise _refused(f"inotify_add_watch {directory}")
        return watch

    def remove(self, watch: int, listener: Inotify) -> None:
        listeners = self._listeners.get(watch, WeakSet())
        listeners.discard(listener)
        if not listeners and self._listeners.pop(watch, None) is not None:
            _libc.inotify_rm_watch(self._descriptor, watch)

    def close(self) -> None:
        _HUBS.pop(self._loop, None)
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        while data := self._chunk():
            position = 0
            while position < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size + length
                self._tell(watch, mask, os.fsdecode(data[position - length : position].rstrip(b"\0")))

    def _tell(self, watch: int, mask: int, name: str) -> None:
        """Pass an event on; one without a watch (the queue was too long) is for everybody."""
        if watch == -1:
            listeners = {one for some in self._listeners.values() for one in some}
        else:
            listeners = set(self._listeners.get(watch, ()))
        for listener in listeners:
            listener.tell(name, bool(mask & _LOST))
        if mask & _IGNORED:
            self._listeners.pop(watch, None)

    def _chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, 65536)
        except BlockingIOError:
            return b""


_HUBS: dict[asyncio.AbstractEventLoop, _Hub] = {}


def _hub() -> _Hub:
    """Return the one of the running loop, made when it is first wanted."""
    loop = asyncio.get_running_loop()
    if loop not in _HUBS:
        _HUBS[loop] = _Hub(loop)
    return _HUBS[loop]


def _refused(what: str) -> KernelError:
    number = ctypes.get_errno()
    return KernelError(
        f"cannot watch for containers: {what}: {os.strerror(number)}",
        "if a limit was reached: sysctl fs.inotify.max_user_instances=1024",
        number,
    )
