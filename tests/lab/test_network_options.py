"""What a network can be told beyond its driver and backend, with real links, routes and packets on two hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted

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


def pair(host: Host, network: str, *words: str) -> list[str]:
    """Make a network with two containers in it; return their addresses."""
    wefted(host, "network", "create", network, *words)
    names = [container(host, f"{network}{number}") for number in (1, 2)]
    return [address_of(row) for row in wefted(host, "network", "connect", network, *names)]


def test_without_icc_containers_reach_the_host_alone(lab: Lab) -> None:
    h1 = lab.host("h1")
    _, there = pair(h1, "apart", "--subnet", "10.83.0.0/24", "-o", "icc=off")
    assert ping(h1, "apart1", "10.83.0.1")
    assert not ping(h1, "apart1", there, deadline=1)
    assert wefted(h1, "plan") == {"changes": []}


def test_containers_that_run_are_kept_apart_and_brought_together(lab: Lab) -> None:
    h1 = lab.host("h1")
    _, there = pair(h1, "live", "--subnet", "10.87.0.0/24")
    assert ping(h1, "live1", there)
    wefted(h1, "network", "set", "live", "-o", "com.docker.network.bridge.enable_icc=false")
    assert not ping(h1, "live1", there, deadline=1)
    wefted(h1, "network", "set", "live", "-o", "icc=")
    assert ping(h1, "live1", there)
    assert wefted(h1, "plan") == {"changes": []}


def test_in_an_isolated_network_containers_reach_each_other_alone(lab: Lab) -> None:
    h1 = lab.host("h1")
    _, there = pair(h1, "alone", "--subnet", "10.84.0.0/24", "-o", "gateway_mode=isolated")
    link = wefted(h1, "network", "inspect", "alone")[0]["link"]
    assert ping(h1, "alone1", there)
    assert h1.run(["ip", "-o", "address", "show", "dev", link]).stdout == ""
    assert h1.run(["ping", "-c1", "-W1", there], check=False).returncode != 0
    assert wefted(h1, "plan") == {"changes": []}


def test_a_routed_network_is_reached_from_another_host(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    here, _ = pair(h1, "routed", "--subnet", "10.85.0.0/24", "-o", "gateway_mode=routed")
    h2.run(["ip", "route", "add", "10.85.0.0/24", "via", "192.168.50.1"])
    assert h2.run(["ping", "-c1", "-W2", here], check=False).returncode == 0


def test_every_host_tells_from_where_ports_are_reachable(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    pair(h1, "bound", "--subnet", "10.86.0.0/24", "-o", "host_binding=127.0.0.1")
    wefted(h1, "publish", "netns:bound1", "8081:80", "192.168.50.1:8082:80")

    def told() -> dict[int, list[str]]:
        return {r["host_port"]: r["reachable_from"] for r in wefted(h2, "ps", "--ports") if r["network"] == "bound"}

    wait_for(lambda: told() == {8081: ["host"], 8082: ["host", "others", "containers"]}, 2, "the ports on the other host")
