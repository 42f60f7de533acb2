"""Ending early as Ctrl-C does, whoever asks for it: what a command has made on the way is taken away again."""

from __future__ import annotations

import signal
from types import FrameType


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM (`timeout`, a service manager) and SIGHUP (a terminal that closes) interrupt this process like SIGINT."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
