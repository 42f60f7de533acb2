"""What each driver makes on a host, as the lines that a plan shows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from wefted.drivers import DRIVERS, host_is_gateway
from wefted.model import naming
from wefted.model.link import Bridge, Link, LinkState, MovedLink, Veth
from wefted.model.network import PortMapping, StaticRoute
from wefted.model.objects import HOST

from .samples import HOST_1, endpoint, network, segment

BRIDGE_4 = """
link br-b055460a31fe type bridge address 02:83:bc:20:33:f2 mtu 1450
address 10.64.1.1/24 dev br-b055460a31fe
sysctl net/ipv4/conf/br-b055460a31fe/forwarding = 1
sysctl net/ipv4/conf/br-b055460a31fe/route_localnet = 1
sysctl net/ipv4/conf/eth0/forwarding = 1
link ve-47fba306ee57 type veth master br-b055460a31fe peer eth0 netns c1 mtu 1450
netns c1 set eth0 up address 02:77:0a:40:01:02 mtu 1450
netns c1 set lo up
netns c1 address 10.64.1.2/24 dev eth0
netns c1 route default via 10.64.1.1 dev eth0
"""
BRIDGE_6 = """
link br-b055460a31fe type bridge address 02:83:bc:20:33:f2 mtu 1450
address fd64:0:0:1::1/64 dev br-b055460a31fe
address fe80::f0d0:a07:4fe/64 dev br-b055460a31fe
sysctl net/ipv6/conf/all/forwarding = 1
link ve-47fba306ee57 type veth master br-b055460a31fe peer eth0 netns c1 mtu 1450
netns c1 set eth0 up address 02:77:0a:40:01:02 mtu 1450
netns c1 set lo up
netns c1 address fd64:0:0:1::2/64 dev eth0
netns c1 -6 route default via fd64:0:0:1::1 dev eth0
"""
BRIDGE_FURTHER = """
link br-b055460a31fe type bridge address 02:83:bc:20:33:f2 mtu 1450
address 10.64.1.1/24 dev br-b055460a31fe
sysctl net/ipv4/conf/br-b055460a31fe/forwarding = 1
sysctl net/ipv4/conf/br-b055460a31fe/route_localnet = 1
sysctl net/ipv4/conf/eth0/forwarding = 1
link BX type bridge address MAC mtu 1450
sysctl net/ipv4/conf/BX/arp_ignore = 8
sysctl net/ipv6/conf/BX/disable_ipv6 = 1
link JA type veth master br-b055460a31fe peer JB netns host mtu 1450
set JB up master BX mtu 1450
link ve-47fba306ee57 type veth master BX peer eth0 netns c1 mtu 1450
netns c1 set eth0 up address 02:77:0a:40:01:02 mtu 1450
netns c1 set lo up
netns c1 address 10.64.1.2/24 dev eth0
netns c1 route default via 10.64.1.1 dev eth0
"""
PTP_4 = """
sysctl net/ipv4/conf/eth0/forwarding = 1
link ve-47fba306ee57 type veth peer eth0 netns c1 mtu 1450
sysctl net/ipv4/conf/ve-47fba306ee57/forwarding = 1
sysctl net/ipv4/conf/ve-47fba306ee57/route_localnet = 1
address 10.64.1.1/32 dev ve-47fba306ee57
route 10.64.1.2/32 dev ve-47fba306ee57
netns c1 set eth0 up address 02:77:0a:40:01:02 mtu 1450
netns c1 route 10.64.1.1/32 dev eth0
netns c1 set lo up
netns c1 address 10.64.1.2/32 dev eth0
netns c1 route default via 10.64.1.1 dev eth0 onlink
"""
PTP_6 = """
sysctl net/ipv6/conf/all/forwarding = 1
link ve-47fba306ee57 type veth peer eth0 netns c1 mtu 1450
address fe80::f0d0:a07:4fe/64 dev ve-47fba306ee57
address fd64:0:0:1::1/128 dev ve-47fba306ee57
-6 route fd64:0:0:1::2/128 dev ve-47fba306ee57
netns c1 set eth0 up address 02:77:0a:40:01:02 mtu 1450
netns c1 -6 route fd64:0:0:1::1/128 dev eth0
netns c1 set lo up
netns c1 address fd64:0:0:1::2/128 dev eth0
netns c1 -6 route default via fd64:0:0:1::1 dev eth0 onlink
"""
INSIDE_4 = """
netns c1 set lo up
netns c1 address 10.64.1.2/24 dev eth0
netns c1 route default via 10.64.1.1 dev eth0
"""
INSIDE_6 = """
netns c1 set lo up
netns c1 address fd64:0:0:1::2/64 dev eth0
netns c1 -6 route default via fd64:0:0:1::1 dev eth0
"""
MAC = "address 02:77:0a:40:01:02"
LINKS = {
    "macvlan": f"netns c1 link eth0 type macvlan mode bridge link eth1 {MAC}",
    "ipvlan": "netns c1 link eth0 type ipvlan mode l2 link eth1",
    "vlan": f"netns c1 link eth0 type vlan id 10 link eth1 {MAC}",
    "ipoib": "netns c1 link eth0 type ipoib pkey 0xffff mode datagram link ib0",
    "phys": "netns c1 link eth0 moved from host link eth2",
    "dummy": f"netns c1 link eth0 type dummy {MAC}",
}


def lines(text: str) -> set[str]:
    return set(text.strip().splitlines())


def plan(driver: str, versions: tuple[int, ...] = (4,), changes: dict | None = None, **endpoint_changes: object) -> set[str]:
    chosen = network(driver, versions, **(changes or {}))
    made = [str(o) for o in DRIVERS[driver].plan(segment(chosen), [endpoint(chosen, **endpoint_changes)])]
    assert len(made) == len(set(made))
    return set(made)


@pytest.mark.parametrize(
    ("driver", "versions", "text"),
    [
        ("bridge", (4,), BRIDGE_4),
        ("bridge", (6,), BRIDGE_6),
        ("bridge", (4, 6), BRIDGE_4 + BRIDGE_6.lstrip()),
        ("ptp", (4,), PTP_4),
        ("ptp", (6,), PTP_6),
        ("ptp", (4, 6), PTP_4 + PTP_6.lstrip()),
        *((driver, (4,), link + INSIDE_4) for driver, link in LINKS.items()),
        *((driver, (6,), link + INSIDE_6) for driver, link in LINKS.items()),
        *((driver, (4, 6), link + INSIDE_4 + INSIDE_6.lstrip()) for driver, link in LINKS.items()),
        ("host", (4,), ""),
        ("none", (4,), "netns c1 set lo up"),
    ],
)
def test_the_plan_for_one_container(driver: str, versions: tuple[int, ...], text: str) -> None:
    assert plan(driver, versions) == lines(text)


@pytest.mark.parametrize(
    ("driver", "options", "expected"),
    [
        ("macvlan", {"mode": "vepa"}, [f"netns c1 link eth0 type macvlan mode vepa link eth1 {MAC}"]),
        (
            "macvlan",
            {"tag": "42"},
            ["link eth1.42 type vlan id 42 link eth1", f"netns c1 link eth0 type macvlan mode bridge link eth1.42 {MAC}"],
        ),
        (
            "ipvlan",
            {"parent": "enp129s0f1np1", "tag": "4094"},
            [
                "link vl-30d0d2119de9 type vlan id 4094 link enp129s0f1np1",
                "netns c1 link eth0 type ipvlan mode l2 link vl-30d0d2119de9",
            ],
        ),
        ("ipoib", {"pkey": "0x1", "mode": "connected"}, ["netns c1 link eth0 type ipoib pkey 0x8001 mode connected link ib0"]),
        ("ipvlan", {"mode": "l3"}, ["netns c1 link eth0 type ipvlan mode l3 link eth1", "netns c1 route default dev eth0"]),
        ("ipvlan", {"mode": "l3s"}, ["netns c1 link eth0 type ipvlan mode l3s link eth1", "netns c1 route default dev eth0"]),
    ],
)
def test_options_of_lan_drivers(driver: str, options: dict[str, str], expected: list[str]) -> None:
    made = plan(driver, changes={"options": options})
    assert lines("\n".join(expected)) <= made


def test_a_macvlan_sits_on_the_tunnel_of_a_layer_2_backend() -> None:
    made = plan("macvlan", changes={"options": {"parent": ""}, "backend": "vxlan", "layer": 2})
    assert f"netns c1 link eth0 type macvlan mode bridge link vx-b055460a31fe {MAC}" in made


@pytest.mark.parametrize(
    ("changes", "internal", "routes"),
    [
        ({"default_route": False}, False, {"10.64.0.0/16 via 10.64.1.1 dev eth0"}),
        ({}, True, {"10.64.0.0/16 via 10.64.1.1 dev eth0"}),
        ({"default_route": False, "prefixlens": {4: 16}}, False, set()),
        ({"prefixlens": {4: 16}}, True, set()),
        ({"gateways": ()}, False, set()),
        ({"gateways": (ip_address("10.64.9.1"),)}, False, {"default via 10.64.9.1 dev eth0 onlink"}),
        (
            {"routes": (StaticRoute(destination=ip_network("10.99.0.0/16")),)},
            False,
            {"default via 10.64.1.1 dev eth0", "10.99.0.0/16 via 10.64.1.1 dev eth0"},
        ),
        (
            {"routes": (StaticRoute(destination=ip_network("10.99.0.0/16"), via=ip_address("10.64.1.7")),)},
            True,
            {"10.64.0.0/16 via 10.64.1.1 dev eth0", "10.99.0.0/16 via 10.64.1.7 dev eth0"},
        ),
        (
            {"routes": (StaticRoute(destination=ip_network("10.99.0.0/16"), via=ip_address("10.98.0.1")),)},
            False,
            {"default via 10.64.1.1 dev eth0", "10.99.0.0/16 via 10.98.0.1 dev eth0 onlink"},
        ),
        (
            {"gateways": (), "routes": (StaticRoute(destination=ip_network("10.99.0.0/16")),)},
            False,
            {"10.99.0.0/16 dev eth0"},
        ),
        (
            {"routes": (StaticRoute(destination=ip_network("0.0.0.0/0"), via=ip_address("10.64.1.7")),)},
            False,
            {"default via 10.64.1.7 dev eth0"},
        ),
    ],
)
def test_routes_in_the_container(changes: dict, internal: bool, routes: set[str]) -> None:
    made = plan("bridge", changes={"internal": internal}, **changes)
    assert {line for line in made if "route " in line} == {f"netns c1 route {route}" for route in routes}


def test_a_static_route_of_the_other_version_has_no_gateway() -> None:
    route = StaticRoute(destination=ip_network("fd99::/16"))
    assert "netns c1 -6 route fd99::/16 dev eth0" in plan("bridge", routes=(route,))


def test_a_second_network_of_a_dual_stack_container_routes_to_both_subnets() -> None:
    made = {line for line in plan("ptp", (4, 6), default_route=False) if "netns c1" in line and " via " in line}
    assert made == {
        "netns c1 route 10.64.0.0/16 via 10.64.1.1 dev eth0 onlink",
        "netns c1 -6 route fd64::/48 via fd64:0:0:1::1 dev eth0 onlink",
    }


def test_an_endpoint_of_a_further_bridge_brings_it_and_the_pair_that_joins_it() -> None:
    chosen = network("bridge")
    near, far = chosen.joint(1)
    mac = naming.mac_of("bridge", "web", HOST_1.id, "1")
    words = {"BX": chosen.bridge(1), "JA": near, "JB": far, "MAC": mac}
    text = BRIDGE_FURTHER
    for word, value in words.items():
        text = text.replace(word, value)
    assert plan("bridge", bridge=1) == lines(text)
    assert mac != naming.mac_of("bridge", "web", HOST_1.id)


def test_further_bridges_are_there_for_containers_that_are_gone() -> None:
    chosen = network("bridge")
    made = list(DRIVERS["bridge"].plan(segment(chosen), [endpoint(chosen, bridge=2, ns=HOST)]))
    assert [o.name for o in made if isinstance(o, Bridge)] == [chosen.link, chosen.bridge(1), chosen.bridge(2)]
    joints = {o.name: o.master for o in made if isinstance(o, Veth | LinkState)}
    pairs = [(chosen.joint(number), (chosen.bridge(number - 1), chosen.bridge(number))) for number in (1, 2)]
    assert joints == {name: master for names, masters in pairs for name, master in zip(names, masters, strict=True)}


@pytest.mark.parametrize("icc", ["on", "off"])
def test_containers_of_two_bridges_are_kept_apart_at_the_first(icc: str) -> None:
    chosen = network("bridge", options={"icc": icc})
    made = {o.name: o for o in DRIVERS["bridge"].plan(segment(chosen), [endpoint(chosen, bridge=1)]) if isinstance(o, Veth)}
    near = made[chosen.joint(1)[0]]
    port = made[endpoint(chosen).link]
    assert near.isolated == port.isolated == (icc == "off")
    assert near.master == chosen.link
    assert not near.hairpin


@pytest.mark.parametrize("driver", ["bridge", "ptp"])
def test_an_internal_network_opens_neither_the_uplink_nor_the_loopback(driver: str) -> None:
    made = plan(driver, changes={"internal": True})
    assert "sysctl net/ipv4/conf/eth0/forwarding = 1" not in made
    assert not [line for line in made if "route_localnet" in line]
    assert not [line for line in made if "default" in line]


def test_a_host_without_a_known_uplink_forwards_between_its_own_links() -> None:
    chosen = network("bridge")
    made = [str(o) for o in DRIVERS["bridge"].plan(replace(segment(chosen), node=replace(HOST_1, device="")), [])]
    assert [line for line in made if line.endswith("/forwarding = 1")] == [
        "sysctl net/ipv4/conf/br-b055460a31fe/forwarding = 1",
    ]


def test_a_network_of_one_host_has_one_prefix() -> None:
    chosen = network("bridge")
    made = [str(o) for o in DRIVERS["bridge"].plan(segment(chosen, single=True), [])]
    assert "address 10.64.0.1/16 dev br-b055460a31fe" in made


def test_people_see_whose_links_these_are() -> None:
    chosen = network("bridge")
    made = list(DRIVERS["bridge"].plan(segment(chosen), [endpoint(chosen)]))
    assert {o.alias for o in made if isinstance(o, Bridge | Veth)} == {"wefted web", "web netns:c1"}


@pytest.mark.parametrize(("ports", "internal", "hairpin"), [(True, False, True), (False, False, False), (True, True, False)])
def test_only_who_publishes_may_be_turned_back(ports: bool, internal: bool, hairpin: bool) -> None:
    chosen = network("bridge", internal=internal)
    mappings = (PortMapping(host_port=80, port=80),) if ports else ()
    made = DRIVERS["bridge"].plan(segment(chosen), [endpoint(chosen, ports=mappings)])
    assert [o.hairpin for o in made if isinstance(o, Veth)] == [hairpin]


@pytest.mark.parametrize(("asked", "mtu"), [(0, 0), (9000, 9000)])
def test_a_lent_link_keeps_its_mtu_unless_the_network_has_one(asked: int, mtu: int) -> None:
    chosen = network("phys", mtu=asked)
    made = DRIVERS["phys"].plan(segment(chosen), [endpoint(chosen)])
    assert [o.mtu for o in made if isinstance(o, MovedLink)] == [mtu]


@pytest.mark.parametrize("bridge", [{"name": "br1"}, {"bridge": "docker0"}])
def test_a_vlan_of_a_bridge_has_ports_and_no_gateway(bridge: dict[str, str]) -> None:
    chosen = network("bridge", options={**bridge, "vlan": "10"})
    seen = replace(segment(chosen), host_gateway=host_is_gateway(chosen))
    made = {str(o) for o in DRIVERS["bridge"].plan(seen, [endpoint(chosen)])}
    own = {line for line in made if line.startswith("link br1")}
    assert len(own) == ("name" in bridge)
    port = "link ve-47fba306ee57 type veth master {} peer eth0 netns c1 mtu 1450".format(*bridge.values())
    assert {line for line in made - own if "netns c1 " not in line[:10]} == {port, "port ve-47fba306ee57 access vlan 10"}


def test_networks_of_one_bridge_want_the_same_bridge() -> None:
    plain, tagged = (network("bridge", options={"name": "br1", **extra}) for extra in ({}, {"vlan": "10"}))
    made = [o for n in (plain, tagged) for o in DRIVERS["bridge"].plan(segment(replace(n, name=n.option("vlan", "x"))), [])]
    first, second = (o for o in made if isinstance(o, Bridge))
    assert first == second


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan", "vlan"])
@pytest.mark.parametrize("versions", [(4,), (6,)])
def test_for_an_engine_that_takes_the_link_there_is_nothing_inside(driver: str, versions: tuple[int, ...]) -> None:
    web = network(driver, versions)
    plugged = endpoint(web, plugged=True)
    (link,) = DRIVERS[driver].plan(segment(web), [plugged])
    assert isinstance(link, Link)
    assert (link.ns, link.name, link.up, link.handed) == (HOST, plugged.far_link, False, True)
