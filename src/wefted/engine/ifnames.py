"""The names of interfaces inside containers: a prefix that the network may choose, and the lowest free number. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wefted.errors import UsageError
from wefted.model.network import Network

MOST_INTERFACES = 256
NAMING_ENGINES = ("docker:", "podman:")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,10}(?<![0-9])")
"""It must leave room for a number: a name has 15 characters (IFNAMSIZ)."""


def prefix_of(network: Network, container: str = "") -> str:
    """Return what the names begin with. Raises `UsageError` for a prefix that leaves no room for a number.

    Docker and podman give their containers eth0, eth1 and so on, also while these run, and fail where a name is in use.
    """
    default = "weft" if container.startswith(NAMING_ENGINES) else "eth"
    prefix = network.option("ifprefix", default)
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(
            f"network {network.name!r}: option ifprefix is {prefix!r}, which cannot begin the name of an interface",
            "a letter, then at most 10 letters, digits and signs of _ . -, the last one no digit: -o ifprefix=net",
        )
    return prefix


def free_name(prefix: str, taken: Iterable[str], after: str = "") -> str:
    """Return the lowest free name; `after` is one that turned out to be somebody else's."""
    tail = after.removeprefix(prefix)
    first = int(tail) + 1 if tail.isascii() and tail.isdigit() else 0
    names = {*taken, after}
    return next(name for name in (f"{prefix}{n}" for n in range(first, first + MOST_INTERFACES)) if name not in names)
