"""What is ours is told from the kernel alone, and nothing else is touched."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.kernel.marks import LINK_GROUP, PROTOCOL
from wefted.model.firewall import NftElement, NftTable
from wefted.model.link import Link, Macvlan, MovedLink
from wefted.model.objects import HOST, Change, KernelObject
from wefted.model.route import Address, Neighbor, Route
from wefted.testing.kernel_samples import BRIDGE, FOREIGN, SAMPLES, TABLE, VXLAN, attached

from .conftest import LabHost

pytestmark = pytest.mark.lab

SUBNET = NftElement(container="networks4", match=("10.64.0.0/16",))


def make(host: LabHost, *items: KernelObject) -> None:
    outcomes = host.kernel.apply([Change(None, item) for item in items])
    assert [o.error for o in outcomes if o.error] == []


def ours(host: LabHost) -> list[KernelObject]:
    """Return what a kernel room without memory finds to be ours."""
    return [item for item in host.new_kernel().read(HOST).objects.values() if item.owned]


def test_foreign_things_are_not_read(host: LabHost) -> None:
    for words in (
        "ip link add br9 up type bridge",
        "ip addr add 192.0.2.1/24 dev br9",
        "ip addr add 2001:db8::1/64 dev br9 nodad",
        "ip route add 198.51.100.0/24 via 192.0.2.9",
        "ip -6 route add 2001:db8:9::/64 via 2001:db8::9",
        "ip rule add from 198.51.100.0/24 table 77",
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev br9 nud permanent",
        "ip link add vx9 type vxlan id 9 dstport 4789",
        "bridge fdb append 02:00:00:00:00:08 dev vx9 dst 192.0.2.8 self permanent",
        "nft add table inet other",
        "nft add table ip weftedlike",
    ):
        host.run(*words.split())
    assert ours(host) == []


def test_a_link_that_is_handed_over_is_ours_as_long_as_it_is_here(host: LabHost) -> None:
    """It stays down here; where it was taken to, it is somebody else's; and when it comes back it is ours again."""
    link = Macvlan(name="vd-test", parent=FOREIGN, mac="02:00:00:00:00:09", up=False, handed=True)
    make(host, link)
    assert [(item.key, getattr(item, "up", None)) for item in ours(host)] == [(link.key, False)]
    sandbox = host.sandbox()
    host.run(*f"ip link set vd-test netns {sandbox} name eth7".split())
    assert ours(host) == []
    inside = host.new_kernel().read(sandbox).objects
    assert [item.key for item in inside.values() if item.owned] == []
    assert ("link state", sandbox, "eth7") in inside


def test_foreign_things_on_our_links_are_not_read(host: LabHost) -> None:
    make(host, BRIDGE, VXLAN)
    for words in (
        f"ip addr add 192.0.2.1/24 dev {BRIDGE.name}",
        f"ip route add 198.51.100.0/24 dev {BRIDGE.name}",
        f"ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev {BRIDGE.name} nud permanent",
        f"bridge fdb append 02:00:00:00:00:08 dev {VXLAN.name} dst 192.0.2.8 self dynamic",
    ):
        host.run(*words.split())
    assert {item.key for item in ours(host)} == {BRIDGE.key, VXLAN.key}


def test_marks_are_seen_by_everybody(host: LabHost) -> None:
    ns = host.sandbox()
    make(host, *attached(ns))
    groups = {link["ifname"]: link["group"] for link in host.links()}
    assert groups["ve-test"] == groups[BRIDGE.name] == str(LINK_GROUP)
    inside = next(link for link in host.links(ns) if link["ifname"] == "eth0")
    assert inside["group"] == "default", "the far end has no mark, or a sweep would take it for unknown"
    make(host, Route(ns=ns, destination=ip_network("10.70.0.0/16"), link="eth0"))
    routes = json.loads(host.run("ip", "-N", "-j", "route", ns=ns))
    assert {route["protocol"] for route in routes if route["dst"] == "10.70.0.0/16"} == {str(PROTOCOL)}


