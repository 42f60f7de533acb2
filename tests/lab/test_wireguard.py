"""Networks of the backend `wireguard`, with whatever does it here: the kernel, or `wireguard-go`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from wefted.lab.agents import WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.model import codec
from wefted.model.lease import Lease

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .test_flannel_join import etcdctl, store_of
from .test_udp import inside, reconcile, transfer

pytestmark = pytest.mark.lab

MARKER = b"nobody on the way may read this"
LISTEN = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
    sock.bind((sys.argv[1], 0))
    sock.settimeout(20)
    print("ready", flush=True)
    frames = seen = 0
    while frames < int(sys.argv[2]):
        frame = sock.recv(65536)
        frames += len(frame) > 900
        seen += sys.argv[3].encode() in frame
print(seen)
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for _ in range(100):
        sock.sendto(sys.argv[2].encode() * 32, (sys.argv[1], 9))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("wg"), 3) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        if "wireguard" in missing:
            pytest.skip(missing["wireguard"])
        yield made


@pytest.fixture(scope="module")
def rows(lab: Lab) -> dict[str, Any]:
    """The endpoint of the container `c` on each host."""
    wefted(lab.host("h1"), "network", "create", "sealed", "--backend", "wireguard", "--ipv6")
    found = {}
    for host in lab.hosts:
        found[host.name] = wefted(host, "network", "connect", "sealed", container(host, "c"))[0]
    for host in lab.hosts:
        for other in found:
            for version in (4, 6):
                target = address_of(found[other], version)
                wait_for(lambda: ping(host, "c", target), 10, f"{host.name} reaches {target}")  # noqa: B023
    return found


def tunnel(host: Host) -> dict[str, Any]:
    (found,) = wefted(host, "status")["tunnels"]
    row: dict[str, Any] = found
    return row


def process_of(host: Host) -> int:
    """Return the process behind the device; skips where the kernel does it."""
    row = tunnel(host)
    if row["way"] == "kernel":
        pytest.skip("this kernel has WireGuard, so there is no process")
    return int(host.run(["cat", f"/run/wefted/wireguard/{row['link']}/process"]).stdout.split()[0])


def settled(host: Host) -> Callable[[], bool]:
    return lambda: bool(wefted(host, "plan") == {"changes": []})


def test_status_says_what_does_it_and_whom_it_has_met(lab: Lab, rows: dict[str, Any]) -> None:
    keys = {name: tunnel(lab.host(name))["public_key"] for name in rows}
    missing = wefted(lab.host("h1"), "status")["kernel"]["missing"].get("wireguard-kernel", "")
    for name in rows:
        found = tunnel(lab.host(name))
        assert (found["way"], found["reason"]) == (("wireguard-go", missing) if missing else ("kernel", ""))
        assert {peer["public_key"] for peer in found["peers"]} == set(keys.values()) - {keys[name]}
        assert all(peer["handshake"] for peer in found["peers"])
        assert {block for peer in found["peers"] for block in peer["allowed"]} == {
            str(ip_network(row["addresses"][n], strict=False)) for other, row in rows.items() for n in (0, 1) if other != name
        }


def test_the_key_is_for_root_alone_and_shown_nowhere(lab: Lab, rows: dict[str, Any]) -> None:
    host = lab.host("h1")
    secret = host.run(["cat", "/var/lib/wefted/wireguard.key"]).stdout.strip()
    assert host.run(["stat", "-c", "%a", "/var/lib/wefted/wireguard.key"]).stdout.strip() == "600"
    assert host.run(["sh", "-c", f"echo {secret} | wg pubkey"]).stdout.strip() == tunnel(host)["public_key"]
    shown = [host.run(["wefted", *words, "--json"]).stdout for words in (("status",), ("network", "inspect", "sealed"))]
    shown.append(host.run(["cat", "/var/lib/wefted/agent.log"]).stdout)
    shown.append(etcdctl(host, store_of(host), "get", "--prefix", "/wefted/"))
    assert not [text for text in shown if secret in text]


def test_nothing_is_left_to_do(lab: Lab, rows: dict[str, Any]) -> None:
    for host in lab.hosts:
        wait_for(settled(host), 5, f"{host.name} is as planned")


def test_the_mtu_to_the_byte(lab: Lab, rows: dict[str, Any]) -> None:
    """1500 less 60: IPv4 20, UDP 8, WireGuard's header 16 and tag 16."""
    host, target = lab.host("h1"), address_of(rows["h2"])
    assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1412", target)
    assert "1 received" in inside(host, "ping", "-6", "-c1", "-W2", "-n", "-Mdo", "-s1392", address_of(rows["h2"], 6))
    inside(host, "ip", "link", "set", "eth0", "mtu", "1500")
    try:
        assert "0 received, +1 errors" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1413", target, check=False)
        assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdont", "-s8000", target)
    finally:
        inside(host, "ip", "link", "set", "eth0", "mtu", "1440")
        inside(host, "ip", "route", "flush", "cache")


