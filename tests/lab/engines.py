"""Labs with container engines, for tests: skipped by name where an engine is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from wefted.errors import Unsupported
from wefted.lab.engines import require
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.lab.topology import simple

from .acceptance import lab_name

TOOLS = ("-v", "/usr:/usr:ro", "-v", "/etc/alternatives:/etc/alternatives:ro")
"""What gives a container of the image `skel` every program of the machine."""


def need(*engines: str) -> None:
    """Skip the test, by the name of what is missing, unless all of the engines are installed."""
    try:
        require(simple(1).with_engines(engines))
    except Unsupported as error:
        pytest.skip(error.message)


def lab_with(*engines: str, hosts: int = 1, bare: bool = False) -> Iterator[Lab]:
    """Yield a lab whose hosts have these engines; it is down at the end."""
    need(*engines)
    with Lab.up(lab_name("engines"), hosts, bare=bare, engines=engines) as lab:
        yield lab


def docker_run(host: Host, name: str, *words: str, command: Sequence[str] = ()) -> str:
    """Start a container with every program of the machine; return its id."""
    return host.run(["docker", "run", "-d", "--name", name, *TOOLS, *words, "skel", *command]).stdout.strip()
