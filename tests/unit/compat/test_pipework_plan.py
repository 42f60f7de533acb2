"""From a form and what the host has to what the engine is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.compat.hostlink import HostLink
from wefted.compat.pipework_grammar import Attach, Mistake, parse
from wefted.compat.pipework_plan import guest_of, kind_of, network_name, plan
from wefted.model import spec

BRIDGE = HostLink(name="br1", kind="bridge", mtu=1450)
OURS = HostLink(name="br1", kind="bridge", ours=True, mtu=1450)
NIC = HostLink(name="eth1", kind="ethernet", mtu=9000)

KINDS = [
    ("br1 c1 0/0", None, "own"),
    ("br1 c1 0/0", OURS, "own"),
    ("br1 c1 0/0", BRIDGE, "host"),
    ("--direct-phys br1 c1 0/0", BRIDGE, "host"),
    ("ovs0 c1 0/0", None, "ovs"),
    ("any c1 0/0", HostLink(name="any", kind="ovs"), "ovs"),
    ("eth1 c1 0/0", NIC, "macvlan"),
    ("br9 c1 0/0", HostLink(name="br9", kind="ethernet"), "macvlan"),
    ("--direct-phys eth1 c1 0/0", NIC, "phys"),
    ("--host-access eth1 c1 0/0", NIC, "access"),
    ("ib0 c1 0/0", HostLink(name="ib0", kind="infiniband"), "ipoib"),
    ("dummy0 c1 0/0", None, "dummy"),
]

DRIVERS = [
    ("br1 c1 0/0", "own", None, None, "bridge", {"name": "br1"}, 0),
    ("br1 c1 0/0 @10", "own", None, None, "bridge", {"name": "br1", "vlan": "10"}, 0),
    ("br1 c1 0/0", "host", BRIDGE, None, "bridge", {"bridge": "br1"}, 1450),
    ("br1 c1 0/0 @10", "host", BRIDGE, None, "bridge", {"bridge": "br1", "vlan": "10"}, 1450),
    ("ovs0 c1 0/0 @10", "ovs", None, None, "ovs", {"bridge": "ovs0", "vlan": "10"}, 0),
    ("eth1 c1 0/0", "macvlan", NIC, None, "macvlan", {"parent": "eth1"}, 9000),
    ("eth1 c1 0/0 @10", "macvlan", NIC, None, "macvlan", {"parent": "eth1", "tag": "10"}, 9000),
    (
        "eth1 c1 0/0 @10", "macvlan", NIC, HostLink(name="eth1.10", kind="ethernet", vlan=10),
        "macvlan", {"parent": "eth1.10"}, 9000,
    ),
    (
        "eth1 c1 0/0 @10", "macvlan", NIC, HostLink(name="eth1.10", kind="ethernet", vlan=10, ours=True),
        "macvlan", {"parent": "eth1", "tag": "10"}, 9000,
    ),
    ("--host-access eth1 c1 0/0", "access", NIC, None, "macvlan", {"parent": "eth1", "host_access": "on"}, 9000),
    ("--direct-phys eth1 c1 0/0", "phys", NIC, None, "phys", {"device": "eth1"}, 0),
    ("--direct-phys eth1 c1 0/0 @10", "phys", NIC, None, "vlan", {"parent": "eth1", "tag": "10"}, 0),
    ("ib0 c1 0/0 @8001", "ipoib", None, None, "ipoib", {"parent": "ib0", "pkey": "0x8001"}, 0),
    ("dummy0 c1 0/0", "dummy", None, None, "dummy", {}, 0),
]  # fmt: skip

WRONG = {
    "xyz c1 0/0": (None, "I do not know how to setup interface xyz."),
    "ovs0 c1 0/0": (None, "Need OVS installed on the system to create an ovs bridge"),
    "ib0 c1 0/0 02:00:00:00:00:01": (
        HostLink(name="ib0", kind="infiniband"), "MACADDR configuration unsupported for IPoIB interfaces.",
    ),
    "--host-access br1 c1 0/0": (BRIDGE, "--host-access is for physical interfaces, which br1 is not."),
}  # fmt: skip


def typed(line: str) -> Attach:
    form = parse(line.split(), lambda name: False)
    assert isinstance(form, Attach)
    return form


@pytest.mark.parametrize(("line", "link", "kind"), KINDS)
def test_the_host_interface_says_the_kind(line: str, link: HostLink | None, kind: str) -> None:
    assert kind_of(typed(line), link, ovs=True) == kind


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_attached_is_told_in_the_words_of_the_original(line: str) -> None:
    link, told = WRONG[line]
    with pytest.raises(Mistake) as caught:
        kind_of(typed(line), link, ovs=False)
    assert (caught.value.text, caught.value.code) == (told, 1)


def test_a_wireless_interface_is_recognised() -> None:
    with pytest.raises(Mistake, match="iw phy"):
        kind_of(typed("wlan0 c1 0/0"), HostLink(name="wlan0", kind="wireless"), ovs=False)


@pytest.mark.parametrize(("line", "kind", "link", "sub", "driver", "options", "mtu"), DRIVERS)
def test_the_implicit_network(line, kind, link, sub, driver, options, mtu) -> None:
    create = plan(typed(line), kind, link, sub).create
    assert (create["driver"], create["options"], create["mtu"]) == (driver, options, mtu)
    assert create["subnets"] == ["none"]
    assert not create["masquerade"]
    assert not create["isolated"]
    assert create["labels"] == {"pipework": typed(line).hostif}


@pytest.mark.parametrize("sub", [HostLink(name="eth1.10", kind="ethernet"), HostLink(name="eth1.10", kind="bridge", vlan=11)])
def test_a_link_under_the_name_of_the_vlan_must_be_that_vlan(sub: HostLink) -> None:
    with pytest.raises(Mistake) as caught:
        plan(typed("eth1 c1 0/0 @10"), "macvlan", NIC, sub)
    assert caught.value.text == "eth1.10 already exists but is not a VLAN device for tag 10"


def test_what_is_asked_for_the_guest() -> None:
    asked = plan(typed("br1 -i eth0 -l h0 c1 10.0.0.1/8@10.9.9.9 U:myhost.foo.com"), "own", None).connect
    assert asked == {
        "network": "pipework-br1",
        "containers": ["c1"],
        "ifname": "eth0",
        "additional": True,
        "mac": "02:72:6c:cd:9b:8d",
        "host_ifname": "h0",
        "default_route": "take",
        "ip": ["10.0.0.1/8"],
        "gateways": ["10.9.9.9"],
    }


def test_without_a_gateway_the_default_route_is_left_alone() -> None:
    assert plan(typed("br1 c1 10.0.0.1/8"), "own", None).connect["default_route"] == "never"


def test_the_interface_of_the_guest_has_the_names_of_the_original() -> None:
    assert plan(typed("br1 c1 0/0"), "own", None).connect["ifname"] == "eth1"
    assert plan(typed("ib0 c1 0/0"), "ipoib", None).connect["ifname"] == "ib0"


@pytest.mark.parametrize(
    ("text", "client", "options"),
    [
        ("dhcp", "builtin", []),
        ("dhcp:-f", "builtin", []),
        ("udhcpc-f:-t 3", "udhcpc-f", ["-t", "3"]),
        ("dhclient", "dhclient", []),
        ("dhcpcd:-4", "dhcpcd", ["-4"]),
    ],
)
def test_dhcp(text: str, client: str, options: list[str]) -> None:
    form = Attach(hostif="eth1", guest="c1", address=text)
    asked = plan(form, "macvlan", NIC).connect
    assert (asked["dhcp"], asked["dhcp_client"], asked["dhcp_options"]) == (True, client, options)


def test_guests() -> None:
    guests = {
        "web1": "web1",
        "docker:web1": "docker:web1",
        "4242": "pid:4242",
        "123456789012": "123456789012",
        "/proc/4242/ns/net": "path:/proc/4242/ns/net",
    }
    assert {text: guest_of(text) for text in guests} == guests


names = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs"), blacklist_characters="/:%"), min_size=1, max_size=15)
arguments = st.tuples(names, st.sampled_from(["own", "host", "macvlan", "phys"]), st.sampled_from(["", "10", "4094"]))


@given(st.lists(arguments, min_size=2, max_size=2, unique=True))
def test_different_attachments_have_different_networks(pair: list[tuple[str, str, str]]) -> None:
    one, other = (network_name(*words) for words in pair)
    assert one != other


@given(arguments)
def test_the_name_is_one_that_a_network_may_have(words: tuple[str, str, str]) -> None:
    assert spec.network_name(network_name(*words)) == network_name(*words)


def test_the_names_that_users_meet() -> None:
    assert network_name("brpipe", "own") == "pipework-brpipe"
    assert network_name("docker0", "host") == "pipework-docker0_host"
    assert network_name("eth1", "macvlan", "10") == "pipework-eth1_macvlan_v10"