def test_100_mib_arrive_intact(lab: Lab, rows: dict[str, Any]) -> None:
    transfer(lab.host("h1"), lab.host("h2"), address_of(rows["h2"]), 100)


@pytest.mark.parametrize(("link", "readable"), [("eth0", False), ("br", True)])
def test_only_the_underlay_cannot_be_read(lab: Lab, rows: dict[str, Any], link: str, readable: bool) -> None:
    """What passes is looked at where it is encrypted, and, so that the look is known to be a good one, where it is not."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    name = wefted(h1, "network", "inspect", "sealed")[0]["link"] if link == "br" else link
    python = [sys.executable, "-I", "-S", "-c"]
    child = h1.popen(
        [*python, LISTEN, name, "90", MARKER.decode()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    inside(h2, *python, SEND, address_of(rows["h1"]), MARKER.decode())
    assert (int(child.stdout.readline()) > 0) is readable


def test_packets_pass_while_the_agent_is_dead_and_the_next_one_changes_nothing(lab: Lab, rows: dict[str, Any]) -> None:
    host = lab.host("h1")
    before = host.run(["wg", "show", "all", "dump"]).stdout.splitlines()
    host.run(["kill", f"-{signal.SIGKILL.value}", str(wefted(host, "status")["agent"]["pid"])])
    assert all(ping(host, "c", address_of(rows[other], version)) for other in ("h2", "h3") for version in (4, 6))
    host.run([*WEFTED, "up"])
    wait_for(settled(host), 5, "nothing is left to do")
    after = host.run(["wg", "show", "all", "dump"]).stdout.splitlines()
    assert sorted(line.split()[:4] for line in after) == sorted(line.split()[:4] for line in before)
    log = [json.loads(line) for line in host.run(["cat", "/var/lib/wefted/agent.log"]).stdout.splitlines()]
    assert [line["changes"] for line in log if line["message"] == "first pass"][-1] == 0


def test_a_process_that_is_killed_comes_back_at_once(lab: Lab, rows: dict[str, Any]) -> None:
    """The device stays, and with it addresses and routes: meanwhile packets are lost, and none leaves in plain."""
    host = lab.host("h1")
    pid = process_of(host)
    index = host.run(["cat", f"/sys/class/net/{tunnel(host)['link']}/ifindex"]).stdout
    host.run(["kill", "-9", str(pid)])
    wait_for(lambda: ping(host, "c", address_of(rows["h2"])), 10, "packets pass again")
    assert process_of(host) != pid
    assert host.run(["cat", f"/sys/class/net/{tunnel(host)['link']}/ifindex"]).stdout == index
    wait_for(settled(host), 5, "nothing is left to do")


@pytest.mark.parametrize("what", ["peer", "allowed", "port", "key", "link", "mtu"])
def test_what_somebody_changes_is_repaired(lab: Lab, rows: dict[str, Any], what: str) -> None:
    host = lab.host("h1")
    link, peer = tunnel(host)["link"], tunnel(lab.host("h2"))["public_key"]
    host.run(
        {
            "peer": ["wg", "set", link, "peer", peer, "remove"],
            "allowed": ["wg", "set", link, "peer", peer, "allowed-ips", "10.99.0.0/16"],
            "port": ["wg", "set", link, "listen-port", "5555"],
            "key": ["sh", "-c", f"wg genkey | wg set {link} private-key /dev/stdin"],
            "link": ["ip", "link", "del", link],
            "mtu": ["ip", "link", "set", link, "mtu", "1300"],
        }[what]
    )
    reconcile(host)
    assert wefted(host, "plan") == {"changes": []}
    wait_for(lambda: ping(host, "c", address_of(rows["h2"])), 10, "packets pass")
    assert peer in host.run(["wg", "show", link, "peers"]).stdout


def test_where_a_peer_answers_from_is_its_own_affair(lab: Lab, rows: dict[str, Any]) -> None:
    """A peer behind a router that translates has another address and port than it was said to have."""
    host = lab.host("h1")
    link, peer = tunnel(host)["link"], tunnel(lab.host("h3"))["public_key"]
    host.run(["wg", "set", link, "peer", peer, "endpoint", "192.168.50.77:4242"])
    reconcile(host)
    assert f"{peer}\t192.168.50.77:4242" in host.run(["wg", "show", link, "endpoints"]).stdout
    wait_for(lambda: ping(lab.host("h3"), "c", address_of(rows["h1"])), 30, "it says where it is by speaking")
    assert f"{peer}\t{lab.host('h3').address}:" in host.run(["wg", "show", link, "endpoints"]).stdout


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "announces no WireGuard key"),
        ("nonsense", "announces as its WireGuard key is none"),
        (None, "our own WireGuard key"),
    ],
)
def test_a_wrong_key_in_a_lease_is_told(lab: Lab, rows: dict[str, Any], key: str | None, reason: str) -> None:
    host = lab.host("h1")
    told = tunnel(host)["public_key"] if key is None else key
    data = (("public_key", told),) if told else ()
    block = ip_network("10.64.200.0/24")
    lease = Lease(network="sealed", block=block, node="nobody", underlay=(ip_address("192.168.50.9"),), data=data)
    record = "/wefted/leases/sealed/10.64.200.0-24"
    etcdctl(host, store_of(host), "put", record, codec.dumps(lease).decode())
    try:
        wait_for(lambda: reason in str(wefted(host, "status")["unreachable"]), 5, "status says why")
        assert "10.64.200.0/24" not in host.run(["wg", "show", "all", "allowed-ips"]).stdout
        assert ping(host, "c", address_of(rows["h2"]))
    finally:
        etcdctl(host, store_of(host), "del", record)
    wait_for(lambda: not wefted(host, "status")["unreachable"], 5, "it is forgotten")


def leftovers(host: Host) -> list[str]:
    """Return what is left of WireGuard on a host: links, processes, sockets, files."""
    links = [link["ifname"] for link in json.loads(host.run(["ip", "-j", "link"]).stdout) if link["ifname"][:3] == "vx-"]
    processes = host.run(["sh", "-c", "pgrep -x wireguard-go"], check=False).stdout.split()
    files = host.run(["sh", "-c", "ls -d /run/wireguard/* /run/wefted/wireguard"], check=False).stdout.split()
    return [*links, *processes, *files]


def test_uninstall_leaves_nothing(lab: Lab, rows: dict[str, Any]) -> None:
    host = lab.host("h3")
    assert leftovers(host)
    host.run(["wefted", "uninstall", "--yes"])
    assert leftovers(host) == []
    assert host.run(["ls", "/var/lib/wefted"], check=False).stdout == ""


def test_removing_the_network_leaves_nothing(lab: Lab, rows: dict[str, Any]) -> None:
    hosts = [lab.host("h1"), lab.host("h2")]
    for host in hosts:
        wefted(host, "network", "disconnect", "sealed", "netns:c")
    wefted(hosts[0], "network", "rm", "sealed")
    for host in hosts:
        wait_for(lambda: leftovers(host) == [], 5, f"{host.name} has nothing left: {leftovers(host)}")  # noqa: B023
