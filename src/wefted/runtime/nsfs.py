"""Namespaces as files: which paths are network namespaces, and which namespace it is (`namespaces(7)`)."""

from __future__ import annotations

import os

from wefted.errors import UsageError


def identity(path: str) -> str:
    """Return device and inode of the namespace at `path`, or "" where there is none: two namespaces never share them."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    if found.st_dev != os.stat("/proc/self/ns/net").st_dev:
        return ""  # `ip netns add` makes the file a moment before it mounts the namespace on it
    return f"{found.st_dev}:{found.st_ino}"


def refuse_host(container: str, found: str) -> None:
    """Raise `UsageError` for a container that lives in the host's own network."""
    if found == identity("/proc/self/ns/net"):
        raise UsageError(f"{container} shares the host's network", "it has every address of the host already")
