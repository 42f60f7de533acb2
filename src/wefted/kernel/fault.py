"""The test hook that kills: `WEFTED_FAULT_KILL_AFTER=N` ends the process with SIGKILL after its N-th single kernel change.

With it every netlink message is sent alone, so that a test can stop the program after each of them and then see whether
what was left behind is recognised and finished or removed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "WEFTED_FAULT_KILL_AFTER"


class Fault:
    """Counts single changes; `limit` 0 means that nothing ever happens."""

    def __init__(self, limit: int = 0, strike: Callable[[], None] | None = None) -> None:
        self.limit = limit
        self.changes = 0
        self._strike = strike or _kill

    @classmethod
    def from_environment(cls) -> Fault:
        value = os.environ.get(VARIABLE, "")
        return cls(int(value) if value.isdigit() else 0)

    @property
    def armed(self) -> bool:
        return self.limit > 0

    def changed(self) -> None:
        """Count one change of the kernel (or of what is remembered of it), and strike if it was the N-th."""
        self.changes += 1
        if self.changes == self.limit:
            self._strike()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
