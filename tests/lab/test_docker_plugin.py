"""Docker's networks by us over two hosts: names, ports, addresses, options, restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import wait_for, wefted
from .dockers import (
    CREATE,
    SERVE,
    a_network,
    addresses_inside,
    create,
    inside,
    pings,
    remove,
    restart_dockerd,
    rows,
    run,
    seen_by_docker,
    two_dockers,
)
from .engines import TOOLS, docker_run

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    yield from a_network(lab)


class TestTwoHosts:
    def test_names_both_ways_without_a_flag(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "web1", network, "--network-alias", "db")
        run(h2, "web2", network)
        wait_for(lambda: pings(h1, "web1", "web2"), 10, "web2's name on h1")
        for target in ("web1", "db", "web1.net1.weft.internal"):
            wait_for(lambda t=target: pings(h2, "web2", t), 10, f"{target} on h2")  # type: ignore[misc]
        assert {row["container"] for row in wefted(h1, "ps")} == {"docker:web1", "docker:web2"}
        assert len(wefted(h1, "network", "ls")) == 1
        first, second = seen_by_docker(h1, "web1", network), seen_by_docker(h2, "web2", network)
        assert first[0] != second[0]
        assert addresses_inside(h1, "web1") == [first[0]]
        assert [json.loads(h.run(["docker", "network", "inspect", network]).stdout)[0]["IPAM"]["Config"] for h in (h1, h2)] == [
            [{"Subnet": "10.64.0.0/16", "Gateway": "10.64.0.1"}]
        ] * 2

    def test_a_hundred_megabytes_arrive_as_they_were_sent(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        script = (
            "mkdir /tmp/w; cd /tmp/w; head -c 104857600 /dev/urandom >big; sha256sum big >sum; exec python3 -m http.server 80"
        )
        run(h1, "server", network, command=("sh", "-c", script))
        run(h2, "client", network)
        get = "curl -sSf --retry 30 --retry-all-errors --retry-delay 1 http://server"
        wait_for(lambda: inside(h2, "client", "sh", "-c", f"{get}/sum", check=False).returncode == 0, 30, "the server")
        told = inside(h2, "client", "sh", "-c", f"{get}/sum").stdout.split()[0]
        assert inside(h2, "client", "sh", "-c", f"{get}/big | sha256sum").stdout.split()[0] == told

    def test_a_published_port_from_the_third_host(self, lab: Lab, network: str) -> None:
        h1, h3 = lab.host("h1"), lab.host("h3")
        run(h1, "web1", network, "-p", "8080:80", "-p", "127.0.0.1:8081:80", "--hostname", "web1", command=("sh", "-c", SERVE))

        def fetched(host: Host, where: str) -> str:
            return str(host.run(["curl", "-sm3", f"http://{where}/"], check=False).stdout).strip()

        wait_for(lambda: fetched(h3, f"{h1.address}:8080") == "hello from web1", 10, "the port from outside")
        assert fetched(h1, "127.0.0.1:8081") == "hello from web1"
        assert fetched(h3, f"{h1.address}:8081") == ""
        ports = {(r["host_port"], r["container"], r["host_ip"]) for r in wefted(h1, "ps", "--ports")}
        assert ports == {(8080, "docker:web1", None), (8081, "docker:web1", "127.0.0.1")}
        refused = h1.run(["docker", "run", "--rm", "--network", network, "-p", "8080:80", "skel"], check=False)
        assert "port 8080/tcp is published already, by docker:web1" in refused.stderr

    def test_an_unpublished_port_is_closed_from_outside_and_the_way_out_is_open(self, lab: Lab, network: str) -> None:
        h1, h3 = lab.host("h1"), lab.host("h3")
        run(h1, "web1", network)
        address, _ = seen_by_docker(h1, "web1", network)
        h3.run(["ip", "route", "replace", f"{address}/32", "via", str(h1.address)])
        try:
            assert h3.run(["ping", "-c1", "-W1", address], check=False).returncode != 0
        finally:
            h3.run(["ip", "route", "del", f"{address}/32"])
        wait_for(lambda: pings(h1, "web1", str(h3.address)), 10, "the way out")

    def test_a_restart_keeps_address_mac_and_name(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "other", network)
        run(h1, "web1", network)
        run(h2, "web2", network)
        before = seen_by_docker(h1, "web1", network)
        h1.run(["docker", "restart", "web1"])
        assert seen_by_docker(h1, "web1", network) == before
        wait_for(lambda: pings(h2, "web2", "web1"), 10, "its name on the other host")

    def test_dockerd_killed_keeps_address_and_name(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "web1", network, "--restart", "always")
        run(h2, "web2", network)
        before = seen_by_docker(h1, "web1", network)
        restart_dockerd(h1)
        state = ["docker", "inspect", "-f", "{{.State.Running}}", "web1"]
        wait_for(lambda: h1.run(state).stdout == "true\n", 30, "the container")
        assert seen_by_docker(h1, "web1", network) == before
        wait_for(lambda: pings(h2, "web2", "web1"), 10, "its name on the other host")
        assert len(rows(h1, network)) == 1

    def test_a_boot_of_the_host_keeps_address_and_name(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "web1", network, "--restart", "always", "-p", "8080:80")
        run(h2, "web2", network)
        before = seen_by_docker(h1, "web1", network)
        lab.poweroff("h1")
        lab.boot("h1")
        h1 = lab.host("h1")
        state = ["docker", "inspect", "-f", "{{.State.Running}}", "web1"]
        wait_for(lambda: h1.run(state, check=False).stdout == "true\n", 60, "the container")
        assert seen_by_docker(h1, "web1", network) == before
        wait_for(lambda: pings(h2, "web2", "web1"), 15, "its name on the other host")
        assert len(rows(h1, network)) == 1
        assert [row["host_port"] for row in wefted(h1, "ps", "--ports")] == [8080]


class TestOptions:
    def test_chosen_addresses_and_mac_in_both_families(self, lab: Lab) -> None:
        subnets = ("--subnet", "10.99.0.0/16", "--ipv6", "--subnet", "fd99::/48")
        create(lab, "net6", "-o", "backend=vxlan", *subnets)
        try:
            h1, h2 = lab.host("h1"), lab.host("h2")
            chosen = ("--ip", "10.99.0.77", "--ip6", "fd99::77", "--mac-address", "02:00:00:00:00:99")
            # the first command line that can say both at once is newer than this engine
            old = h1.run(
                ["/usr/bin/docker", "run", "-d", "--name", "web1", *TOOLS, "--network", "net6", *chosen, "skel"], check=False
            )
            assert old.returncode == 0, old.stderr
            run(h2, "web2", "net6")
            assert set(addresses_inside(h1, "web1")) == {"10.99.0.77", "fd99::77"}
            assert seen_by_docker(h1, "web1", "net6") == ("10.99.0.77", "02:00:00:00:00:99")
            for target in ("10.99.0.77", "fd99::77"):
                wait_for(lambda t=target: pings(h2, "web2", t), 10, f"{target} from h2")  # type: ignore[misc]
            again = h2.run(["docker", "run", "--rm", "--network", "net6", "--ip", "10.99.0.77", "skel"], check=False)
            assert "10.99.0.77" in again.stderr
        finally:
            remove(lab, "net6")

    def test_ipv6_of_our_choice(self, lab: Lab) -> None:
        create(lab, "net6", "--ipv6", hosts=("h1",))
        try:
            run(lab.host("h1"), "web1", "net6")
            assert sorted(":" in a for a in addresses_inside(lab.host("h1"), "web1")) == [False, True]
        finally:
            remove(lab, "net6")

    def test_an_internal_network_reaches_its_own_and_nothing_else(self, lab: Lab) -> None:
        create(lab, "inner", "--internal", "-o", "backend=vxlan")
        try:
            h1, h2, h3 = lab.host("h1"), lab.host("h2"), lab.host("h3")
            run(h1, "web1", "inner")
            run(h2, "web2", "inner")
            address, _ = seen_by_docker(h2, "web2", "inner")
            wait_for(lambda: pings(h1, "web1", address), 10, "the other host's container")
            assert "default" not in inside(h1, "web1", "/usr/sbin/ip", "route").stdout
            assert not pings(h1, "web1", str(h3.address))
            inside(h1, "web1", "true")
            assert h1.run(["docker", "exec", "web1", "cat", "/sys/class/net/eth0/mtu"]).stdout == "1450\n"
            assert json.loads(inside(h1, "web1", "/usr/sbin/ip", "-j", "link").stdout)[-1]["ifname"] == "eth0"
        finally:
            remove(lab, "inner")

    def test_nobody_gets_out_of_an_internal_network_or_into_it_who_tries(self, lab: Lab) -> None:
        """A container that may change its routes, another network's container, and a host that knows the way."""
        create(lab, "inner", "--internal", hosts=("h1",))
        create(lab, "net1", "-o", "backend=vxlan", hosts=("h1",))
        h1, h3 = lab.host("h1"), lab.host("h3")
        try:
            run(h1, "web1", "inner", "--cap-add", "NET_ADMIN")
            run(h1, "web2", "inner")
            run(h1, "other", "net1")
            address, friend = (seen_by_docker(h1, name, "inner")[0] for name in ("web1", "web2"))
            wait_for(lambda: pings(h1, "web1", friend), 10, "its own network")
            gateway = json.loads(h1.run(["docker", "network", "inspect", "inner"]).stdout)[0]["IPAM"]["Config"][0]["Gateway"]
            inside(h1, "web1", "/usr/sbin/ip", "route", "add", "default", "via", gateway)
            assert not pings(h1, "web1", str(h3.address))
            assert not pings(h1, "other", address)
            h3.run(["ip", "route", "replace", f"{address}/32", "via", str(h1.address)])
            assert h3.run(["ping", "-c1", "-W1", address], check=False).returncode != 0
        finally:
            h3.run(["ip", "route", "del", f"{address}/32"], check=False)
            remove(lab, "inner")
            remove(lab, "net1")

    def test_a_network_is_connected_and_disconnected_while_the_container_runs(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        docker_run(h1, "web1")
        h1.run(["docker", "network", "connect", "--alias", "late", network, "web1"])
        wait_for(lambda: [r["aliases"][:1] for r in rows(h1, network)] == [["late"]], 10, "the alias")
        assert json.loads(inside(h1, "web1", "/usr/sbin/ip", "-j", "link", "show", "eth1").stdout)
        assert [r["ifname"] for r in rows(h1, network)] == ["eth1"]
        h1.run(["docker", "network", "disconnect", network, "web1"])
        assert rows(h1, network) == []

    def test_a_new_name_is_followed(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network)
        wait_for(lambda: [r["container"] for r in rows(h1)] == ["docker:web1"], 10, "its name")
        h1.run(["docker", "rename", "web1", "web9"])
        wait_for(lambda: [r["container"] for r in rows(h1)] == ["docker:web9"], 15, "its new name")
        assert pings(h1, "web9", "web9")

    @pytest.mark.parametrize(("option", "why"), [("backend=vxlam", "did you mean 'vxlan'"), ("colour=red", "colour")])
    def test_what_is_wrong_is_told_by_docker(self, lab: Lab, option: str, why: str) -> None:
        done = lab.host("h1").run([*CREATE, "-o", option, "net9"], check=False)
        assert done.returncode != 0
        assert why in done.stderr

    def test_our_addresses_for_docker_s_own_bridge(self, lab: Lab) -> None:
        h1 = lab.host("h1")
        h1.run(["docker", "network", "create", "--ipam-driver", "wefted", "--subnet", "10.97.0.0/24", "plain"])
        try:
            run(h1, "web1", "plain")
            assert addresses_inside(h1, "web1") == ["10.97.0.2"]
        finally:
            remove(lab, "plain")
