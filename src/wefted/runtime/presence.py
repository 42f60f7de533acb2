"""Waiting for a socket or a directory of an engine, which may be started long after the agent and again at any time."""

from __future__ import annotations

import os
import time
from pathlib import PurePath

from .inotify import Inotify

LOOK = 1.0
"""Seconds after which somebody who waits looks again without having been told."""


class Presence:
    """One path that comes and goes. `close` frees the descriptor."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inotify = Inotify()
        self._changed = True

    async def wait(self) -> None:
        """Return when the path exists and something happened to it, or `LOOK` seconds have passed since the last call."""
        end = time.monotonic() + LOOK
        while True:
            self._follow()
            if self._changed and self._there():
                self._changed = False
                return
            left = end - time.monotonic()
            if left <= 0 and self._there():
                return
            names = await self._inotify.wait(max(left, 0.0) or LOOK)
            self._changed = self._changed or names is None or bool(names & self._parts())

    def close(self) -> None:
        self._inotify.close()

    def _follow(self) -> None:
        """Watch the path's directory, or the nearest one above that exists."""
        for directory in PurePath(self._path).parents:
            if self._inotify.follow(str(directory)):
                return

    def _there(self) -> bool:
        return os.path.exists(self._path)

    def _parts(self) -> set[str]:
        return set(PurePath(self._path).parts)
