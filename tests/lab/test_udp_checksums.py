"""Networks of the backend `udp` towards a peer that reads packets in user space: their checksums must be right, whoever sends.

Virtual cards hand packets to each other without the sum, and in pieces of 64 KiB. Nobody is asked to switch that off.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from wefted.bench import card
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import ping, wait_for, wefted
from .test_udp import containers, inside, lab, proxy, reconcile
from .transfers import amount, transfer

__all__ = ["containers", "lab", "proxy"]
pytestmark = pytest.mark.lab

ECHO = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", 7001))
    print("ready", flush=True)
    while True:
        data, sender = s.recvfrom(65535)
        s.sendto(data[::-1], sender)
"""
ASK = """
import random, socket, sys
chance = random.Random(2)
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(3)
    s.connect((sys.argv[1], 7001))
    sizes = [*range(40), *range(1430, 1445), *(chance.randrange(40, 1430) for _ in range(60)), 4000, 60000]
    for size in sizes:
        data = chance.randbytes(size)
        s.send(data)
        assert s.recv(65535) == data[::-1], size
print("intact")
"""


@pytest.fixture(params=["on", "off"], ids=["virtual card", "plain card"])
def cards(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    switch(lab, request.param)
    yield request.param
    switch(lab, "off")


def switch(lab: Lab, way: str) -> None:
    for host in lab.hosts:
        host.run([sys.executable, "-P", "-m", card.__name__, "eth0", way])
    for name in ("h1", "h2", "h3"):
        reconcile(lab.host(name))


def echoes(asker: Host, server: Host, address: str) -> None:
    """Send datagrams of many sizes there and back."""
    python = ["ip", "netns", "exec", "c", sys.executable, "-I", "-S", "-c"]
    child = server.popen([*python, ECHO], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert inside(asker, sys.executable, "-I", "-S", "-c", ASK, address) == "intact\n"
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("peer", ["c", "relay"])
def test_what_a_process_reads_is_intact(lab: Lab, containers: dict[str, str], proxy: str, cards: str, peer: str) -> None:
    ours = lab.host("h1")
    theirs, address = {"c": (lab.host("h4"), proxy), "relay": (lab.host("h3"), containers["h3"])}[peer]
    echoes(ours, theirs, address)
    echoes(theirs, ours, containers["h1"])
    transfer(ours, theirs, address, amount())
    transfer(theirs, ours, containers["h1"], amount())


def test_the_detour_is_there_where_the_card_sums_nothing(lab: Lab, containers: dict[str, str], cards: str) -> None:
    for name in ("h1", "h2"):
        host = lab.host(name)
        assert (host.run(["ip", "link", "show", "wefted-sums"], check=False).returncode == 0) == (cards == "on")
        assert wefted(host, "plan") == {"changes": []}


@pytest.mark.parametrize(
    "words",
    [
        ("ip", "link", "del", "wefted-sums"),
        ("tc", "qdisc", "del", "dev", "wefted-sums-far", "clsact"),
    ],
    ids=["links", "hooks"],
)
def test_a_detour_that_somebody_removes_comes_back_within_a_second(
    lab: Lab, containers: dict[str, str], proxy: str, words: tuple[str, ...]
) -> None:
    host = lab.host("h1")
    switch(lab, "on")
    try:
        host.run(list(words))
        wait_for(lambda: ping(host, "c", proxy, deadline=1), 2, "the peer answers again")
        assert "sums_in" in host.run(["tc", "filter", "show", "dev", "wefted-sums-far", "ingress"]).stdout
        echoes(host, lab.host("h4"), proxy)
    finally:
        switch(lab, "off")
