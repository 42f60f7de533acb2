"""Names on two hosts: found by programs without a setting, over UDP and TCP, without the store, after a restart."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

OWN = "127.0.0.77"
ASK = """
import json, sys, dns.message, dns.query, dns.rcode
server, name, kind, way = sys.argv[1:]
found = getattr(dns.query, way)(dns.message.make_query(name, kind), server, timeout=5)
print(json.dumps([dns.rcode.to_text(found.rcode()), sorted(r.to_text() for s in found.answer for r in s)]))
"""
ELSEWHERE = """
import socket, sys, dns.message, dns.rrset
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    wire, source = server.recvfrom(4096)
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "198.51.100.7"))
    server.sendto(answer.to_wire(), source)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Network red over both hosts, with c1 on h1 (alias db, port 80 published) and c2 on h2."""
    with Lab.up(lab_name("names"), 2) as made:
        h1, h2 = made.host("h1"), made.host("h2")
        wefted(h1, "network", "create", "red", "--backend", "vxlan", "--ipv6")
        wefted(h1, "network", "connect", "red", container(h1, "c1"), "--alias", "db", "--publish", "8080:80")
        wefted(h2, "network", "connect", "red", container(h2, "c2"))
        wait_for(lambda: getent(h1, "c1", "c2") != [], 5, "the name of the other host's container")
        yield made


def inside(host: Host, name: str, *words: str) -> Any:
    return host.run(["ip", "netns", "exec", name, *words], check=False)


def getent(host: Host, name: str, asked: str, database: str = "ahostsv4") -> list[str]:
    """Return the addresses that the C library of a container finds."""
    lines = inside(host, name, "getent", database, asked).stdout.splitlines()
    return sorted({line.split()[0] for line in lines})


def ask(host: Host, name: str, kind: str = "A", server: str = OWN, way: str = "udp") -> tuple[str, list[str]]:
    code, records = json.loads(host.run([sys.executable, "-c", ASK, server, name, kind, way]).stdout)
    return code, records


def row(host: Host, name: str) -> dict[str, Any]:
    return next(r for r in wefted(host, "ps") if r["container"] == f"netns:{name}" and r["network"] == "red")


@pytest.mark.parametrize("asked", ["c2", "C2", "c2.red.weft.internal", "c2.weft.internal"])
@pytest.mark.parametrize(("database", "version"), [("ahostsv4", 4), ("ahostsv6", 6)])
def test_a_program_finds_the_other_hosts_container(lab: Lab, asked: str, database: str, version: int) -> None:
    h1 = lab.host("h1")
    assert getent(h1, "c1", asked, database) == [address_of(row(h1, "c2"), version)]


def test_an_alias_and_the_way_back(lab: Lab) -> None:
    h2 = lab.host("h2")
    address = address_of(row(h2, "c1"))
    wait_for(lambda: getent(h2, "c2", "db") == [address], 5, "the alias")
    assert "c1.red.weft.internal" in inside(h2, "c2", "getent", "hosts", address).stdout


@pytest.mark.parametrize("way", ["udp", "tcp"])
@pytest.mark.parametrize("from_inside", [False, True])
def test_the_answers(lab: Lab, way: str, from_inside: bool) -> None:
    h1 = lab.host("h1")
    gateway = row(h1, "c1")["gateways"][0]
    server = gateway if from_inside else OWN
    assert ask(h1, "c1", "A", server, way) == ("NOERROR", [address_of(row(h1, "c1"))])
    assert ask(h1, "c1", "MX", server, way) == ("NOERROR", [])
    assert ask(h1, "nobody", "A", server, way) == ("NXDOMAIN", [])
    assert ask(h1, "_80._tcp.c1.weft.internal", "SRV", server, way) == ("NOERROR", ["0 0 80 c1.weft.internal."])


def test_the_command_says_the_same(lab: Lab) -> None:
    h1 = lab.host("h1")
    assert wefted(h1, "dns", "lookup", "c2")["addresses"] == [a.split("/")[0] for a in row(h1, "c2")["addresses"]]
    assert {r["container"] for r in wefted(h1, "dns", "ls")} == {"netns:c1", "netns:c2"}
    missing = wefted(h1, "dns", "lookup", "nobody", check=False)
    assert (missing.returncode, "there is no name nobody.weft.internal" in missing.stderr) == (2, True)


def test_other_names_are_asked_elsewhere(lab: Lab) -> None:
    h1 = lab.host("h1")
    (h1.root / "etc/resolv.conf").write_text("nameserver 127.0.0.5\n")
    server = h1.popen([sys.executable, "-c", ELSEWHERE, "127.0.0.5"], stdout=-1)
    try:
        assert server.stdout.readline() == b"ready\n"
        wait_for(lambda: getent(h1, "c1", "www.example.com") == ["198.51.100.7"], 5, "an answer of the other server")
    finally:
        server.kill()
        server.wait()
    assert getent(h1, "c1", "c2") == [address_of(row(h1, "c2"))], "our names need no other server"


def test_names_come_and_go_with_their_container(lab: Lab) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    address = address_of(row(h1, "c2"))
    h2.run(["ip", "netns", "del", "c2"])
    wait_for(lambda: ask(h1, "c2") == ("NXDOMAIN", []), 3, "the end of the name")
    h2.run(["ip", "netns", "add", "c2"])
    wait_for(lambda: ask(h1, "c2") == ("NOERROR", [address]), 3, "the name again")
    wait_for(lambda: getent(h2, "c2", "c1") != [], 3, "the resolver of the container that is back")


def test_life_without_the_store(lab: Lab) -> None:
    h1 = lab.host("h1")
    lab.cut("etcd")
    try:
        wefted(h1, "network", "connect", "red", container(h1, "c3"))
        wait_for(lambda: getent(h1, "c3", "c2") == [address_of(row(h1, "c2"))], 2, "the other host's name")
        wait_for(lambda: getent(h1, "c1", "c3") == [address_of(row(h1, "c3"))], 2, "the new name")
    finally:
        lab.heal("etcd")
    wait_for(lambda: ask(lab.host("h2"), "c3")[0] == "NOERROR", 5, "the name on the other host")


def test_the_agents_next_start_knows_all_names(lab: Lab) -> None:
    h1 = lab.host("h1")
    wefted(h1, "down")
    assert {"netns:c1", "netns:c2"} <= {r["container"] for r in wefted(h1, "dns", "ls")}
    wefted(h1, "up")
    wait_for(lambda: getent(h1, "c1", "c2") != [], 3, "names after the start")


def test_a_detached_container_leaves_no_file_and_a_foreign_one_stays(lab: Lab) -> None:
    h1 = lab.host("h1")
    place = h1.root / "etc/netns"
    for name, content in (("c4", None), ("c5", "nameserver 192.0.2.1\n")):
        spec = container(h1, name)
        if content:
            (place / name).mkdir(parents=True)
            (place / name / "resolv.conf").write_text(content)
        wefted(h1, "network", "connect", "red", spec)
    wait_for((place / "c4/resolv.conf").exists, 2, "the file")
    for name in ("c4", "c5"):
        wefted(h1, "network", "disconnect", "red", f"netns:{name}")
    wait_for(lambda: not (place / "c4").exists(), 2, "its end")
    assert (place / "c5/resolv.conf").read_text() == "nameserver 192.0.2.1\n"


def test_a_port_in_use_is_told_and_the_agent_goes_on(lab: Lab) -> None:
    h2 = lab.host("h2")
    wefted(h2, "down")
    other = h2.popen([sys.executable, "-c", ELSEWHERE, "0.0.0.0"], stdout=-1)
    try:
        assert other.stdout.readline() == b"ready\n"
        wefted(h2, "up")
        wait_for(lambda: "Address already in use" in wefted(h2, "status")["dns"]["error"], 5, "the reason")
        shown: Path = h2.root / "etc/netns/c2/resolv.conf"
        gateway = next(g for g in row(h2, "c2")["gateways"] if "." in g)
        assert f"nameserver {gateway}\n" not in shown.read_text()
        assert wefted(h2, "status")["dns"]["address"] is None
    finally:
        other.kill()
        other.wait()
    wait_for(lambda: wefted(h2, "status")["dns"]["error"] == "", 8, "the port, once it is free")
    assert getent(h2, "c2", "c1") == [address_of(row(h2, "c1"))]
