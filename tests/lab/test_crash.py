"""kill -9 after every single kernel change of an attach and of a detach: nothing leaks, and the work is completed or undone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.engine.places import ROOM
from wefted.lab.agents import answers
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(480)]

MOST = 40


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab.up(lab_name("crash"), 1) as lab:
        h1 = lab.host("h1")
        wefted(h1, "network", "create", "net", "--backend", "vxlan")
        wefted(h1, "network", "connect", "net", container(h1, "steady"))
        container(h1, "c1")
        yield h1


def ours(host: Host) -> dict[str, set[str]]:
    """Return what the host's kernel and records hold of us: links, bridge ports, addresses, elements, blocks, endpoints."""
    links = json.loads(host.run(["ip", "-j", "-d", "link"]).stdout)
    addresses = json.loads(host.run(["ip", "-j", "addr"]).stdout)
    return {
        "links": {link["ifname"] for link in links},
        "addresses": {
            f"{a['local']}%{link['ifname']}" for link in addresses for a in link["addr_info"] if a["scope"] == "global"
        },
        "ports": set(host.run(["nft", "list", "map", "inet", "wefted", "published_any4"]).stdout.split()),
        "blocks": set(wefted(host, "network", "ls")[0]["blocks"]),
        "endpoints": {row["container"] for row in wefted(host, "ps")},
    }


def crash(host: Host, position: int, *words: str) -> bool:
    """Run a command against an agent that dies after so many kernel changes; tell whether it died."""
    wefted(host, "down")
    host.run(["env", f"WEFTED_FAULT_KILL_AFTER={position}", "wefted", "up"])
    done = wefted(host, *words, check=False)
    died = done.returncode != 0
    assert not died or done.returncode == 3, done.stderr
    if died:  # a process that was killed may still hold its socket for a moment
        wait_for(lambda: not answers(host), 5, "the dead agent is gone")
    steady = next(r for r in wefted(host, "ps") if r["container"] == "netns:steady")
    assert ping(host, "steady", address_of(steady).rsplit(".", 1)[0] + ".1"), "traffic of the others goes on"
    if not died:
        wefted(host, "down")
    wefted(host, "up")
    return died


def test_attach_and_detach_survive_kill_at_every_position(host: Host) -> None:
    before = ours(host)
    attach = ["network", "connect", "net", "netns:c1", "--publish", "8080:80"]
    positions = 0
    for position in range(1, MOST):
        died = crash(host, position, *attach)
        positions = position
        after = ours(host)
        if "netns:c1" in after["endpoints"]:
            row = next(r for r in wefted(host, "ps") if r["container"] == "netns:c1")
            assert row["state"] == "up"
            assert ping(host, "c1", address_of(row).rsplit(".", 1)[0] + ".1"), "the attach was completed"
            assert after["links"] - before["links"] == {link for link in after["links"] if link not in before["links"]}
            assert len(after["links"]) == len(before["links"]) + 1
            crash(host, position, "network", "disconnect", "net", "netns:c1")
            wait_for(lambda: _settled(host), 3, "the detach is complete or undone")
            if any(r["container"] == "netns:c1" for r in wefted(host, "ps")):
                wefted(host, "network", "disconnect", "net", "netns:c1")
        assert ours(host) == before, f"after a crash at position {position}"
        assert wefted(host, "plan")["changes"] == []
        if not died:
            break
    assert positions >= 6, "an attach is more than five changes"
    assert positions < MOST - 1, "and ends"


def _settled(host: Host) -> bool:
    return wefted(host, "plan")["changes"] == []


@pytest.fixture(scope="module")
def full() -> Iterator[Host]:
    """A host by itself, with its records in a file, whose network has no place left in its first bridge."""
    with Lab.up(lab_name("spill"), 1, bare=True) as lab:
        h1 = lab.host("h1")
        h1.run(["wefted", "up"])
        wefted(h1, "network", "create", "net", "--subnet", "10.74.0.0/16")
        names = ["steady", *(f"f{number}" for number in range(1, ROOM))]
        h1.run(["ip", "-batch", "-"], input="\n".join(f"netns add {name}" for name in names))
        h1.run(["wefted", "network", "connect", "net", "-"], input="\n".join(f"netns:{name}" for name in names))
        container(h1, "c1")
        yield h1


def test_a_further_bridge_survives_kill_while_it_is_made_and_removed(full: Host) -> None:
    before = ours_without_ports(full)
    died, position = True, 0
    while died and position < MOST:
        position += 1
        died = crash(full, position, "network", "connect", "net", "netns:c1")
        after = ours_without_ports(full)
        if "netns:c1" in after["endpoints"]:
            assert ping(full, "c1", "10.74.0.1"), "the attach was completed"
            assert len(after["links"] - before["links"]) == 4, "a bridge, a pair that joins it, a veth"
            if position % 3 == 0:
                crash(full, position, "network", "disconnect", "net", "netns:c1")
                wait_for(lambda: _settled(full), 3, "the detach is complete or undone")
            wefted(full, "network", "disconnect", "net", "netns:c1", check=False)
        assert ours_without_ports(full) == before, f"after a crash at position {position}"
        assert wefted(full, "plan")["changes"] == []
    assert 10 <= position < MOST, "a further bridge is more than nine changes"


def ours_without_ports(host: Host) -> dict[str, set[str]]:
    """Return the same as `ours`; no firewall map is there while nothing is published."""
    links = {link["ifname"] for link in json.loads(host.run(["ip", "-j", "link"]).stdout)}
    return {"links": links, "endpoints": {row["container"] for row in wefted(host, "ps")}}
