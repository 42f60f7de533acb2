"""The grammar of what people type: what it means, and messages that quote it, say what is wrong and give an example."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.network import PortMapping, StaticRoute

PARSERS: list[Callable[[str], Any]] = [
    spec.container,
    spec.network_name,
    spec.interface_name,
    spec.alias,
    spec.mac,
    spec.ports,
    spec.subnet,
    spec.address,
    spec.route,
    spec.pair,
    spec.mtu,
    spec.duration,
]


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("web1", "", "web1"),
        ("netns:c1", "netns", "c1"),
        ("docker:web_1.x", "docker", "web_1.x"),
        ("pid:4242", "pid", "4242"),
        ("path:/proc/4242/ns/net", "path", "/proc/4242/ns/net"),
        ("path:/var/run/a b:c", "path", "/var/run/a b:c"),
    ],
)
def test_containers(text: str, kind: str, name: str) -> None:
    assert spec.container(text) == spec.ContainerSpec(kind, name)
    assert str(spec.container(text)) == text


@pytest.mark.parametrize(
    ("parse", "text", "meaning"),
    [
        (spec.network_name, "site.prod-1_x", "site.prod-1_x"),
        (spec.network_name, "a" * 63, "a" * 63),
        (spec.interface_name, "eth0.100", "eth0.100"),
        (spec.interface_name, "x" * 15, "x" * 15),
        (spec.alias, "API.Web", "api.web"),
        (spec.mac, "02-42-0A-09-00-05", "02:42:0a:09:00:05"),
        (spec.subnet, "10.9.0.0/16", ip_network("10.9.0.0/16")),
        (spec.subnet, "fd77:9::/64", ip_network("fd77:9::/64")),
        (spec.address, "10.9.0.5", ip_address("10.9.0.5")),
        (spec.route, "10.0.0.0/8", StaticRoute(destination=ip_network("10.0.0.0/8"))),
        (spec.route, "10.1.2.3@10.9.0.1", StaticRoute(destination=ip_network("10.1.2.3/32"), via=ip_address("10.9.0.1"))),
        (spec.route, "default@10.9.0.1", StaticRoute(destination=ip_network("0.0.0.0/0"), via=ip_address("10.9.0.1"))),
        (spec.route, "default@fd77::1", StaticRoute(destination=ip_network("::/0"), via=ip_address("fd77::1"))),
        (spec.pair, "a=b=c", ("a", "b=c")),
        (spec.pair, "com.example.x=", ("com.example.x", "")),
        (spec.mtu, "1450", 1450),
        (spec.duration, "90", 90.0),
        (spec.duration, "1h30m", 5400.0),
        (spec.duration, "1.5s", 1.5),
        (spec.duration, "500ms", 0.5),
        (spec.duration, "2d", 172800.0),
        (spec.ports, "8080:80", (PortMapping(host_port=8080, port=80),)),
        (spec.ports, "0.0.0.0:8080:80", (PortMapping(host_port=8080, port=80),)),
        (spec.ports, "10.0.0.1:5:6/UDP", (PortMapping(host_port=5, port=6, protocol="udp", host_ip=ip_address("10.0.0.1")),)),
        (spec.ports, "[fd77::1]:1:2/sctp", (PortMapping(host_port=1, port=2, protocol="sctp", host_ip=ip_address("fd77::1")),)),
        (spec.ports, "1-2:8-9", (PortMapping(host_port=1, port=8), PortMapping(host_port=2, port=9))),
    ],
)  # fmt: skip
def test_meanings(parse: Callable[[str], Any], text: str, meaning: Any) -> None:
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("parse", "text", "why"),
    [
        (spec.container, "", "empty"),
        (spec.container, "dokcer:web", "no kind of container 'dokcer'"),
        (spec.container, "/proc/1/ns/net", "needs its kind, path:"),
        (spec.container, "path:proc/1", "absolute"),
        (spec.container, "path:/proc/../x", ". or .."),
        (spec.container, "path:/a\nb", "control characters"),
        (spec.container, "pid:0", "from 1 to 4194304"),
        (spec.container, "pid:4194305", "from 1 to 4194304"),
        (spec.container, "pid:१", "from 1 to 4194304"),
        (spec.container, "netns:a/b", "'/'"),
        (spec.container, "netns:..", "begin with"),
        (spec.container, "netns:$(reboot)", "'$'"),
        (spec.container, "docker:" + "a" * 129, "129 characters"),
        (spec.network_name, "", "empty"),
        (spec.network_name, "a;b", "';'"),
        (spec.network_name, "a b", "a space"),
        (spec.network_name, "a\nb", "a line break"),
        (spec.network_name, "a{b", "'{'"),
        (spec.network_name, 'a"b', "a double quote"),
        (spec.network_name, "../x", "'/'"),
        (spec.network_name, "é", "'é'"),
        (spec.network_name, "-a", "begin with a letter or a digit, not with '-'"),
        (spec.network_name, "a" * 64, "64 characters, at most 63"),
        (spec.network_name, "a\x1b", "U+001B"),
        (spec.interface_name, "", "empty"),
        (spec.interface_name, "..", "reserves"),
        (spec.interface_name, "eth0:1", "':'"),
        (spec.interface_name, "a/b", "'/'"),
        (spec.interface_name, "eth%d", "'%'"),
        (spec.interface_name, "x" * 16, "16 bytes, at most 15"),
        (spec.interface_name, "é" * 8, "16 bytes"),
        (spec.alias, "a_b", "'_'"),
        (spec.alias, "a..b", "empty label"),
        (spec.alias, "-a", "hyphen"),
        (spec.alias, "a" * 64, "1 to 63"),
        (spec.alias, "a." * 127 + "abc", "at most 253"),
        (spec.mac, "01:00:5e:00:00:01", "multicast"),
        (spec.mac, "ff:ff:ff:ff:ff:ff", "multicast"),
        (spec.mac, "00:00:00:00:00:00", "zero"),
        (spec.mac, "02:42:0a:09:00", "six pairs"),
        (spec.mac, "02:42:0a:09:00:zz", "six pairs"),
        (spec.ports, "80", "[IP:]HOST"),
        (spec.ports, "::1:80:80", "[IP:]HOST"),
        (spec.ports, "[::1:80:80", "[IP:]HOST"),
        (spec.ports, "[10.0.0.1]:80:80", "IPv6 addresses stand in brackets"),
        (spec.ports, "1.2.3:80:80", "'1.2.3' is not an IP address"),
        (spec.ports, "224.0.0.1:80:80", "not an address of this host"),
        (spec.ports, "0:80", "from 1 to 65535"),
        (spec.ports, "80:65536", "from 1 to 65535"),
        (spec.ports, "9" * 5000 + ":80", "from 1 to 65535"),
        (spec.ports, "1-3:5-6", "3 ports and the container's 2"),
        (spec.ports, "3-1:3-1", "backwards"),
        (spec.ports, "1-16385:1-16385", "16385 ports, at most 16384"),
        (spec.ports, "80:80/icmp", "tcp, udp, sctp"),
        (spec.subnet, "10.9.0.1/16", "the network is 10.9.0.0/16"),
        (spec.subnet, "10.9.0.0", "prefix length is missing"),
        (spec.subnet, "10.9.0.0/255.255.0.0", "after the slash stands a prefix length"),
        (spec.subnet, "10.9.0.0/33", "not an IP network"),
        (spec.subnet, "fe80::%1/64", "not an IP network"),
        (spec.subnet, "224.0.0.0/8", "cannot be given to containers"),
        (spec.subnet, "127.0.0.0/8", "cannot be given to containers"),
        (spec.subnet, "0.0.0.0/0", "cannot be given to containers"),
        (spec.subnet, "fe80::/64", "cannot be given to containers"),
        (spec.address, "10.9.0.5/16", "leave the prefix length out"),
        (spec.address, "10.9.0", "not an IP address"),
        (spec.address, "fe80::1%eth0", "not an IP address"),
        (spec.address, "224.0.0.1", "no unicast address"),
        (spec.address, "0.0.0.0", "no unicast address"),
        (spec.address, "127.0.0.1", "no unicast address"),
        (spec.address, "255.255.255.255", "no unicast address"),
        (spec.route, "10.0.0.1/8", "the network is 10.0.0.0/8"),
        (spec.route, "10.0.0.0/8@x", "'x': it is not an IP address"),
        (spec.route, "10.0.0.0/8@fd77::1", "IPv4 cannot go through an IPv6 address"),
        (spec.route, "ff00::/8", "multicast"),
        (spec.pair, "vni", "no equals sign"),
        (spec.pair, "=x", "its key"),
        (spec.pair, "a b=x", "its key"),
        (spec.pair, "a=b\0", "control characters"),
        (spec.mtu, "67", "from 68 to 65535"),
        (spec.mtu, "1e3", "from 68 to 65535"),
        (spec.mtu, "٣٠٠", "from 68 to 65535"),
        (spec.duration, "5x", "a number with"),
        (spec.duration, "-5", "a number with"),
        (spec.duration, "", "a number with"),
    ],
)
def test_refusals_quote_the_text_and_give_an_example(parse: Callable[[str], Any], text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert why in error.value.message
    quoted = spec._quote(text)
    assert quoted in error.value.message or quoted.strip("'")[:8] in error.value.message
    assert error.value.hint


def test_a_hint_is_itself_right() -> None:
    for parse in PARSERS:
        with pytest.raises(UsageError) as error:
            parse("\n")
        for example in error.value.hint.removeprefix("as in ").split(", "):
            parse(example)


def test_an_address_in_a_prefix() -> None:
    prefix = ip_network("10.9.0.0/16")
    assert spec.address_in("10.9.1.1", prefix) == ip_address("10.9.1.1")
    with pytest.raises(UsageError, match=r"'10\.8\.0\.1': it lies outside 10\.9\.0\.0/16"):
        spec.address_in("10.8.0.1", prefix)
    with pytest.raises(UsageError, match="lies outside"):
        spec.address_in("fd77::1", prefix)


def test_pairs_are_sorted_and_given_once() -> None:
    assert spec.pairs(["b=2", "a=1"]) == (("a", "1"), ("b", "2"))
    with pytest.raises(UsageError, match="a is given twice"):
        spec.pairs(["a=1", "a=2"])


@given(
    st.sampled_from(PARSERS),
    st.one_of(st.text(), st.text(alphabet="0123456789abcdef.:/-[]@=tcpudsmhethx \n%"), st.from_regex(r"[0-9.:/\-\[\]]*")),
)
def test_any_text_is_parsed_or_refused(parse: Callable[[str], Any], text: str) -> None:
    try:
        found = parse(text)
    except UsageError as error:
        found = str(error).encode()  # a message that no terminal could show would raise here
    assert found is not None


@given(st.text(max_size=80))
def test_a_network_name_means_nothing_to_anybody(text: str) -> None:
    try:
        name = spec.network_name(text)
    except UsageError:
        return
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert 1 <= len(name) <= 63


@given(
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.integers(0, 40),
    st.sampled_from(spec.PROTOCOLS),
    st.none() | st.ip_addresses(),
)
def test_a_mapping_is_printed_as_it_is_typed(host: int, port: int, more: int, protocol: str, ip: Any) -> None:
    more = min(more, 65535 - host, 65535 - port)
    mappings = [PortMapping(host_port=host + n, port=port + n, protocol=protocol, host_ip=ip) for n in range(more + 1)]
    if ip is not None and (ip.is_multicast or ip.is_unspecified):
        return
    prefix = str(mappings[0]).removesuffix(f"{host}:{port}/{protocol}")
    assert spec.ports(f"{prefix}{host}-{host + more}:{port}-{port + more}/{protocol}") == tuple(mappings)
    assert spec.ports(str(mappings[0])) == (mappings[0],)
