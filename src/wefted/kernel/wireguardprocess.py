"""WireGuard in user space: `wireguard-go`, one process for each device, started here, that outlives us.

The TUN device is ours and stays when the process ends, with its addresses and routes; the process opens it. Which process it is
stands in its folder, as with the relays of UDP tunnels (`wefted.kernel.program`).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wefted.errors import KernelError
from wefted.model.objects import Netns

from .netlink import Refused
from .wireguarduapi import SOCKETS, UapiWireguard

if TYPE_CHECKING:
    from .program import Programs

PROGRAM = "wireguard-go"
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 5.0
"""Seconds that a process has until it answers."""
_LOOK = 0.005


class WireguardProcesses:
    """The processes of one host, below `directory`; `home` is the namespace in which they run."""

    def __init__(self, directory: Path, home: Netns) -> None:
        self._directory = directory
        self._home = home
        self._speaker = UapiWireguard()

    @cached_property
    def _programs(self) -> Programs:
        from .program import Programs  # only hosts with such processes need it

        return Programs(self._directory)

    def start(self, link: str) -> None:
        """Start the process of a device, which has no key and no peers then. Raises `Refused`."""
        program = installed()
        if not program:
            raise Refused(errno.EOPNOTSUPP, missing())
        self.stop(link)
        try:
            self._programs.start(link, self._home, [program, "-f", link], {})
        except KernelError as error:
            raise Refused(error.errno or errno.EIO, error.message) from None
        self._answers(link)

    def stop(self, link: str) -> None:
        """End the process of a device; that there is none is no error."""
        if not (self._directory / link / "process").exists():
            return
        self._programs.stop(link)
        with suppress(OSError):  # one that was killed leaves it
            (SOCKETS / f"{link}.sock").unlink()

    def running(self, link: str) -> bool:
        return self._programs.running(link) != 0

    def links(self) -> Iterator[str]:
        """Yield the devices that have a process, or had one that has ended by itself."""
        with suppress(FileNotFoundError):
            yield from sorted(path.parent.name for path in self._directory.glob("*/process"))

    def _answers(self, link: str) -> None:
        """Wait until a process can be spoken to. Raises `Refused`."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._speaker.get(link)
                return
            except Refused:
                if not self.running(link) or time.monotonic() > end:
                    raise Refused(errno.EIO, f"{PROGRAM} does not start: {self._said(link)}") from None
            time.sleep(_LOOK)

    def _said(self, link: str) -> str:
        data, _ = self._programs.read(link, "log")
        lines = [line.strip() for line in data.decode(errors="replace").splitlines() if "ERROR" in line or "Failed" in line]
        return lines[-1] if lines else "it ends without a word"


def installed() -> str:
    """Return the path of the program, "" where it is not installed."""
    paths = (f"{directory}/{PROGRAM}" for directory in SEARCHED.split(":"))
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def missing() -> str:
    """Return why the program cannot be used, or ""."""
    return "" if installed() else f"{PROGRAM} is not installed (apt-get install {PROGRAM})"
