"""What a link of the host had before it was lent to a sandbox: the kernel forgets all of it when a link changes its namespace.

It stands in a file of the runtime directory, written before the link is moved and removed after everything was put back; like
the link's own state it does not outlive a reboot. Addresses and routes are kept as the kernel told them, and told to it again:
nothing of them has to be understood.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .address import addresses_on, with_index
from .ifinfo import RawLink
from .memory import write_whole
from .netlink import CREATE, EXCL, Message
from .route import route_again, routes_by

_TREES = ("net/ipv4/conf", "net/ipv6/conf", "net/ipv4/neigh", "net/ipv6/neigh")
_PROC = Path("/proc/sys")
_FIRST = ("disable_ipv6", "addr_gen_mode")
"""Settings without which others cannot be set, or come too late."""
_OTHERWISE = frozenset({"mtu", "stable_secret"})
"""Settings that follow from the link, or that cannot be read where nobody has set them."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """All that a lent link gets back. Messages are in hexadecimal digits; `at` is seconds since the boot."""

    up: bool = False
    mtu: int = 0
    mac: str = ""
    alias: str = ""
    group: int = 0
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    at: float = 0.0

    @classmethod
    def of(cls, link: RawLink, addresses: list[bytes], routes: list[bytes]) -> Belongings:
        """Return what a link has now; `addresses` and `routes` are dumps. Called inside the link's namespace."""
        return cls(
            up=link.up, mtu=link.mtu, mac=link.mac, alias=link.alias, group=link.group,
            addresses=tuple(body.hex() for body in addresses_on(addresses, link.index)),
            routes=tuple(body.hex() for body in routes_by(routes, link.index)),
            settings=tuple(_settings(link.name)), at=time.clock_gettime(time.CLOCK_BOOTTIME),
        )  # fmt: skip

    def messages(self, index: int) -> Iterator[Message]:
        """Yield what gives addresses and routes back to the link, which may have another index now."""
        gone = int(time.clock_gettime(time.CLOCK_BOOTTIME) - self.at)
        for text in self.addresses:
            message = with_index(bytes.fromhex(text), index, gone)
            if message is not None:
                yield message
        for text in self.routes:
            yield route_again(bytes.fromhex(text), index, CREATE | EXCL)

    def restore_settings(self, name: str) -> None:
        """Write the settings that differ from before, where that is allowed. Called inside the link's namespace."""
        now = dict(_settings(name))
        for key, value in self.settings:
            if now.get(key) not in (None, value):
                try:
                    (_PROC / key).write_text(value)
                except OSError:
                    continue


class Memories:
    """The files, one for each link that is lent."""

    def __init__(self, runtime_dir: Path) -> None:
        self._directory = runtime_dir / "lent"

    def write(self, origin: str, had: Belongings) -> None:
        """Remember; the file is there whole or not at all."""
        write_whole(self._directory / origin, json.dumps(asdict(had)).encode())

    def read(self, origin: str) -> Belongings | None:
        """Return what a link had, or None where nothing is known of it."""
        try:
            found = json.loads((self._directory / origin).read_text())
            settings = tuple((str(key), str(value)) for key, value in found.pop("settings"))
            addresses, routes = tuple(found.pop("addresses")), tuple(found.pop("routes"))
            return Belongings(addresses=addresses, routes=routes, settings=settings, **found)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def forget(self, origin: str) -> None:
        (self._directory / origin).unlink(missing_ok=True)


def _settings(name: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a link by their names below /proc/sys."""
    for tree in _TREES:
        directory = _PROC / tree / name
        names = sorted(os.listdir(directory)) if directory.is_dir() else []
        for key in sorted(set(names) - _OTHERWISE, key=lambda key: (key not in _FIRST, key)):
            try:
                yield f"{tree}/{name}/{key}", (directory / key).read_text().strip()
            except OSError:
                continue
