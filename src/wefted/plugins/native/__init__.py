"""The programs of this project that are not Python, for where every millisecond of a container's start counts.

`wefted-cni` is a CNI plugin, as `wefted-oci-hook` a hook of OCI runtimes, as `wefted-runc` a runtime that calls that hook.
`wefted-classic` is another tool's command under its own name (`wefted.compat.install`). What they share is in `agent.h`.
The build makes them, so a package has them; in a working copy `make env` does where there is a compiler.
"""

from __future__ import annotations

from pathlib import Path

from wefted.errors import Unsupported

SOURCE = Path(__file__).with_name("wefted-cni.c")
PROGRAM = Path(__file__).with_name("wefted-cni")
CLASSIC_SOURCE = SOURCE.with_name("wefted-classic.c")
CLASSIC = SOURCE.with_name("wefted-classic")
MARK = b"this program is wefted-cni"
"""Stands in the plugin, and in nobody else's."""


def program() -> Path:
    """Return where the plugin is. Raises `Unsupported` where it has not been built."""
    if not PROGRAM.exists():
        raise Unsupported("the CNI plugin has not been built here", "apt-get install gcc libc6-dev, then: make env")
    return PROGRAM
