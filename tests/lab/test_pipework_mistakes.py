"""Mistakes at `pipework`: the words and exit codes of the original, and nothing left behind, where it left half of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host

from .acceptance import wefted
from .pipework import done, everything, lab_of_one, lan_port, link, pipework, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

NETMASK = "The IP address should include a netmask.\nMaybe you meant 10.0.0.9/24 ?\n"
EXISTS = "RTNETLINK answers: File exists\n"

MISTAKES = {
    "": (1, "Syntax:\npipework <hostinterface> "),
    "br1 c1": (1, "Syntax:\npipework <hostinterface> "),
    "nosuch c1 10.0.0.9/24": (1, "I do not know how to setup interface nosuch.\n"),
    "mac:02:ff:ff:ff:ff:ff c1 10.0.0.9/24": (1, "No network interface has the MAC address 02:ff:ff:ff:ff:ff.\n"),
    "br1 nobody 10.0.0.9/24": (1, "Container nobody not found, and "),
    "br1 4194000 10.0.0.9/24": (1, "Container 4194000 not found, and "),
    "br1 /run/netns/none 10.0.0.9/24": (1, "Container /run/netns/none not found, and "),
    "route nobody show": (1, "Container nobody not found, and "),
    "br1 c1 10.0.0.9": (1, NETMASK),
    "eth1 c1 10.0.0.9": (1, NETMASK),
    "br1 c1 10.0.0.9/33": (1, 'Error: inet prefix is expected rather than "10.0.0.9/33".\n'),
    "br1 c1 nonsense/24": (1, 'Error: inet prefix is expected rather than "nonsense/24".\n'),
    "br1 -a 4 c1 fd00::1/64": (1, 'Error: inet prefix is expected rather than "fd00::1/64".\n'),
    "br1 -a 5 c1 10.0.0.9/24": (255, 'Option "-5" is unknown, try "ip -help".\n'),
    "br1 c1 10.0.0.9/24@nonsense": (1, 'Error: inet prefix is expected rather than "nonsense/32".\n'),
    "br1 c1 10.0.0.9/24 zz": (1, '"zz" is invalid lladdr.\n'),
    "br1 c1 10.0.0.9/24 01:00:00:00:00:01": (2, "RTNETLINK answers: Cannot assign requested address\n"),
    "eth1 c1 10.0.0.9/24 @5000": (2, "Error: 8021q: Invalid VLAN id.\n"),
    "eth1 c1 10.0.0.9/24 @seven": (255, 'Error: argument "seven" is wrong: id is invalid\n'),
    "br1 -i sixteen-letters- c1 10.0.0.9/24": (255, 'Error: argument "sixteen-letters-" is wrong: "name" not a valid ifname\n'),
    "br1 c1 dhcpcd": (1, "You asked for DHCP client dhcpcd, but I can't find it.\n"),
    "ovs1 c1 10.0.0.9/24": (1, "Need OVS installed on the system to create an ovs bridge\n"),
    # the interface is there already, by somebody else's hand: the original left a macvlan, DOWN, and two dangling links
    "eth1 clash 10.0.0.9/24": (2, EXISTS),
    "br1 clash 10.0.0.9/24": (2, EXISTS),
    # and by ours
    "brhave have 192.168.1.9/24": (1, "Link hostend exists and is up\n"),
    "brhave have 192.168.1.1/24@192.168.1.254": (1, "Link hostend exists and is up\n"),
    "brother have 192.168.1.1/24": (1, "Link hostend exists and is up\n"),
    "eth1 have 192.168.1.1/24": (2, EXISTS),
    "brhave -l foreign c1 192.168.1.7/24": (2, EXISTS),
    "brhave -l hostend c1 192.168.1.7/24": (2, "pipework: another container's link is called hostend already\n"),
    "brhave c1 192.168.1.1/24": (2, "pipework: 192.168.1.1 belongs to netns:have in network 'pipework-brhave'\n"),
    "--host-access br1 c1 10.0.0.9/24": (1, "--host-access is for physical interfaces, which br1 is not.\n"),
    "--detach brhave c1": (1, "c1 has no interface eth1 by pipework on brhave.\n"),
    "--wait -i nosuch --timeout 0.05": (1, "nosuch is not there after 0.05 s.\n"),
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab_of_one("pipewrong") as h1:
        lan_port(h1, "eth1")
        running(h1, "c1", "clash", "have")
        h1.run(["ip", "-n", "clash", "link", "add", "eth1", "type", "veth", "peer", "name", "other"])
        h1.run(["ip", "link", "add", "foreign", "type", "veth", "peer", "name", "foreign2"])
        if installed := shutil.which("dhcpcd"):
            h1.run(["mount", "--bind", "/dev/null", installed])  # no program any more, on this host
        done(h1, "brhave -l hostend have 192.168.1.1/24")
        yield h1


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake(host: Host, line: str) -> None:
    code, told = MISTAKES[line]
    before = everything(host, "c1", "clash", "have")
    result = pipework(host, line)
    said = result.stdout + result.stderr
    assert (result.returncode, said[: len(told)]) == (code, told), said
    assert "Traceback" not in said
    assert everything(host, "c1", "clash", "have") == before


def test_nothing_dangles(host: Host) -> None:
    """The original removed its link in /run/netns only when all went well."""
    assert pipework(host, "eth1 clash 10.0.0.9/24").returncode == 2
    assert host.run(["find", "/run/netns", "-xtype", "l"]).stdout == ""
    assert link(host, "eth1", "clash")["operstate"] == "DOWN"
    assert not [name for name in host.run(["ls", "/sys/class/net"]).stdout.split() if name.startswith(("ph", "veth1p"))]


def test_a_tool_that_is_missing() -> None:
    with lab_of_one("pipetool", agent=False) as host:
        running(host, "c1")
        result = host.run(["env", "PATH=/nowhere", "/run/classics/pipework", "tc", "c1", "qdisc", "show"], check=False)
        assert (result.returncode, result.stderr) == (127, "tc: not found\n")


def test_without_an_agent() -> None:
    """Each call does its work alone, and the next one finds what it did."""
    with lab_of_one("pipealone", agent=False) as host:
        running(host, "c1", "c2")
        before = everything(host, "c1", "c2")
        done(host, "br1 c1 192.168.1.1/24@192.168.1.254")
        done(host, "br1 c1 192.168.1.1/24@192.168.1.254")
        done(host, "br1 c2 192.168.1.2/24")
        assert host.run(["ip", "netns", "exec", "c1", "ping", "-c1", "-W2", "192.168.1.2"], check=False).returncode == 0
        assert len(wefted(host, "ps")) == 2
        result = pipework(host, "br1 nobody 192.168.1.3/24")
        assert (result.returncode, result.stderr.partition(",")[0]) == (1, "Container nobody not found")
        done(host, "--detach br1 c1")
        done(host, "--detach br1 c2")
        assert everything(host, "c1", "c2") == before
