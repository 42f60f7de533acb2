"""The zone: which names an endpoint has, and that putting and taking leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.network import Endpoint, PortMapping
from wefted.model.objects import Netns
from wefted.services.dns.zone import Zone, folded, member, valid

WEB = Endpoint(
    network="Blue",
    container="netns:Web",
    ns=Netns("/run/netns/Web"),
    addresses=(ip_interface("10.20.0.2/24"), ip_interface("fd20::2/64")),
    aliases=("www", "Api.v2"),
    ports=(PortMapping(host_port=8080, port=80), PortMapping(host_port=5353, port=53, protocol="udp")),
)
GREEN = replace(WEB, network="green", addresses=(ip_interface("10.30.0.2/24"),), ports=())
NAMES = ("web", "www", "api.v2")


def zone(**endpoints: Endpoint) -> Zone:
    made = Zone("weft.internal")
    for key, endpoint in endpoints.items():
        made.put(key, endpoint)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_name_and_aliases_are_in_their_network_and_in_the_domain(name: str) -> None:
    made = zone(a=WEB, b=GREEN)
    blue, green = [i.ip for i in WEB.addresses], [i.ip for i in GREEN.addresses]
    assert made.addresses(f"{name}.blue.weft.internal") == blue
    assert made.addresses(f"{name}.green.weft.internal") == green
    assert sorted(map(str, made.addresses(f"{name}.weft.internal"))) == sorted(map(str, blue + green))


def test_an_address_has_the_name_in_its_network() -> None:
    made = zone(a=WEB, b=GREEN)
    assert made.names_of(ip_address("10.20.0.2")) == made.names_of(ip_address("fd20::2")) == ["web.blue.weft.internal"]
    assert made.names_of(ip_address("10.30.0.2")) == ["web.green.weft.internal"]
    assert made.names_of(ip_address("10.9.9.9")) == []


@pytest.mark.parametrize(
    ("asked", "ports"),
    [
        ("_80._tcp.web.weft.internal", [80]),
        ("_tcp.www.blue.weft.internal", [80]),
        ("_udp.web.weft.internal", [53]),
        ("_81._tcp.web.weft.internal", []),
        ("_53._tcp.web.weft.internal", []),
        ("_tcp.web.green.weft.internal", []),
        ("web.weft.internal", []),
    ],
)
def test_published_ports_are_services(asked: str, ports: list[int]) -> None:
    made = zone(a=WEB, b=GREEN)
    found = made.services(asked)
    assert [service.port for service in found] == ports
    assert all(asked.endswith(service.target) for service in found)


def test_what_is_above_a_name_exists_too() -> None:
    made = zone(a=WEB)
    for name in ("weft.internal", "blue.weft.internal", "v2.blue.weft.internal", "_tcp.web.weft.internal"):
        assert made.exists(name), name
    for name in ("green.weft.internal", "x.web.weft.internal", "internal", "xweft.internal"):
        assert not made.exists(name), name


@pytest.mark.parametrize(
    "other",
    [
        replace(WEB, ns=Netns("")),
        replace(WEB, addresses=()),
        replace(WEB, container="path:/proc/7/ns/net", aliases=()),
        replace(WEB, container=f"netns:{'x' * 64}", aliases=()),
    ],
    ids=["gone", "without address", "path", "too long"],
)
def test_some_endpoints_have_no_names(other: Endpoint) -> None:
    assert member(other, "weft.internal") is None
    made = zone(a=WEB)
    made.put("a", other)
    assert len(made) == 0
    assert not made.exists("blue.weft.internal")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, WEB, GREEN, replace(WEB, aliases=("other",))]))))
def test_step_by_step_is_the_same_as_from_the_beginning(steps: list[tuple[str, Endpoint | None]]) -> None:
    """A model: what was put last for each key, and nothing else."""
    grown = Zone("weft.internal")
    last: dict[str, Endpoint | None] = {}
    for key, endpoint in steps:
        grown.put(key, endpoint)
        last[key] = endpoint
    fresh = zone(**{key: endpoint for key, endpoint in last.items() if endpoint is not None})
    assert grown.members == fresh.members
    assert {n: set(m) for n, m in grown._named.items()} == {n: set(m) for n, m in fresh._named.items()}
    assert {a: set(m) for a, m in grown._at.items()} == {a: set(m) for a, m in fresh._at.items()}
    assert grown._branches == fresh._branches


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("a_b.c-d", True), ("", False), ("a..b", False), ("-a", False), ("a/b", False)],
)
def test_what_can_be_asked_for(name: str, good: bool) -> None:
    assert valid(folded(name)) is good
