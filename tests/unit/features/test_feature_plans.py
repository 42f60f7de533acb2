"""What networks and published ports become in the one nft table."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.features import FEATURES
from wefted.features.blackhole import METRIC
from wefted.features.table import TABLE
from wefted.kernel import marks
from wefted.model.firewall import NftElement
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, PortMapping, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import HOST, KernelObject, Netns
from wefted.model.route import Route

PREFIXES = {4: "10.64.0.0/16", 6: "fd64::/64"}
ADDRESSES = {4: "10.64.0.2/16", 6: "fd64::2/64"}
FAMILIES = [(4,), (6,), (4, 6)]
families = pytest.mark.parametrize("versions", FAMILIES, ids=["v4", "v6", "dual"])


def network(versions: tuple[int, ...] = (4,), **changes: object) -> Network:
    return replace(Network(name="web", subnets=tuple(Subnet(prefix=ip_network(PREFIXES[v])) for v in versions)), **changes)


def endpoint(versions: tuple[int, ...], *ports: PortMapping, number: int = 1) -> Endpoint:
    addresses = tuple(ip_interface(ADDRESSES[v]) + (number - 1) for v in versions)
    interfaces = tuple(ip_interface(f"{a.ip}/{ADDRESSES[v].split('/')[1]}") for a, v in zip(addresses, versions, strict=True))
    return Endpoint(network="web", container=f"netns:c{number}", ns=Netns(f"c{number}"), addresses=interfaces, ports=ports)


def plan(
    network: Network, *endpoints: Endpoint, host_gateway: bool = True, publish_from: tuple[str, ...] = ()
) -> list[KernelObject]:
    node = Node(id="n1", name="h1", publish_from=tuple(map(ip_network, publish_from)))
    segment = Segment(network=network, node=node, host_gateway=host_gateway)
    return [item for feature in FEATURES for item in feature.plan(segment, endpoints)]


def elements(objects: list[KernelObject]) -> set[str]:
    return {str(o).removeprefix("nft element ") for o in objects if isinstance(o, NftElement)}


@families
@pytest.mark.parametrize(
    ("changes", "sets"),
    [
        ({}, {"networks", "masquerade"}),
        ({"masquerade": False}, {"networks"}),
        ({"isolated": False}, {"networks", "masquerade", "open"}),
        ({"exposed": True}, {"networks", "masquerade", "exposed"}),
        ({"internal": True}, {"networks", "internal"}),
        ({"internal": True, "exposed": True, "isolated": False}, {"networks", "internal"}),
    ],
)
def test_a_network_is_in_its_sets(versions: tuple[int, ...], changes: dict, sets: set[str]) -> None:
    made = elements(plan(network(versions, **changes)))
    alone = {f"{name}{v} {{ {PREFIXES[v]} }}" for name in sets for v in versions}
    together = {f"together{v} {{ {PREFIXES[v]} . {PREFIXES[v]} }}" for v in versions}
    assert made == alone | together


@families
def test_flannels_rules_need_the_network_and_our_own_blocks(versions: tuple[int, ...]) -> None:
    labels = (("flannel.config", "{}"), ("flannel.prefix", "/coreos.com/network/"))
    flannel = network(versions, labels=labels, exposed=True, isolated=False)
    blocks = {4: "10.64.5.0/24", 6: "fd64::5:0/112"}
    leases = tuple(Lease(network="web", block=ip_network(blocks[v]), node="n1") for v in versions)
    segment = Segment(network=flannel, node=Node(id="n1", name="h1"), leases=leases)
    made = elements([item for feature in FEATURES for item in feature.plan(segment, ())])
    mine = {line for line in made if line.startswith(("overlay", "blocks", "masquerade"))}
    expected = {f"overlay{v} {{ {PREFIXES[v]} }}" for v in versions} | {f"blocks{v} {{ {blocks[v]} }}" for v in versions}
    assert mine == expected
    quiet = replace(segment, network=replace(flannel, masquerade=False))
    assert not [line for line in elements(list(FEATURES[1].plan(quiet, ()))) if line]


def test_a_tunnel_with_a_name_of_its_own_is_known_as_one() -> None:
    """Strangers come out of a tunnel with their own addresses; the table asks other links of ours where those belong."""
    named = network(options=(("device", "flannel.1"), ("device6", "flannel-v6.1")))
    made = {line for line in elements(plan(named)) if line.startswith("tunnels")}
    assert made == {"tunnels { flannel.1 }", "tunnels { flannel-v6.1 }"}
    assert not [line for line in elements(plan(replace(named, driver="phys"))) if line.startswith("tunnels")]


def test_the_masquerade_rules_stand_in_flannels_order() -> None:
    """A later one would never be asked: mark, inside, out, in (`iptables.masqRules` of flannel)."""
    lines = [line.strip() for line in TABLE.body.splitlines()]
    order = [
        "meta mark & 0x00004000 == 0x00004000 ip saddr @overlay4 return",
        "meta mark & 0x00004000 == 0x00004000 ip daddr @overlay4 return",
        "ip saddr . ip daddr @together4 return",
        "ip saddr @overlay4 ip daddr != @networks4 ip daddr != { 224.0.0.0/4, 255.255.255.255 } masquerade fully-random",
        "ip daddr @overlay4 ip daddr != @blocks4 masquerade fully-random",
    ]
    places = [lines.index(line) for line in order]
    assert places == sorted(places)


def test_subnets_of_one_network_belong_together() -> None:
    subnets = tuple(Subnet(prefix=ip_network(p)) for p in ("10.1.0.0/16", "10.2.0.0/16", "fd01::/64"))
    made = {line for line in elements(plan(network(subnets=subnets))) if line.startswith("together")}
    assert made == {
        "together4 { 10.1.0.0/16 . 10.1.0.0/16 }",
        "together4 { 10.1.0.0/16 . 10.2.0.0/16 }",
        "together4 { 10.2.0.0/16 . 10.1.0.0/16 }",
        "together4 { 10.2.0.0/16 . 10.2.0.0/16 }",
        "together6 { fd01::/64 . fd01::/64 }",
    }


def test_a_single_address_is_written_as_nft_lists_it() -> None:
    made = elements(plan(network(subnets=(Subnet(prefix=ip_network("10.1.0.1/32")), Subnet(prefix=ip_network("fd01::1/128"))))))
    assert {"networks4 { 10.1.0.1 }", "networks6 { fd01::1 }"} <= made


PORT = PortMapping(host_port=8080, port=80)


@pytest.mark.parametrize(
    ("port", "versions", "expected"),
    [
        (PORT, (4,), {"published_any4 { tcp . 8080 : 10.64.0.2 . 80 }"}),
        (PORT, (6,), {"published_any6 { tcp . 8080 : fd64::2 . 80 }"}),
        (PORT, (4, 6), {"published_any4 { tcp . 8080 : 10.64.0.2 . 80 }", "published_any6 { tcp . 8080 : fd64::2 . 80 }"}),
        (replace(PORT, protocol="udp"), (4,), {"published_any4 { udp . 8080 : 10.64.0.2 . 80 }"}),
        (replace(PORT, protocol="sctp"), (4,), {"published_any4 { sctp . 8080 : 10.64.0.2 . 80 }"}),
        (
            replace(PORT, host_ip=ip_address("192.0.2.1")),
            (4, 6),
            {"published_one4 { 192.0.2.1 . tcp . 8080 : 10.64.0.2 . 80 }"},
        ),
        (
            replace(PORT, host_ip=ip_address("2001:db8::1")),
            (4, 6),
            {"published_one6 { 2001:db8::1 . tcp . 8080 : fd64::2 . 80 }"},
        ),
        (replace(PORT, host_ip=ip_address("0.0.0.0")), (4, 6), {"published_any4 { tcp . 8080 : 10.64.0.2 . 80 }"}),
        (replace(PORT, host_ip=ip_address("::")), (4, 6), {"published_any6 { tcp . 8080 : fd64::2 . 80 }"}),
        (replace(PORT, host_ip=ip_address("2001:db8::1")), (4,), set()),
    ],
)
def test_a_published_port_is_one_element_for_each_version(port: PortMapping, versions: tuple, expected: set[str]) -> None:
    chosen = network((4, 6))
    made = plan(chosen, endpoint(versions, port))
    assert elements(made) - elements(plan(chosen)) == expected


def test_a_container_with_two_addresses_of_a_version_is_reached_by_the_first() -> None:
    two = replace(endpoint((4,), PORT), addresses=(ip_interface("10.64.0.9/16"), ip_interface("10.64.0.2/16")))
    published = [o for o in plan(network(), two) if isinstance(o, NftElement) and o.container.startswith("published")]
    assert [o.value for o in published] == [("10.64.0.9", "80")]


@families
def test_a_thousand_ports_are_a_thousand_elements(versions: tuple[int, ...]) -> None:
    ports = tuple(PortMapping(host_port=10_000 + n, port=n + 1) for n in range(1_000))
    made = plan(network(versions), endpoint(versions, *ports))
    keys = {o.key for o in made if isinstance(o, NftElement) and o.container.startswith("published")}
    assert len(keys) == 1_000 * len(versions)


@pytest.mark.parametrize(
    ("changes", "endpoint_changes", "host_gateway"),
    [({"internal": True}, {}, True), ({}, {"ns": HOST}, True), ({}, {}, False)],
    ids=["internal", "container gone", "LAN"],
)
def test_nothing_is_published_where_nothing_can_be(changes: dict, endpoint_changes: dict, host_gateway: bool) -> None:
    made = elements(plan(network(**changes), replace(endpoint((4,), PORT), **endpoint_changes), host_gateway=host_gateway))
    assert not [line for line in made if line.startswith("published")]


def test_a_lan_network_has_no_part_in_the_firewall() -> None:
    assert plan(network(exposed=True, isolated=False), endpoint((4,), PORT), host_gateway=False) == []


def test_a_bridge_without_subnets_is_let_through_and_nothing_else() -> None:
    """No route tells the firewall where the addresses of its containers are."""
    found = plan(network(subnets=(), options=(("name", "brpipe"),)), endpoint((), PORT))
    assert [str(item) for item in found if item != TABLE] == ["nft element unrouted { brpipe . brpipe }"]


def test_guests_of_a_foreign_bridge_are_translated_one_by_one() -> None:
    """What else is in that bridge is left alone: no rule speaks of its subnet as of one of ours."""
    docker0 = network(options=(("bridge", "docker0"),), masquerade=True)
    found = {str(item) for item in plan(docker0, endpoint((4,), PORT), host_gateway=False) if item != TABLE}
    own = str(endpoint((4,)).addresses[0].ip)
    subnet = next(s.prefix for s in docker0.subnets if s.prefix.version == 4)
    assert f"nft element masquerade4 {{ {own} }}" in found
    assert f"nft element together4 {{ {own} . {subnet} }}" in found
    assert not any(word in text for text in found for word in ("networks4", "open4", "exposed4", "internal4"))
    silent = network(options=(("bridge", "docker0"),), masquerade=False)
    assert plan(silent, endpoint((4,)), host_gateway=False) == []


def test_whom_ports_are_for_is_told_once_and_not_by_their_containers() -> None:
    everybody = ("0.0.0.0/0", "::/0")
    made = plan(network(), publish_from=everybody)
    assert {"publish_from4 { 0.0.0.0/0 }", "publish_from6 { ::/0 }"} <= elements(made)
    assert elements(plan(network(), endpoint((4,), PORT), publish_from=everybody)) - elements(made) == {
        "published_any4 { tcp . 8080 : 10.64.0.2 . 80 }"
    }
    assert not [line for line in elements(plan(network(internal=True), publish_from=everybody)) if "publish" in line]


SOURCES = (ip_network("192.0.2.0/24"), ip_network("198.51.100.7/32"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("port", "sources", "expected"),
    [
        (
            PORT,
            SOURCES,
            {
                "limited_any4 { tcp . 8080 }",
                "sources_any4 { tcp . 8080 . 192.0.2.0/24 }",
                "sources_any4 { tcp . 8080 . 198.51.100.7 }",
                "limited_any6 { tcp . 8080 }",
                "sources_any6 { tcp . 8080 . 2001:db8::/32 }",
            },
        ),
        (PORT, (), {"limited_any4 { tcp . 8080 }", "limited_any6 { tcp . 8080 }"}),
        (
            replace(PORT, host_ip=ip_address("203.0.113.1")),
            SOURCES[:1],
            {"limited_one4 { 203.0.113.1 . tcp . 8080 }", "sources_one4 { 203.0.113.1 . tcp . 8080 . 192.0.2.0/24 }"},
        ),
    ],
)
def test_a_port_may_say_itself_whom_it_is_for(port: PortMapping, sources: tuple, expected: set[str]) -> None:
    chosen = network((4, 6))
    made = elements(plan(chosen, endpoint((4, 6), replace(port, sources=sources))))
    assert made - elements(plan(chosen, endpoint((4, 6), port))) == expected


# -- what holds for every feature ------------------------------------------------------------------------------------


@families
def test_every_element_has_its_set_in_the_table(versions: tuple[int, ...]) -> None:
    one = replace(PORT, host_ip=ip_address("192.0.2.1"))
    limited = replace(PORT, host_port=81, sources=SOURCES)
    limited_one = replace(one, host_port=82, sources=SOURCES)
    publishing = endpoint(versions, PORT, one, limited, limited_one)
    made = plan(network(versions, exposed=True, isolated=False), publishing, publish_from=("0.0.0.0/0", "::/0"))
    made += plan(network(versions, internal=True))
    containers = {o.container for o in made if isinstance(o, NftElement)}
    assert containers
    assert all(f"set {name} {{" in TABLE.body or f"map {name} {{" in TABLE.body for name in containers)
    assert {o for o in made if not isinstance(o, NftElement)} == {TABLE}


@families
def test_one_key_stands_for_one_object_in_any_order(versions: tuple[int, ...]) -> None:
    endpoints = [endpoint(versions, PortMapping(host_port=8000 + n, port=80), number=n) for n in range(1, 9)]
    expected = {o.key: o for o in plan(network(versions), *endpoints)}
    for seed in range(5):
        random.Random(seed).shuffle(endpoints)
        made = plan(network(versions), *endpoints)
        assert all(expected[o.key] == o for o in made)
        assert {o.key for o in made} == set(expected)


@families
def test_a_container_adds_its_ports_and_changes_no_other(versions: tuple[int, ...]) -> None:
    first, second = endpoint(versions, PORT), endpoint(versions, PortMapping(host_port=81, port=81), number=2)
    before = {o.key: o for o in plan(network(versions), first)}
    after = {o.key: o for o in plan(network(versions), first, second)}
    assert before.items() <= after.items()
    own = [o for key, o in after.items() if key not in before]
    assert {o.value[0] for o in own if isinstance(o, NftElement)} == {str(a.ip) for a in second.addresses}
    assert len(own) == len(versions)


def test_the_table_names_no_network_and_no_container() -> None:
    everything = plan(network((4, 6)), endpoint((4, 6), PORT))
    assert [o for o in everything if o == TABLE]
    assert "web" not in TABLE.body
    assert "10.64" not in TABLE.body


def test_the_firewall_knows_our_links_by_the_mark_that_the_kernel_room_gives_them() -> None:
    assert f"iifgroup {marks.LINK_GROUP} " in TABLE.body


@families
def test_only_plugged_containers_ask_our_name_server(versions: tuple[int, ...]) -> None:
    servers = (ip_address("192.0.2.53"), ip_address("2001:db8::53"))
    leases = tuple(Lease(network="web", block=ip_network(PREFIXES[v]), node="n1") for v in versions)
    segment = Segment(network=network(versions), node=Node(id="n1", name="h1", resolvers=servers), leases=leases, single=True)
    plain, plugged = endpoint(versions), replace(endpoint(versions, number=2), plugged=True)

    def planned(*endpoints: Endpoint) -> set[str]:
        made = elements([item for feature in FEATURES for item in feature.plan(segment, endpoints)])
        return {line for line in made if line.startswith(("asking", "resolvers"))}

    assert planned(plain) == set()
    asking = {f"asking{v} {{ {ADDRESSES[v].split('/')[0].removesuffix('2')}3 }}" for v in versions}
    assert planned(plain, plugged) == asking | {"resolvers4 { 192.0.2.53 }", "resolvers6 { 2001:db8::53 }"}
    assert planned(replace(plugged, ns=HOST)) == {"resolvers4 { 192.0.2.53 }", "resolvers6 { 2001:db8::53 }"}


@families
def test_what_nobody_has_is_dropped_where_the_network_asks_for_it(versions: tuple[int, ...]) -> None:
    blocks = [ip_network(PREFIXES[v]) for v in versions]
    for asked in ("on", ""):
        asking = network(versions, options=(("blackhole", asked),))
        leases = tuple(Lease(network="web", block=block, node="n1") for block in blocks)
        segment = Segment(network=asking, node=Node(id="n1", name="h1"), leases=leases)
        found = [o for feature in FEATURES for o in feature.plan(segment, ()) if isinstance(o, Route)]
        wanted = [Route(destination=block, metric=METRIC, blackhole=True) for block in blocks]
        assert found == (wanted if asked else [])
