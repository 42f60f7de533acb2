"""Networks of the backend `udp`: what containers send over the hosts passes their bridge by, at their own ports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from wefted.bench import card
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, agent_held, container, lab_name, ping, wait_for, wefted
from .transfers import transfer

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("ports"), 2) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        for feature in ("tun", "bpf"):
            if feature in missing:
                pytest.skip(missing[feature])
        for host in made.hosts:
            host.run([sys.executable, "-P", "-m", card.__name__, "eth0", "off"])
        yield made


@pytest.fixture(scope="module")
def network(lab: Lab) -> str:
    """A network with the container `c` on each host, which reach each other."""
    wefted(lab.host("h1"), "network", "create", "net1", "--backend", "udp")
    for host in lab.hosts:
        wefted(host, "network", "connect", "net1", container(host, "c"))
    for host, other in zip(lab.hosts, reversed(lab.hosts), strict=True):
        wait_for(lambda: ping(host, "c", address(other)), 5, "they reach each other")  # noqa: B023
    return "net1"


def address(host: Host, name: str = "c") -> str:
    own = (row for row in wefted(host, "ps") if row["host"] == host.name)
    return next(address_of(row) for row in own if row["container"] == f"netns:{name}")


def port(host: Host, name: str = "c") -> str:
    """Return the host's end of a container's link."""
    (link,) = json.loads(host.run(["ip", "-n", name, "-j", "link", "show", "dev", "eth0"]).stdout)
    links = json.loads(host.run(["ip", "-j", "link"]).stdout)
    return next(str(other["ifname"]) for other in links if other["ifindex"] == link["link_index"])


def block(host: Host, link: str) -> int:
    """Return the block of filters at the ingress of a link, 0 for none."""
    found = json.loads(host.run(["tc", "-j", "qdisc", "show", "dev", link]).stdout)
    return next((qdisc.get("ingress_block", 0) for qdisc in found if qdisc["kind"] == "clsact"), 0)


def is_as_planned(host: Host) -> bool:
    return bool(wefted(host, "plan") == {"changes": []})


def gateway(host: Host) -> str:
    (route,) = json.loads(host.run(["ip", "-n", "c", "-j", "route", "show", "default"]).stdout)
    return str(route["gateway"])


def on_the_bridge(host: Host) -> int:
    """Return how many packets the container's bridge has handed to the host or got from it."""
    (bridge,) = (
        link for link in json.loads(host.run(["ip", "-j", "-s", "address", "show", "to", gateway(host)]).stdout) if link
    )
    return int(bridge["stats64"]["rx"]["packets"] + bridge["stats64"]["tx"]["packets"])


def test_packets_pass_the_bridge_by_both_ways(lab: Lab, network: str) -> None:
    before = [on_the_bridge(host) for host in lab.hosts]
    transfer(lab.host("h1"), lab.host("h2"), address(lab.host("h2")), 20_000_000)
    grown = [on_the_bridge(host) - count for host, count in zip(lab.hosts, before, strict=True)]
    assert max(grown) < 50, "20 MB are 14,000 packets"


def test_who_came_back_is_reached_before_it_has_sent_anything(lab: Lab, network: str) -> None:
    """It has the address and the MAC of before, at another port: what was known of the old one must not swallow packets."""
    h1, h2 = lab.hosts
    target = address(h2)
    old = port(h2)
    index = json.loads(h2.run(["ip", "-j", "link", "show", "dev", old]).stdout)[0]["ifindex"]
    h2.run(["ip", "netns", "del", "c"])
    container(h2, "c")
    wait_for(
        lambda: h2.run(["ip", "-n", "c", "addr", "show", "to", target], check=False).stdout != "", 5, "its address is back"
    )
    assert json.loads(h2.run(["ip", "-j", "link", "show", "dev", port(h2)]).stdout)[0]["ifindex"] != index
    wait_for(lambda: ping(h1, "c", target, deadline=1), 5, "it is reached")
    transfer(h1, h2, target, 2_000_000)


def test_nobody_sends_by_the_tunnel_of_another_network(lab: Lab, network: str) -> None:
    """A container takes the address of another network's container, and knows the MAC of that one's bridge."""
    h1, h2 = lab.hosts
    wefted(h1, "network", "create", "net2", "--backend", "udp")
    wefted(h1, "network", "connect", "net2", container(h1, "thief"))
    wait_for(lambda: is_as_planned(h1), 5, "net2 is there")
    assert block(h1, port(h1, "thief")) != block(h1, port(h1)) != 0
    stolen, victim = address(h1), address(h2)
    via = gateway(h1)
    (neighbor,) = json.loads(h1.run(["ip", "-n", "c", "-j", "neigh", "show", via]).stdout)
    inside = [
        f"addr add {stolen}/32 dev eth0", f"neigh replace {via} lladdr {neighbor['lladdr']} dev eth0",
        f"route add {via} dev eth0", f"route add {victim} via {via} dev eth0 src {stolen}",
    ]  # fmt: skip
    h1.run(["ip", "-n", "thief", "-batch", "-"], input="\n".join(inside) + "\n")
    before = echoes(h2)
    h1.run(["ip", "netns", "exec", "thief", "ping", "-c3", "-i0.2", "-W1", "-I", stolen, victim], check=False)
    assert echoes(h2) == before
    assert ping(h1, "c", victim)
    assert echoes(h2) == before + 1
    wefted(h1, "network", "disconnect", "net2", "netns:thief")
    wefted(h1, "network", "rm", "net2")
    h1.run(["ip", "netns", "del", "thief"])


def echoes(host: Host) -> int:
    """Return how many pings the container has got."""
    lines = host.run(["ip", "netns", "exec", "c", "cat", "/proc/net/snmp"]).stdout.splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(numbers[names.index("InEchos")])


@pytest.mark.parametrize("what", ["hooks of a port", "program"])
def test_what_somebody_removes_comes_back_within_a_second(lab: Lab, network: str, what: str) -> None:
    host = lab.host("h1")
    number = block(host, port(host))
    words = {"hooks of a port": f"qdisc del dev {port(host)} clsact", "program": f"filter del block {number}"}

    def whole() -> bool:
        shown = host.run(["tc", "filter", "show", "block", str(number)], check=False).stdout
        return block(host, port(host)) == number and "port_out" in shown

    assert whole()
    with agent_held(host):
        host.run(["tc", *words[what].split()])
        assert not whole()
    wait_for(whole, 1, "it is back")
    wait_for(lambda: is_as_planned(host), 5, "nothing is left to do")
    transfer(host, lab.host("h2"), address(lab.host("h2")), 2_000_000)


def test_direct_off_leaves_the_ports_alone(lab: Lab) -> None:
    host = lab.host("h1")
    wefted(host, "network", "create", "net3", "--backend", "udp", "-o", "direct=off")
    wefted(host, "network", "connect", "net3", container(host, "d"))
    assert block(host, port(host, "d")) == 0
    wefted(host, "network", "disconnect", "net3", "netns:d")
    wefted(host, "network", "rm", "net3")
    host.run(["ip", "netns", "del", "d"])


def test_nothing_is_left(lab: Lab, network: str) -> None:
    for host in lab.hosts:
        wefted(host, "network", "disconnect", network, "netns:c")
    wefted(lab.host("h1"), "network", "rm", network)
    for host in lab.hosts:
        wait_for(lambda: "clsact" not in host.run(["tc", "qdisc", "show"]).stdout, 5, "all hooks are gone")  # noqa: B023
