"""What a network can be told beyond its driver and backend, with real links, routes and packets on two hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, wait_for, wefted

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("options"), 2) as up:
        yield up


def mtu(host: Host, name: str) -> int:
    """Return the MTU inside a container."""
    return int(host.run(["ip", "netns", "exec", name, "cat", "/sys/class/net/eth0/mtu"]).stdout)


def test_the_mtu_changes_inside_containers_of_both_hosts(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    wefted(h1, "network", "create", "m", "--backend", "vxlan", "--subnet", "10.81.0.0/16")
    for host in (h1, h2):
        wefted(host, "network", "connect", "m", container(host, "m1"))
        assert mtu(host, "m1") == 1450
    wefted(h1, "network", "set", "m", "--mtu", "1300", "--label", "team=web")
    assert mtu(h1, "m1") == 1300
    wait_for(lambda: mtu(h2, "m1") == 1300, 10, "the other host follows")
    assert wefted(h1, "plan") == {"changes": []}
    refused = wefted(h1, "network", "set", "m", "--driver", "ptp", check=False)
    assert refused.returncode != 0
    assert "its driver cannot be changed" in refused.stderr


def default(host: Host, name: str) -> str:
    """Return the interface that a container's default route goes by."""
    words = host.run(["ip", "-n", name, "route", "show", "default"]).stdout.split()
    return words[words.index("dev") + 1] if words else ""


def test_the_default_route_moves_with_its_holder(lab: Lab) -> None:
    h1 = lab.host("h1")
    name = container(h1, "d1")
    for number, network in enumerate(("d-a", "d-b", "d-c")):
        wefted(h1, "network", "create", network, "--subnet", f"10.82.{number}.0/24", "-o", "ifprefix=net")
    for priority, network, holder in ((0, "d-a", "net0"), (0, "d-b", "net0"), (10, "d-c", "net2")):
        wefted(h1, "network", "connect", network, name, "--gateway-priority", str(priority))
        assert default(h1, "d1") == holder
    for network, holder in (("d-c", "net0"), ("d-a", "net1"), ("d-b", "")):
        wefted(h1, "network", "disconnect", network, name)
        assert default(h1, "d1") == holder
        assert wefted(h1, "plan") == {"changes": []}
