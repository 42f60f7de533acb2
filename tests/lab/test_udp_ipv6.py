"""The backend `udp` over an IPv6 underlay, which flannel has not: h1 and h2 carry packets by programs, h3 by the relay."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from wefted.bench import card
from wefted.lab.agents import WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .test_udp import nobody, reconcile
from .test_udp_checksums import echoes
from .transfers import transfer

pytestmark = pytest.mark.lab

MTU = 1452
HOSTS = ("h1", "h2", "h3")
PAIRS = [("h1", "h2"), ("h1", "h3"), ("h3", "h2")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("udp6"), 3) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        for feature in ("tun", "bpf"):
            if feature in missing:
                pytest.skip(missing[feature])
        made.host("h3").run(["sh", "-c", "mkdir -p /etc/wefted && echo 'datapath = \"relay\"' >/etc/wefted/wefted.toml"])
        for number, host in enumerate(made.hosts, 1):
            host.run(["ip", "addr", "add", f"fd50::{number}/64", "dev", "eth0", "nodad"])
            host.run([*WEFTED, "down"])
            host.run([*WEFTED, "up", "--advertise", f"fd50::{number}"])
        yield made


@pytest.fixture(scope="module")
def containers(lab: Lab) -> dict[str, dict[int, str]]:
    """The addresses of the container `c` on each host, by IP version; the network's device has the whole network's route."""
    subnets = ("--subnet", "10.75.0.0/16", "--subnet", "fd75::/48")
    wefted(lab.host("h1"), "network", "create", "n", "--backend", "udp", "-o", "device=wu0", *subnets)
    rows = {name: wefted(lab.host(name), "network", "connect", "n", container(lab.host(name), "c"))[0] for name in HOSTS}
    found = {name: {version: address_of(row, version) for version in (4, 6)} for name, row in rows.items()}
    for one, other in ((a, b) for a in HOSTS for b in HOSTS if a != b):
        for version in (4, 6):
            wait_for(lambda: ping(lab.host(one), "c", found[other][version]), 10, f"{one} reaches {other}")  # noqa: B023
    return found


@pytest.fixture(params=["on", "off"], ids=["virtual card", "plain card"])
def cards(lab: Lab, containers: dict[str, dict[int, str]], request: pytest.FixtureRequest) -> str:
    for host in lab.hosts:
        host.run([sys.executable, "-P", "-m", card.__name__, "eth0", request.param])
        reconcile(host)
    return str(request.param)


def inside(host: Host, *words: str) -> str:
    done = host.run(["ip", "netns", "exec", "c", *words], check=False)
    return done.stdout + done.stderr


def test_the_underlay_is_ipv6(lab: Lab, containers: dict[str, dict[int, str]]) -> None:
    for number, name in enumerate(HOSTS, 1):
        (tunnel,) = wefted(lab.host(name), "status")["tunnels"]
        assert tunnel["local"] == f"fd50::{number}"
        assert tunnel["way"].startswith("relay" if name == "h3" else "ebpf")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_ttl_and_mtu(lab: Lab, containers: dict[str, dict[int, str]], one: str, other: str, version: int) -> None:
    host, target = lab.host(one), containers[other][version]
    headers = 28 if version == 4 else 48
    assert "ttl=60" in inside(host, "ping", "-c1", "-n", target)
    assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", f"-s{MTU - headers}", target)
    inside(host, "ip", "link", "set", "eth0", "mtu", "1500")
    try:
        said = inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", f"-s{MTU - headers + 1}", target)
        assert f"mtu={MTU}" in said.replace("mtu = ", "mtu=").replace("mtu: ", "mtu=")
        assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdont", "-s8000", target)
    finally:
        inside(host, "ip", "link", "set", "eth0", "mtu", str(MTU))
        inside(host, "ip", "route", "flush", "cache")
        inside(host, "ip", "-6", "route", "flush", "cache")


@pytest.mark.parametrize("name", ["h1", "h3"])
def test_nobodys_address_is_unreachable(lab: Lab, containers: dict[str, dict[int, str]], name: str) -> None:
    assert nobody(lab.host(name), "10.75.250.1") == "101"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_is_sent_arrives_intact(
    lab: Lab, containers: dict[str, dict[int, str]], cards: str, one: str, other: str, version: int
) -> None:
    ours, theirs = lab.host(one), lab.host(other)
    echoes(ours, theirs, containers[other][version])
    transfer(ours, theirs, containers[other][version], 20_000_000)
    transfer(theirs, ours, containers[one][version], 20_000_000)
