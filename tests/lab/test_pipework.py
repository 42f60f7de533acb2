"""`pipework` in a virtual host with real namespaces: the classic walk-throughs to the letter, and what is better."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host

from .acceptance import ping, wait_for, wefted
from .pipework import addresses, default_routes, done, everything, lab_of_one, lan_port, link, pipework, running
from .test_guests import looks, routes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab_of_one("pipe") as h1:
        lan_port(h1, "eth1")
        yield h1


def rows(host: Host, name: str) -> list[dict]:
    return [row for row in wefted(host, "ps") if row["container"] == f"netns:{name}"]


def test_the_first_call_makes_the_bridge_and_the_second_does_not(host: Host) -> None:
    running(host, "lamp1", "lamp2")
    done(host, "brpipe lamp1 192.168.1.1/24")
    made = link(host, "brpipe")
    assert made["linkinfo"]["info_kind"] == "bridge"
    done(host, "brpipe lamp2 192.168.1.2/24")
    assert link(host, "brpipe")["ifindex"] == made["ifindex"]
    assert addresses(host, "lamp1") == ["192.168.1.1/24"]
    assert ping(host, "lamp1", "192.168.1.2")
    assert ping(host, "lamp2", "192.168.1.1")
    assert default_routes(host, "lamp1") == []
    assert [row["network"] for row in rows(host, "lamp1")] == ["pipework-brpipe"]


def test_the_host_looks_into_the_private_network(host: Host) -> None:
    running(host, "peek1")
    done(host, "brpeek peek1 192.168.2.1/24")
    host.run(["ip", "addr", "add", "192.168.2.254/24", "dev", "brpeek"])
    assert host.run(["ping", "-c1", "-W2", "192.168.2.1"], check=False).returncode == 0
    assert ping(host, "peek1", "192.168.2.254")


def test_on_the_bridge_of_docker(host: Host) -> None:
    """An existing bridge of somebody else gets a port, and is unchanged apart from it."""
    running(host, "web2")
    for words in ("link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"):
        host.run(["ip", *words.split()])
    before = looks(host, "docker0")
    done(host, "docker0 -i eth0 web2 172.17.0.100/16@172.17.0.1")
    assert looks(host, "docker0") == before
    assert addresses(host, "web2", "eth0") == ["172.17.0.100/16"]
    assert default_routes(host, "web2") == [("172.17.0.1", "eth0")]
    assert ping(host, "web2", "172.17.0.1")
    done(host, "--detach docker0 -i eth0 web2")
    assert looks(host, "docker0") == before


def test_a_physical_interface_gets_a_macvlan(host: Host) -> None:
    running(host, "mac1")
    before = link(host, "eth1")
    done(host, "eth1 mac1 10.0.0.5/24")
    assert link(host, "eth1", "mac1")["linkinfo"]["info_kind"] == "macvlan"
    assert link(host, "eth1", "mac1")["linkinfo"]["info_data"]["mode"] == "bridge"
    assert link(host, "eth1")["ifindex"] == before["ifindex"]
    assert ping(host, "mac1", "10.0.0.1")


def test_a_physical_interface_is_moved_and_comes_back(host: Host) -> None:
    running(host, "phys1")
    lan_port(host, "nic5")
    before = {key: link(host, "nic5")[key] for key in ("ifname", "address", "mtu", "operstate")}
    done(host, "--direct-phys nic5 phys1 10.0.0.6/24")
    assert link(host, "nic5") == {}
    assert link(host, "eth1", "phys1")["address"] == before["address"]
    assert ping(host, "phys1", "10.0.0.1")
    done(host, "--detach nic5 phys1")
    back = link(host, "nic5")
    assert {key: back.get(key) for key in ("ifname", "address", "mtu")} == {k: before[k] for k in ("ifname", "address", "mtu")}


def test_a_host_interface_by_its_mac(host: Host) -> None:
    running(host, "bymac")
    done(host, f"mac:{link(host, 'eth1')['address']} bymac 10.0.0.7/24")
    assert ping(host, "bymac", "10.0.0.1")
    assert [row["network"] for row in rows(host, "bymac")] == ["pipework-eth1_macvlan"]


def test_the_names_of_both_ends(host: Host) -> None:
    running(host, "named")
    done(host, "brnamed -i net7 -l hostapp1 -a 4 named 192.168.3.1/24")
    assert addresses(host, "named", "net7") == ["192.168.3.1/24"]
    assert link(host, "hostapp1")["master"] == "brnamed"


def test_several_interfaces_on_one_bridge(host: Host) -> None:
    running(host, "two")
    done(host, "brtwo two 192.168.4.1/24")
    done(host, "brtwo -i eth2 two 192.168.5.1/24")
    assert (addresses(host, "two"), addresses(host, "two", "eth2")) == (["192.168.4.1/24"], ["192.168.5.1/24"])
    done(host, "--detach brtwo -i eth2 two")
    assert (link(host, "eth2", "two"), addresses(host, "two")) == ({}, ["192.168.4.1/24"])


@pytest.mark.parametrize(
    ("number", "typed", "mac"),
    [(1, "26:2e:71:98:60:8f", "26:2e:71:98:60:8f"), (2, "U:myhost.foo.com", "02:72:6c:cd:9b:8d")],
)
def test_a_mac_that_is_told_or_made(host: Host, number: int, typed: str, mac: str) -> None:
    running(host, f"told{number}")
    done(host, f"brmac told{number} 192.168.6.{number}/24 {typed}")
    assert link(host, "eth1", f"told{number}")["address"] == mac


def test_ipv6_and_several_addresses(host: Host) -> None:
    running(host, "six", "both")
    done(host, "brsix -a 6 six fd00:6::1/64@fd00:6::fe")
    assert addresses(host, "six") == ["fd00:6::1/64"]
    assert default_routes(host, "six", "-6") == [("fd00:6::fe", "eth1")]
    done(host, "brsix both 192.168.7.2/24,192.168.7.3/24,fd00:6::2/64@192.168.7.254")
    assert sorted(addresses(host, "both")) == ["192.168.7.2/24", "192.168.7.3/24", "fd00:6::2/64"]
    assert ping(host, "both", "fd00:6::1")


def test_a_gateway_outside_of_the_prefix(host: Host) -> None:
    running(host, "far")
    done(host, "brfar far 192.168.8.2/24@10.99.0.1")
    assert default_routes(host, "far") == [("10.99.0.1", "eth1")]
    assert "via 10.99.0.1 dev eth1" in host.run(["ip", "-n", "far", "route", "get", "8.8.8.8"]).stdout


def test_the_default_route_comes_before_another_and_goes_again(host: Host) -> None:
    running(host, "dflt")
    for words in ("link add old0 type veth peer name old1", "link set old0 up", "link set old1 up",
                  "addr add 10.1.1.2/24 dev old0", "route add default via 10.1.1.1"):  # fmt: skip
        host.run(["ip", "-n", "dflt", *words.split()])
    before = routes(host, "dflt")
    done(host, "brdflt dflt 192.168.9.2/24@192.168.9.1")
    assert default_routes(host, "dflt")[0] == ("192.168.9.1", "eth1")
    done(host, "--detach brdflt dflt")
    assert routes(host, "dflt") == before


def test_an_interface_without_an_address(host: Host) -> None:
    running(host, "bare")
    done(host, "brbare bare 0/0")
    assert link(host, "eth1", "bare")["operstate"] == "UP"
    assert addresses(host, "bare") == []


def test_guests_by_pid_and_by_path(host: Host) -> None:
    running(host, "bypath")
    done(host, "brguest /run/netns/bypath 192.168.10.1/24")
    sleeper = host.popen(["unshare", "-n", "sleep", "60"])
    try:
        pids = lambda: host.run(["pgrep", "-x", "sleep"], check=False).stdout.split()  # noqa: E731
        wait_for(lambda: bool(pids()), 5, "the process")
        done(host, f"brguest {pids()[-1]} 192.168.10.2/24")
        assert ping(host, "bypath", "192.168.10.2")
        done(host, f"--detach brguest {pids()[-1]}")
        done(host, "--detach brguest /run/netns/bypath")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_repeated_call_changes_nothing(host: Host) -> None:
    running(host, "again")
    line = "bragain again 192.168.11.1/24@192.168.11.254 26:2e:71:98:60:01"
    done(host, line)
    wait_for(lambda: link(host, "bragain")["operstate"] == "UP", 10, "the bridge has carrier")
    wait_for(lambda: link(host, "eth1", "again")["operstate"] == "UP", 10, "the interface has carrier")
    before = everything(host, "again")
    done(host, line)
    assert everything(host, "again") == before


def test_detach_leaves_nothing(host: Host) -> None:
    running(host, "gone")
    before = everything(host, "gone")
    done(host, "brgone gone 192.168.12.1/24@192.168.12.254")
    done(host, "--detach brgone gone")
    assert everything(host, "gone") == before


def test_wefted_knows_what_was_attached_and_disconnects_it(host: Host) -> None:
    running(host, "known")
    done(host, "brknown known 192.168.13.1/24")
    (row,) = rows(host, "known")
    assert (row["ifname"], row["addresses"], row["state"]) == ("eth1", ["192.168.13.1/24"], "up")
    (network,) = wefted(host, "network", "inspect", "pipework-brknown")
    assert network["labels"] == {"pipework": "brknown"}
    wefted(host, "network", "disconnect", "pipework-brknown", "netns:known")
    assert link(host, "eth1", "known") == {}


def test_a_container_that_comes_back_is_attached_again_within_a_second(host: Host) -> None:
    running(host, "back")
    done(host, "brback back 192.168.14.1/24,fd00:14::1/64@192.168.14.254 26:2e:71:98:60:02")
    before = (addresses(host, "back"), link(host, "eth1", "back")["address"], default_routes(host, "back"))
    host.run(["ip", "netns", "del", "back"])
    host.run(["ip", "netns", "add", "back"])

    def now() -> tuple:
        return (addresses(host, "back"), link(host, "eth1", "back").get("address"), default_routes(host, "back"))

    assert wait_for(lambda: now() == before, 5, "the same interface again") < 1.0


def test_routes_rules_and_tc_inside_a_container(host: Host) -> None:
    running(host, "tool")
    done(host, "brtool tool 192.168.15.1/24")
    done(host, "route tool add 10.5.6.0/24 via 192.168.15.2")
    assert "10.5.6.0/24 via 192.168.15.2" in pipework(host, "route tool show").stdout
    done(host, "rule tool add from 192.168.15.1/32 table 7")
    assert "from 192.168.15.1 lookup 7" in pipework(host, "rule tool show").stdout
    assert "qdisc" in pipework(host, "tc tool qdisc show dev eth1").stdout
    for line in ("route tool add nonsense", "rule tool add nonsense", "tc tool qdisc nonsense"):
        own = host.run(["ip", "netns", "exec", "tool", *(["ip"] if line[0] == "r" else []), *_without(line)], check=False)
        told = pipework(host, line)
        assert (told.returncode, told.stderr) == (own.returncode, own.stderr)
        assert told.returncode


def _without(line: str) -> list[str]:
    tool, _, *rest = line.split()
    return [tool, *rest]


def test_waiting_inside_the_container(host: Host) -> None:
    running(host, "waits")
    waiter = host.popen(["ip", "netns", "exec", "waits", "/run/classics/pipework", "--wait"])
    assert pipework(host, "--wait -i eth9 --timeout 0.1", ns="waits").returncode == 1
    assert waiter.poll() is None
    done(host, "brwaits waits 192.168.16.1/24")
    assert waiter.wait(5) == 0
    start = time.monotonic()
    assert pipework(host, "--wait -i eth1 --timeout 9", ns="waits").returncode == 0
    assert time.monotonic() - start < 5


def test_a_dummy_interface(host: Host) -> None:
    reason = wefted(host, "status")["kernel"]["missing"].get("dummy")
    if reason:
        pytest.skip(reason)
    running(host, "dumb")
    done(host, "dummy0 dumb 192.168.17.1/24")
    assert addresses(host, "dumb") == ["192.168.17.1/24"]


def test_a_vlan_of_a_physical_interface(host: Host) -> None:
    reason = wefted(host, "status")["kernel"]["missing"].get("vlan")
    if reason:
        pytest.skip(reason)
    running(host, "tagged")
    done(host, "eth1 tagged 10.7.0.5/24 @7")
    assert link(host, "eth1.7")["linkinfo"]["info_data"]["id"] == 7


def test_neighbours_learn_the_address_at_once_and_nobody_waits(host: Host) -> None:
    """The address moves to another MAC: who knows the old one is told, without `arping` and its second."""
    running(host, "nb0", "nb1", "nb2")
    done(host, "brnb nb0 192.168.18.9/24")
    for name, mac in (("nb1", "02:00:00:00:18:01"), ("nb2", "02:00:00:00:18:02")):
        start = time.monotonic()
        done(host, f"brnb {name} 192.168.18.1/24 {mac}")
        assert time.monotonic() - start < 0.9
        assert ping(host, "nb0", "192.168.18.1")
        neighbours = json.loads(host.run(["ip", "-j", "-n", "nb0", "neigh", "show", "192.168.18.1"]).stdout)
        assert [n["lladdr"] for n in neighbours] == [mac]
        done(host, f"--detach brnb {name}")
