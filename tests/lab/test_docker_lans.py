"""Docker's networks by us in the LAN of the hosts: the interface itself is handed over, macvlan, ipvlan or VLAN."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import wait_for, wefted
from .dockers import CREATE, addresses_inside, inside, pings, remove, restart_dockerd, rows, run, seen_by_docker, two_dockers

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

ADDRESSES = ("--subnet", "192.168.50.0/24", "--ip-range", "192.168.50.128/25", "--gateway", "192.168.50.3")
"""Of the lab's own LAN; its router is h3."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


def lan(lab: Lab, *options: str, hosts: tuple[str, ...] = ("h1", "h2")) -> None:
    """Make the network on these hosts; skip the test, by what it says, where the kernel has no such links."""
    for name in hosts:
        words = [word for option in options for word in ("-o", option)]
        done = lab.host(name).run([*CREATE, *words, "-o", "parent=eth0", *ADDRESSES, "lan1"], check=False)
        if "this kernel has no" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr


def handed(host: Host) -> list[str]:
    shown = json.loads(host.run(["ip", "-j", "link"]).stdout)
    return [link["ifname"] for link in shown if link["ifname"].startswith(("vd-", "vl-"))]


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    lan(lab, "driver=macvlan")
    yield "lan1"
    gone(lab)


def gone(lab: Lab) -> None:
    remove(lab, "lan1")
    for name in ("h1", "h2"):
        host = lab.host(name)
        wait_for(lambda h=host: handed(h) == [], 15, f"links that are left on {name}")  # type: ignore[misc]
        wait_for(lambda h=host: rows(h) == [], 15, f"endpoints that are left on {name}")  # type: ignore[misc]
    wait_for(lambda: wefted(lab.host("h1"), "network", "ls") == [], 15, "the network is gone")


class TestMacvlan:
    def test_containers_of_two_hosts_and_the_lan_reach_each_other(self, lab: Lab, network: str) -> None:
        h1, h2, h3 = (lab.host(name) for name in ("h1", "h2", "h3"))
        run(h1, "web1", network)
        run(h2, "web2", network)
        first, second = seen_by_docker(h1, "web1", network)[0], seen_by_docker(h2, "web2", network)[0]
        assert first != second
        assert addresses_inside(h1, "web1") == [first]
        wait_for(lambda: pings(h1, "web1", second), 10, "the other host's container")
        wait_for(lambda: pings(h2, "web2", str(h3.address)), 10, "a host of the LAN")
        wait_for(lambda: h3.run(["ping", "-c1", "-W1", first], check=False).returncode == 0, 10, "from the LAN")
        shown = inside(h1, "web1", "/usr/sbin/ip", "-d", "link", "show", "eth0").stdout
        assert "macvlan mode bridge" in shown
        assert "default via 192.168.50.3" in inside(h1, "web1", "/usr/sbin/ip", "route").stdout
        assert len(wefted(h1, "network", "ls")) == 1
        assert handed(h1) == []

    def test_restarts_keep_address_and_mac(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network, "--restart", "always")
        before = seen_by_docker(h1, "web1", network)
        h1.run(["docker", "restart", "web1"])
        assert seen_by_docker(h1, "web1", network) == before
        restart_dockerd(h1)
        state = ["docker", "inspect", "-f", "{{.State.Running}}", "web1"]
        wait_for(lambda: h1.run(state).stdout == "true\n", 30, "the container")
        assert seen_by_docker(h1, "web1", network) == before
        wait_for(lambda: pings(h1, "web1", "192.168.50.3"), 10, "the LAN")

    def test_passes_and_our_own_networks_let_docker_s_link_be(self, lab: Lab, network: str) -> None:
        """A pass that reads the container's namespace finds there a link that we made and that Docker has renamed."""
        h1 = lab.host("h1")
        run(h1, "web1", network)
        before = addresses_inside(h1, "web1")
        wait_for(lambda: [r["container"] for r in rows(h1)] == ["docker:web1"], 10, "its name")
        wefted(h1, "network", "create", "blue")
        try:
            wefted(h1, "network", "connect", "blue", "docker:web1")
            inside(h1, "web1", "/usr/sbin/ip", "link", "show", "weft0")
            h1.run(["ip", "link", "set", "lo", "mtu", "65000"])  # whatever changes on the host is reason for a pass
            wefted(h1, "network", "disconnect", "blue", "docker:web1")
            assert addresses_inside(h1, "web1") == before
            wait_for(lambda: pings(h1, "web1", "192.168.50.3"), 10, "the LAN")
        finally:
            wefted(h1, "network", "rm", "blue")

    def test_a_restarted_agent_lets_it_be_and_a_kill_leaves_nothing(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network)
        before = addresses_inside(h1, "web1")
        wefted(h1, "down")
        wefted(h1, "up")
        wait_for(lambda: [r["container"] for r in rows(h1)] == ["docker:web1"], 10, "its endpoint")
        assert addresses_inside(h1, "web1") == before
        h1.run(["docker", "kill", "web1"])
        wait_for(lambda: rows(h1) == [], 15, "its end")

    def test_what_cannot_be_is_told_by_docker(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        done = h1.run(["docker", "run", "--rm", "--network", network, "-p", "8080:80", "skel"], check=False)
        assert "with driver macvlan traffic does not pass the host" in done.stderr
        for words, why in (
            (("-o", "driver=macvlan", "-o", "parent=eth7", "--subnet", "10.7.0.0/24"), "this host has no link 'eth7'"),
            (("-o", "driver=macvlan", "-o", "parent=eth0"), "whose addresses Docker must be told"),
            (("-o", "driver=macvlan", "--subnet", "10.7.0.0/24"), "needs the option parent"),
            (("-o", "driver=phys", "-o", "device=eth0"), "cannot have the driver 'phys'"),
        ):
            done = h1.run([*CREATE, *words, "lan9"], check=False)
            assert done.returncode != 0
            assert why in done.stderr
        assert len(wefted(h1, "network", "ls")) == 1

    def test_without_a_gateway(self, lab: Lab) -> None:
        h1 = lab.host("h1")
        h1.run([*CREATE, "-o", "driver=macvlan", "-o", "parent=eth0", *ADDRESSES[:4], "lan1"])
        try:
            run(h1, "web1", "lan1")
            assert "default" not in inside(h1, "web1", "/usr/sbin/ip", "route").stdout
            shown = json.loads(inside(h1, "web1", "/usr/sbin/ip", "-j", "link").stdout)
            assert [link["ifname"] for link in shown] == ["lo", "eth0"]
        finally:
            gone(lab)


@pytest.mark.parametrize("options", [("driver=ipvlan",), ("driver=ipvlan", "mode=l3"), ("driver=vlan", "tag=10")])
def test_other_links_of_a_lan(lab: Lab, options: tuple[str, ...]) -> None:
    lan(lab, *options)
    try:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "web1", "lan1")
        run(h2, "web2", "lan1")
        other = seen_by_docker(h2, "web2", "lan1")[0]
        wait_for(lambda: pings(h1, "web1", other), 10, "the other host's container")
    finally:
        gone(lab)
