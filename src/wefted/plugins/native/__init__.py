"""The one program of this project that is not Python, for where every millisecond of a container's start counts.

It has two names: as `wefted-cni` it is a CNI plugin, as `wefted-oci-hook` a hook of OCI runtimes, as `wefted-runc` a runtime
that calls that hook. The build makes it, so a package has it; in a working copy `make env` does where there is a compiler.
"""

from __future__ import annotations

from pathlib import Path

from wefted.errors import Unsupported

SOURCE = Path(__file__).with_name("wefted-cni.c")
PROGRAM = Path(__file__).with_name("wefted-cni")
MARK = b"this program is wefted-cni"
"""Stands in the program, and in nobody else's."""


def program() -> Path:
    """Return where the program is. Raises `Unsupported` where it has not been built."""
    if not PROGRAM.exists():
        raise Unsupported("the CNI plugin has not been built here", "apt-get install gcc libc6-dev, then: make env")
    return PROGRAM
