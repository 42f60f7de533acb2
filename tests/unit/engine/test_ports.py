"""The table of published ports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cluster import members

ALL = ["host", "others", "containers"]


@pytest.mark.parametrize(
    ("port", "ipv6", "places"),
    [
        ("80:80", False, ALL),
        ("192.168.50.1:80:80/udp", False, ALL),
        ("127.0.0.1:80:80", True, ["host"]),
        ("[::1]:80:80", True, []),
        ("[fd00::1]:80:80", True, ALL),
        ("[fd00::1]:80:80", False, []),
    ],
)
async def test_from_where_a_port_is_reachable(port: str, ipv6: bool, places: list[str]) -> None:
    (host,) = await members(1)
    await host.call("network.create", name="net", ipv6=ipv6)
    await host.call("network.connect", network="net", containers=[host.add("c1")], publish=[port])
    (row,) = await host.call("endpoint.ports")
    assert row["reachable_from"] == places
    host.remove("c1")
    await host.settle()
    assert (await host.call("endpoint.ports"))[0]["reachable_from"] == [], "the container is gone"


async def test_ports_of_all_hosts_in_order() -> None:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan")
    for host, ports in ((b, ["80:8080"]), (a, ["443:443", "53:53/udp"])):
        await host.call("network.connect", network="net", containers=[host.add("c1")], publish=ports)
    rows = await a.call("endpoint.ports")
    assert [(row["host"], row["host_port"], row["port"]) for row in rows] == [
        ("h1", 53, 53),
        ("h1", 443, 443),
        ("h2", 80, 8080),
    ]


async def test_who_else_decides_is_told_of_this_host_only() -> None:
    a, b = await members(2)
    a.kernel.facts = replace(a.kernel.facts, input_filter="inet firewalld filter_INPUT", unfollowed=("x handle 1",))
    await a.call("network.create", name="net", backend="vxlan")
    for host in (a, b):
        await host.call("network.connect", network="net", containers=[host.add("c1")], publish=["80:80"])
    mine, theirs = await a.call("endpoint.ports")
    assert (mine["filtered_by"], mine["unfollowed"]) == (["inet firewalld filter_INPUT"], ["x handle 1"])
    assert (theirs["filtered_by"], theirs["unfollowed"]) == (None, None)