def test_a_bridge_has_no_spanning_tree_and_no_delay(host: LabHost) -> None:
    make(host, BRIDGE)
    info = next(link for link in host.links() if link["ifname"] == BRIDGE.name)["linkinfo"]["info_data"]
    assert (info["stp_state"], info["forward_delay"]) == (0, 0)


def test_a_bridge_keeps_its_mtu_whatever_its_ports_have(host: LabHost) -> None:
    make(host, BRIDGE, *attached(host.sandbox())[1:2])
    host.remove_link(HOST, "ve-test")
    assert BRIDGE.satisfied_by(host.kernel.read(HOST).objects[BRIDGE.key])


@pytest.mark.parametrize(
    ("prefix", "broadcast"), [("10.64.0.1/24", "10.64.0.255"), ("10.64.0.0/31", None), ("10.64.0.1/32", None)]
)
def test_only_a_subnet_has_a_broadcast_address(host: LabHost, prefix: str, broadcast: str | None) -> None:
    make(host, BRIDGE, Address(link=BRIDGE.name, address=ip_interface(prefix)))
    found = json.loads(host.run("ip", "-j", "-4", "addr", "show", "dev", BRIDGE.name))[0]["addr_info"]
    assert [info.get("broadcast") for info in found] == [broadcast]


def test_an_ipv6_address_works_at_once(host: LabHost) -> None:
    make(host, BRIDGE, Address(link=BRIDGE.name, address=ip_interface("fd64::1/64")))
    (found,) = json.loads(host.run("ip", "-j", "-6", "addr", "show", "dev", BRIDGE.name, "scope", "global"))
    assert [info.get("tentative", False) for info in found["addr_info"]] == [False]


