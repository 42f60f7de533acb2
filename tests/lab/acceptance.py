"""What the acceptance tests share: a lab under a name of its own, commands in it, and waiting for a condition."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from wefted.lab.host import Host

_NUMBERS = count(1)


def lab_name(word: str) -> str:
    """Return a name that no other test, and no other worker of a parallel run, uses."""
    return f"t{os.getpid()}-{word}{next(_NUMBERS)}"


def wefted(host: Host, *words: str, check: bool = True) -> Any:
    """Run `wefted ... --json` on a host; return its JSON (or the finished process where `check` is False)."""
    done = host.run(["wefted", *words, "--json"], check=check)
    return json.loads(done.stdout) if check else done


def wait_for(condition: Callable[[], bool], seconds: float, what: str, detail: Callable[[], object] = str) -> float:
    """Wait until `condition` holds; return how long it took. Fails with `what`, and `detail` then, after `seconds`."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what} {detail()}"
        time.sleep(0.02)
    return time.monotonic() - start


def rows_of(host: Host, count: int) -> list[dict[str, Any]]:
    """Return the endpoints that a host sees, as soon as there are `count`: those of other hosts it learns from the store."""
    rows: list[dict[str, Any]] = []

    def seen() -> bool:
        rows[:] = wefted(host, "ps")
        return len(rows) == count

    wait_for(seen, 5, f"{host.name} sees {count} endpoints")
    return rows


@contextmanager
def agent_held(host: Host) -> Iterator[None]:
    """Hold the agent: it sees what is done meanwhile, and repairs it, only afterwards."""
    agent = str(wefted(host, "status")["agent"]["pid"])
    host.run(["kill", "-STOP", agent])
    try:
        yield
    finally:
        host.run(["kill", "-CONT", agent])


def container(host: Host, name: str) -> str:
    """Make a bare container and return its spec."""
    host.run(["ip", "netns", "add", name])
    return f"netns:{name}"


def ping(host: Host, name: str, address: str, size: int = 56, deadline: int = 2) -> bool:
    """Tell whether a container gets an answer from `address`; one packet of `size` bytes of payload."""
    words = ["ip", "netns", "exec", name, "ping", "-c1", f"-W{deadline}", "-n", f"-s{size}", address]
    return host.run(words, check=False).returncode == 0


def address_of(row: dict[str, Any], version: int = 4) -> str:
    """Return the address of an endpoint without its length."""
    return next(a.split("/")[0] for a in row["addresses"] if (":" in a) == (version == 6))
