"""Containers in the LAN of a host's link, and the host itself: they reach each other by the shim, and nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted

pytestmark = pytest.mark.lab

OWN = {4: "192.168.50.1", 6: "2001:db8:50::1"}
OTHER = {4: "192.168.50.2", 6: "2001:db8:50::2"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("shim"), 2) as up:
        for number, name in enumerate(("h1", "h2"), 1):
            up.host(name).run(["ip", "address", "add", f"2001:db8:50::{number}/64", "dev", "eth0", "nodad"])
        yield up


@pytest.fixture
def lan(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A network in the LAN of eth0, and its removal."""
    name = f"lan{abs(hash(request.node.name)) % 10**6}"
    subnets = (
        "--subnet",
        "192.168.50.0/24",
        "--ip-range",
        "192.168.50.128/25",
        "--subnet",
        "2001:db8:50::/64",
        "--ip-range",
        "2001:db8:50::8000/113",
    )
    options = ("-o", "parent=eth0", "-o", "host_access=on")
    wefted(lab.host("h1"), "network", "create", name, "--driver", "macvlan", *subnets, *options)
    yield name
    for row in wefted(lab.host("h1"), "ps"):
        wefted(lab.host("h1"), "network", "disconnect", name, row["container"])
    wefted(lab.host("h1"), "network", "rm", name)


def hears(host: Host, address: str) -> bool:
    return host.run(["ping", "-n", "-c1", "-W2", address], check=False).returncode == 0


def shown(host: Host, *words: str) -> Any:
    return json.loads(host.run(["ip", "-j", *words]).stdout or "[]")


def shims(host: Host) -> list[str]:
    return [link["ifname"] for link in shown(host, "link") if link["ifname"].startswith("sh-")]


def mac(host: Host, link: str) -> str:
    return str(shown(host, "link", "show", "dev", link)[0]["address"])


@pytest.mark.parametrize("version", [4, 6])
def test_host_and_containers_reach_each_other(lab: Lab, lan: str, version: int) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")
    rows = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"), container(h1, f"{lan}b"))
    first, second = (address_of(row, version) for row in rows)
    assert hears(h1, first)
    assert ping(h1, f"{lan}a", OWN[version])
    assert ping(h1, f"{lan}b", OWN[version])
    assert ping(h1, f"{lan}a", second)
    assert ping(h1, f"{lan}a", OTHER[version])
    assert hears(h2, first)
    assert wefted(h1, "plan") == {"changes": []}


def test_the_host_asks_from_its_own_address(lab: Lab, lan: str) -> None:
    h1 = lab.host("h1")
    row = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"))[0]
    for version in (4, 6):
        route = shown(h1, "route", "get", address_of(row, version))[0]
        assert (route["dev"], route["prefsrc"]) == (shims(h1)[0], OWN[version])


@pytest.mark.parametrize("version", [4, 6])
def test_the_lan_knows_one_mac_for_the_host(lab: Lab, lan: str, version: int) -> None:
    h1, h2 = lab.host("h1"), lab.host("h2")

    def known() -> str:
        return next(n["lladdr"] for n in shown(h2, "neighbor", "show", "dev", "eth0") if n["dst"] == OWN[version])

    assert hears(h2, OWN[version])
    row = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"))[0]
    assert hears(h1, address_of(row, version))
    assert ping(h1, f"{lan}a", OWN[version])
    assert known() == mac(h1, "eth0")
    for _ in range(3):
        h2.run(["ip", "neighbor", "flush", "dev", "eth0"])
        assert hears(h2, OWN[version])
        assert known() == mac(h1, "eth0")


def test_it_goes_with_the_last_container(lab: Lab, lan: str) -> None:
    h1 = lab.host("h1")
    before = shown(h1, "address")
    rows = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"), container(h1, f"{lan}b"))
    wefted(h1, "network", "disconnect", lan, f"netns:{lan}a")
    assert len(shims(h1)) == 1
    assert hears(h1, address_of(rows[1]))
    assert wefted(h1, "plan") == {"changes": []}
    wefted(h1, "network", "disconnect", lan, f"netns:{lan}b")
    assert shown(h1, "address") == before
    assert wefted(h1, "plan") == {"changes": []}


def test_it_comes_back_when_somebody_deletes_it(lab: Lab, lan: str) -> None:
    h1 = lab.host("h1")
    row = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"))[0]
    h1.run(["ip", "link", "del", shims(h1)[0]])
    for version in (4, 6):
        wait_for(lambda v=version: hears(h1, address_of(row, v)), 10, "the host reaches the container again")
    wait_for(lambda: wefted(h1, "plan") == {"changes": []}, 10, "nothing left to do")


def test_it_follows_the_address_of_the_parent(lab: Lab, lan: str) -> None:
    h1 = lab.host("h1")
    row = wefted(h1, "network", "connect", lan, container(h1, f"{lan}a"))[0]
    moves = (("192.168.50.1/24", "192.168.50.99/24"), ("2001:db8:50::1/64", "2001:db8:50::99/64"))
    for old, new in moves:
        h1.run(["ip", "address", "del", old, "dev", "eth0"])
        h1.run(["ip", "address", "add", new, "dev", "eth0", "nodad"])
    try:
        wefted(h1, "apply")
        for version, (_, new) in zip((4, 6), moves, strict=True):
            assert shown(h1, "route", "get", address_of(row, version))[0]["prefsrc"] == new.split("/")[0]
            assert hears(h1, address_of(row, version))
            assert ping(h1, f"{lan}a", new.split("/")[0])
        assert wefted(h1, "plan") == {"changes": []}
    finally:
        for old, new in moves:
            h1.run(["ip", "address", "del", new, "dev", "eth0"])
            h1.run(["ip", "address", "add", old, "dev", "eth0", "nodad"])


def test_a_host_outside_the_containers_subnet_is_reached_too(lab: Lab) -> None:
    h1 = lab.host("h1")
    options = ("-o", "parent=eth0", "-o", "host_access=on")
    wefted(h1, "network", "create", "far", "--driver", "macvlan", "--subnet", "10.87.0.0/24", "--internal", *options)
    row = wefted(h1, "network", "connect", "far", container(h1, "far1"))[0]
    assert ping(h1, "far1", OWN[4])
    assert hears(h1, address_of(row))
    assert wefted(h1, "plan") == {"changes": []}
    wefted(h1, "network", "disconnect", "far", "netns:far1")
    assert shims(h1) == []


def test_modes_in_which_nobody_is_reached_are_refused(lab: Lab) -> None:
    words = ("--driver", "macvlan", "-o", "parent=eth0", "-o", "host_access=on", "-o", "mode=private")
    refused = wefted(lab.host("h1"), "network", "create", "no", *words, check=False)
    assert refused.returncode == 2
    assert "in mode private host and containers do not reach each other" in refused.stderr