def test_a_learned_neighbor_makes_way_and_a_configured_one_does_not(host: LabHost) -> None:
    make(host, BRIDGE, Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24")))
    host.run(*f"ip neigh add 10.64.0.8 lladdr 02:00:00:00:00:08 dev {BRIDGE.name} nud reachable".split())
    host.run(*f"ip neigh add 10.64.0.9 lladdr 02:00:00:00:00:09 dev {BRIDGE.name} nud permanent".split())
    wanted = [Neighbor(link=BRIDGE.name, address=ip_address(f"10.64.0.{i}"), mac="02:00:00:00:00:01") for i in (8, 9)]
    outcomes = host.kernel.apply([Change(None, item) for item in wanted])
    assert [bool(o.error) for o in outcomes] == [False, True]
    assert wanted[0] in ours(host)


def test_a_link_that_only_another_version_makes_can_be_deleted(host: LabHost) -> None:
    host.run("ip", "link", "add", "if-test", "group", str(LINK_GROUP), "type", "ifb")
    found = host.kernel.read(HOST).objects["link", HOST, "if-test"]
    assert type(found) is Link
    assert host.kernel.apply([Change(found, None)])[0].error == ""
    assert "if-test" not in [link["ifname"] for link in host.links()]


def test_a_link_of_the_wrong_kind_is_made_anew(host: LabHost) -> None:
    host.run("ip", "link", "add", BRIDGE.name, "group", str(LINK_GROUP), "type", "ifb")
    found = host.kernel.read(HOST).objects[BRIDGE.key]
    assert host.kernel.apply([Change(found, BRIDGE)])[0].error == ""
    assert BRIDGE.satisfied_by(host.kernel.read(HOST).objects[BRIDGE.key])


def test_a_lent_link_is_known_after_a_restart_and_goes_home_as_it_was(host: LabHost) -> None:
    ns = host.sandbox()
    host.run("ip", "link", "set", FOREIGN, "mtu", "1300")
    before = host.kernel.read(HOST).objects
    make(host, MovedLink(ns=ns, name="eth0", origin=FOREIGN, mtu=1200))
    assert next(link for link in host.links(ns) if link["ifname"] == "eth0")["ifalias"].startswith("wefted moved from other0")
    found = host.new_kernel().read(ns).objects["link", ns, "eth0"]
    assert isinstance(found, MovedLink)
    assert host.kernel.apply([Change(found, None)])[0].error == ""
    assert host.kernel.read(HOST).objects == before
    home = next(link for link in host.links() if link["ifname"] == FOREIGN)
    assert (home["mtu"], home["group"], home.get("ifalias")) == (1300, "default", None)


def test_an_intact_table_is_known_after_a_restart(host: LabHost) -> None:
    make(host, TABLE, SUBNET)
    found = host.new_kernel().read(HOST).objects
    assert TABLE.satisfied_by(found[TABLE.key])
    assert found[SUBNET.key] == SUBNET


@pytest.mark.parametrize(
    "command",
    [
        "flush chain inet wefted forward",
        "flush table inet wefted",
        "add rule inet wefted forward accept",
        "add chain inet wefted foreign",
        "delete element inet wefted names { eth7 }; add set inet wefted more { type ifname; }",
    ],
)
def test_a_table_that_somebody_changed_is_replaced_with_its_elements(host: LabHost, command: str) -> None:
    make(host, TABLE, SUBNET, NftElement(container="names", match=("eth7",)))
    host.run("nft", command)
    found = host.kernel.read(HOST).objects
    assert not TABLE.satisfied_by(found[TABLE.key])
    assert SUBNET.key not in found
    outcomes = host.kernel.apply([Change(found[TABLE.key], TABLE), Change(None, SUBNET)])
    assert [o.error for o in outcomes if o.error] == []
    repaired = host.kernel.read(HOST).objects
    assert TABLE.satisfied_by(repaired[TABLE.key])
    assert SUBNET.key in repaired


def test_counters_and_elements_do_not_make_a_table_another_one(host: LabHost) -> None:
    make(host, TABLE)
    make(host, SUBNET)
    host.run("nft", "add", "element", "inet", "wefted", "networks4", "{ 10.99.0.0/24 }")
    found = host.kernel.read(HOST).objects
    assert TABLE.satisfied_by(found[TABLE.key])
    assert NftElement(container="networks4", match=("10.99.0.0/24",)).key in found


def test_a_bad_table_is_refused_with_nfts_own_words_and_the_rest_is_made(host: LabHost) -> None:
    bad = NftTable(body="chain a { jump nowhere; }")
    outcomes = host.kernel.apply([Change(None, bad), Change(None, BRIDGE)])
    assert outcomes[0].error.startswith("nft: ")
    assert "No such file or directory" in outcomes[0].error
    assert outcomes[1].error == ""


def test_one_bad_element_does_not_keep_the_others(host: LabHost) -> None:
    make(host, TABLE)
    good = [NftElement(container="networks4", match=(f"10.{i}.0.0/16",)) for i in range(9)]
    bad = NftElement(container="none", match=("10.64.0.0/16",))
    outcomes = host.kernel.apply([Change(None, item) for item in (*good[:4], bad, *good[4:])])
    assert [o.change.new for o in outcomes if o.error] == [bad]
    assert set(good) <= set(ours(host))


def test_five_thousand_ports_are_one_transaction(host: LabHost) -> None:
    make(host, TABLE)
    before = generation(host)
    ports = [NftElement(container="any4", match=("tcp", str(i)), value=("10.64.0.5", "80")) for i in range(1, 5001)]
    make(host, *ports)
    assert generation(host) == before + 1
    assert set(ports) <= set(ours(host))


def generation(host: LabHost) -> int:
    return host.new_kernel()._firewall.generation()


def test_a_name_with_a_quote_is_no_way_into_the_script(host: LabHost) -> None:
    make(host, TABLE)
    evil = NftElement(container="names", match=('a" }; delete table inet wefted; #',))
    host.kernel.apply([Change(None, evil)])
    assert TABLE.satisfied_by(host.kernel.read(HOST).objects[TABLE.key])


def test_every_kind_of_sample_is_covered() -> None:
    kinds = {type(make(HOST).item).__name__ for make in SAMPLES.values()}
    assert kinds >= {
        "Bridge",
        "Veth",
        "Macvlan",
        "Dummy",
        "Ipvlan",
        "Vlan",
        "Vxlan",
        "MovedLink",
        "LinkState",
        "Address",
        "Route",
    }
    assert kinds >= {"Rule", "Neighbor", "ForwardingEntry", "Sysctl", "NftTable", "NftElement"}
