"""inotify(7) for asyncio: wake when something is made in, or removed from, a directory."""

from __future__ import annotations

import asyncio
import ctypes
import os
from types import TracebackType

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _DELETE, _MOVED, _SELF_GONE, _ATTRIB = 0x100, 0x200, 0xC0, 0xC00, 0x4


class Inotify:
    """A context manager that owns one inotify descriptor."""

    def __enter__(self) -> Inotify:
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: set[str] = set()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    def add(self, path: str) -> None:
        """Watch a directory. Raises `OSError`."""
        mask = _CREATE | _DELETE | _MOVED | _SELF_GONE | _ATTRIB
        if _LIBC.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {path}")
        self._paths.add(path)

    def watches(self, path: str) -> bool:
        return path in self._paths

    async def wait(self) -> None:
        """Return when something happened; what it was is for the caller to look at."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(self._fd, wake)
        try:
            await ready
        finally:
            loop.remove_reader(self._fd)
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            return
