"""Which containers of Docker keep their addresses when several are restarted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import wait_for
from .dockers import create, remove, restart_dockerd, rows, run, seen_by_docker, two_dockers

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

FIXED, FREE = [f"fixed{n}" for n in range(20)], [f"free{n}" for n in range(6)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    """A network of one host whose dynamic addresses are apart from those that are given with `--ip`."""
    create(lab, "net1", "--subnet", "10.99.0.0/16", "--ip-range", "10.99.1.0/24", hosts=("h1",))
    yield "net1"
    remove(lab, "net1")


@contextmanager
def loaded(host: Host) -> Iterator[None]:
    """Keep both processors busy."""
    busy = [host.popen(["sh", "-c", "while :; do :; done"]) for _ in range(2)]
    try:
        yield
    finally:
        for child in busy:
            child.kill()
            child.wait()


def seen(host: Host, names: list[str]) -> dict[str, tuple[str, str]]:
    return {name: seen_by_docker(host, name, "net1") for name in names}


def test_one_after_the_other_each_keeps_its_own(lab: Lab, network: str) -> None:
    h1 = lab.host("h1")
    for name in FREE:
        run(h1, name, network)
    before = seen(h1, FREE)
    h1.run(["docker", "restart", *reversed(FREE)])
    assert seen(h1, FREE) == before


def test_at_once_each_with_an_address_of_its_choice_keeps_it(lab: Lab, network: str) -> None:
    """Those without may get each other's; nobody gets another's who has asked for it, and no two have one."""
    h1 = lab.host("h1")

    def start(number: int) -> None:
        run(h1, FIXED[number], network, "--ip", f"10.99.0.{100 + number}", "--restart", "always")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(len(FIXED))))
    for name in FREE:
        run(h1, name, network, "--restart", "always")
    fixed, free = seen(h1, FIXED), seen(h1, FREE)
    with loaded(h1), ThreadPoolExecutor(len(FIXED) + len(FREE)) as pool:
        list(pool.map(lambda name: h1.run(["docker", "restart", name], timeout=120), [*FREE, *FIXED]))
    assert seen(h1, FIXED) == fixed
    assert sorted(seen(h1, FREE).values()) == sorted(free.values())
    restart_dockerd(h1)
    running = ["docker", "ps", "-q"]
    wait_for(lambda: len(h1.run(running).stdout.split()) == len(FIXED) + len(FREE), 60, "all of them run")
    assert seen(h1, FIXED) == fixed
    addresses = [address for row in rows(h1, network) for address in row["addresses"]]
    assert len(set(addresses)) == len(FIXED) + len(FREE)
