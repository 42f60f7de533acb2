"""What WireGuard's backend plans: devices, peers with all their blocks, flannel's modes, and what cannot be a peer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from wefted.backends import BACKENDS, unreachable, widest
from wefted.engine.diff import diff, index
from wefted.engine.planner import path_mtu
from wefted.engine.render import without_secrets
from wefted.errors import Unsupported, UsageError
from wefted.model.flannel_lease import decode, encode
from wefted.model.flannel_network import blocks_of, lease_of, network_of
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.node import Node
from wefted.model.objects import KernelObject
from wefted.model.wireguard import Wireguard, WireguardPeer

from .test_backend_plans import VX, WEB, leases, lines, node, segment, texts

KEYS = {
    1: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
    2: "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
    3: "QwMeu+bYeRQ+Ju8+CsHmFXvyq8SpYiYmSGi0CJHKAHg=",
}
PSK = "L7c3W8rIwzYhSHZNSSDOrJmZFFhGOjzMIKxTFcxR5fQ="
SEALED = replace(WEB, backend="wireguard")
FLANNEL_KEY = "/run/flannel/wgkey"


def known(number: int, versions: Sequence[int] = (4, 6), file: str = "") -> Node:
    return replace(node(number, versions), wireguard=((file, KEYS[number]),))


def peers(*numbers: int, versions: Sequence[int] = (4, 6)) -> list[Lease]:
    return [
        lease
        for n in numbers
        for lease in leases(node(n, versions), f"10.64.{n}.0/24", f"fd64:0:0:{n}::/64", data=(("public_key", KEYS[n]),))
    ]


def here(network: Network, versions: Sequence[int] = (4, 6), file: str = "") -> Segment:
    return replace(segment(network, versions), node=known(1, versions, file))


def plan(network: Network, others: Sequence[Lease], versions: Sequence[int] = (4, 6), file: str = "") -> list[KernelObject]:
    BACKENDS["wireguard"].validate(network)
    return list(BACKENDS["wireguard"].plan(here(network, versions, file), others))


def flannel(prefix6: bool = True, **backend: object) -> Network:
    config = {
        "Network": "10.64.0.0/16", "EnableIPv6": prefix6, "IPv6Network": "fd64::/48",
        "Backend": {"Type": "wireguard", **backend},
    }  # fmt: skip
    return network_of("flannel", "/coreos.com/network/", json.dumps(config), False, key_file=FLANNEL_KEY)


@pytest.mark.parametrize(
    ("versions", "place"), [((4, 6), "192.168.50.2:51827"), ((6, 4), "[2001:db8::2]:51827"), ((6,), "[2001:db8::2]:51827")]
)
def test_one_device_and_one_peer_with_all_its_blocks(versions: tuple[int, ...], place: str) -> None:
    assert texts(plan(SEALED, peers(2), versions)) == lines(f"""
link {VX} type wireguard port 51827 key {KEYS[1]} mtu 1430
sysctl net/ipv4/conf/{VX}/forwarding = 1
address 10.64.1.0/32 dev {VX}
address fd64:0:0:1::/128 dev {VX}
route 10.64.0.0/16 dev {VX} metric 9999
-6 route fd64::/48 dev {VX} metric 9999
wireguard peer {KEYS[2]} at {place} allowed 10.64.2.0/24 fd64:0:0:2::/64 dev {VX}
""")


def test_options() -> None:
    network = replace(SEALED, options=(("device", "wg0"), ("keepalive", "25"), ("port", "4500")))
    made = texts(plan(network, peers(2)))
    assert f"link wg0 type wireguard port 4500 key {KEYS[1]} mtu 1430" in made
    assert [line.partition(" dev ")[2] for line in made if line.startswith("wireguard peer")] == ["wg0 keepalive 25"]


def test_networks_of_one_cluster_have_ports_of_their_own() -> None:
    ports = [o.port for n in range(1, 300) for o in plan(replace(SEALED, number=n), []) if isinstance(o, Wireguard)]
    assert len(set(ports)) == 299
    assert all(0 < port < 65536 for port in ports)


@pytest.mark.parametrize(
    "options",
    [("port", "0"), ("port", "x"), ("keepalive", "65536"), ("mode", "both"), ("psk", "secret"), ("device", "a/b")],
)
def test_what_is_refused(options: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        plan(replace(SEALED, options=(options,)), [])
    assert options[0] in str(refused.value)
    assert options[0] != "psk" or "secret" not in f"{refused.value.message} {refused.value.hint}"


def test_only_routed_blocks() -> None:
    with pytest.raises(Unsupported, match="joins hosts at layer 3, not 2"):
        plan(replace(SEALED, layer=2), [])


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (leases(node(2), "10.64.2.0/24"), "it announces no WireGuard key"),
        (leases(node(2), "10.64.2.0/24", data=(("public_key", "x" * 900),)), "its WireGuard key is none: 'xxx"),
        (leases(node(2), "10.64.2.0/24", data=(("public_key", f"{KEYS[2]}\nendpoint=1.2.3.4:5"),)), "key is none"),
        (leases(node(2), "10.64.2.0/24", data=(("public_key", KEYS[1]),)), "it announces our own WireGuard key"),
        (peers(2, versions=(6,))[:1], "it has no IPv4 address"),
        (
            leases(replace(node(2), underlay=node(1).underlay), "10.64.2.0/24", data=(("public_key", KEYS[2]),)),
            "our own address",
        ),
    ],
)
def test_what_cannot_be_a_peer_is_told_and_not_planned(peer: list[Lease], reason: str) -> None:
    told = unreachable(here(SEALED), peer)
    assert reason in told[peer[0]]
    assert len(told[peer[0]]) < 200
    assert not [o for o in plan(SEALED, peer) if isinstance(o, WireguardPeer)]


def test_without_a_key_of_ours_nothing_leaves_and_nobody_is_told_one() -> None:
    backend, bare = BACKENDS["wireguard"], segment(SEALED)
    assert texts(list(backend.plan(bare, peers(2)))) == lines("""
route blackhole 10.64.0.0/16 metric 9999
-6 route blackhole fd64::/48 metric 9999
""")
    assert backend.announce(bare) == {}
    assert set(unreachable(bare, peers(2)).values()) == {"this host has no WireGuard key yet"}
    assert backend.announce(here(SEALED)) == {"public_key": KEYS[1]}


def test_of_two_hosts_with_one_key_only_one_is_a_peer() -> None:
    copy = leases(node(3), "10.64.3.0/24", data=(("public_key", KEYS[2]),))
    (made,) = (o for o in plan(SEALED, [*peers(2), *copy]) if isinstance(o, WireguardPeer))
    assert made.allowed == (ip_network("10.64.2.0/24"), ip_network("fd64:0:0:2::/64"))


def test_one_peer_changes_alone() -> None:
    before = index(plan(SEALED, peers(2, 3)))
    more = leases(node(3), "10.64.9.0/24", data=(("public_key", KEYS[3]),))
    (change,) = diff(index(plan(SEALED, [*peers(2, 3), *more])), before)
    assert str(change).startswith(f"~ wireguard peer {KEYS[3]} ")
    (change,) = diff(index(plan(SEALED, peers(3))), before)
    assert str(change).startswith(f"- wireguard peer {KEYS[2]} ")


def test_flannels_two_devices() -> None:
    """Mode `separate`, which is the default: each IP version has a device, over an underlay of that version."""
    network = flannel(PSK=PSK, PersistentKeepaliveInterval=7)
    made = texts(plan(network, peers(2), file=FLANNEL_KEY))
    assert made == lines(f"""
link flannel-wg type wireguard port 51820 key {KEYS[1]} mtu 1430
sysctl net/ipv4/conf/flannel-wg/forwarding = 1
address 10.64.1.0/32 dev flannel-wg
route 10.64.0.0/16 dev flannel-wg
wireguard peer {KEYS[2]} at 192.168.50.2:51820 allowed 10.64.2.0/24 dev flannel-wg psk (secret) keepalive 7
link flannel-wg-v6 type wireguard port 51821 key {KEYS[1]} mtu 1430
address fd64:0:0:1::/128 dev flannel-wg-v6
-6 route fd64::/48 dev flannel-wg-v6
wireguard peer {KEYS[2]} at [2001:db8::2]:51821 allowed fd64:0:0:2::/64 dev flannel-wg-v6 psk (secret) keepalive 7
""")


@pytest.mark.parametrize(
    ("mode", "first", "second", "place"),
    [
        ("ipv4", "192.168.50.2/24", "2001:db8::2/64", "192.168.50.2:4000"),
        ("ipv6", "192.168.50.2/24", "2001:db8::2/64", "[2001:db8::2]:4000"),
        ("auto", "192.168.50.2/24", "2001:db8::2/64", "192.168.50.2:4000"),
        ("auto", "9.9.9.9/24", "2600::2/64", "9.9.9.9:4000"),
        ("auto", "192.168.50.2/24", "2600::2/64", "[2600::2]:4000"),
        ("auto", "", "2001:db8::2/64", "[2001:db8::2]:4000"),
    ],
)
def test_flannels_one_device_and_how_it_reaches_a_peer(mode: str, first: str, second: str, place: str) -> None:
    network = flannel(Mode=mode, ListenPort=4000)
    ours = replace(known(1, file=FLANNEL_KEY), underlay=(ip_interface("192.168.50.1/24"), ip_interface("2600::1/64")))
    far = replace(node(2), underlay=tuple(ip_interface(text) for text in (first, second) if text))
    others = leases(far, "10.64.2.0/24", "fd64:0:0:2::/64", data=(("public_key", KEYS[2]),))
    made = BACKENDS["wireguard"].plan(replace(segment(network), node=ours), others)
    (peer,) = (str(o) for o in made if isinstance(o, WireguardPeer))
    assert peer == f"wireguard peer {KEYS[2]} at {place} allowed 10.64.2.0/24 fd64:0:0:2::/64 dev flannel-wg"


def test_without_an_underlay_of_its_version_there_is_no_device() -> None:
    network = flannel()
    made = plan(network, peers(2), versions=(4,), file=FLANNEL_KEY)
    assert [o.name for o in made if isinstance(o, Wireguard)] == ["flannel-wg"]
    told = unreachable(here(network, (4,), FLANNEL_KEY), peers(2))
    assert [str(lease.block) for lease in told] == ["fd64:0:0:2::/64"]


@pytest.mark.parametrize(
    ("network", "versions", "mtu"),
    [
        (SEALED, (4, 6), 1440),
        (SEALED, (6, 4), 1420),
        (SEALED, (6,), 1420),
        (flannel(), (4, 6), 1420),
        (flannel(prefix6=False), (4,), 1420),
        (flannel(prefix6=False, MTU=1300), (4,), 1300),
    ],
    ids=["IPv4", "IPv6 first", "IPv6", "flannel", "flannel IPv4", "flannel told"],
)
def test_mtu(network: Network, versions: tuple[int, ...], mtu: int) -> None:
    """flannel takes 80 bytes off whatever the underlay is; ours knows which it is."""
    assert path_mtu(network, known(1, versions)) == mtu
    assert widest(network, known(1, versions)) is not None


def test_flannels_records_byte_for_byte() -> None:
    own = leases(node(1), "10.64.1.0/24", "fd64:0:0:1::/64", data=(("public_key", KEYS[1]),))
    text = encode(lease_of("wireguard", *own))
    assert text == (
        b'{"PublicIP":"192.168.50.1","PublicIPv6":"2001:db8::1","BackendType":"wireguard",'
        b'"BackendData":{"PublicKey":"%s"},"BackendV6Data":{"PublicKey":"%s"}}' % ((KEYS[1].encode(),) * 2)
    )
    read = decode("10.64.1.0-24&fd64:0:0:1::-64", text)
    assert read is not None
    assert [lease.get("public_key") for lease in blocks_of("flannel", read)] == [KEYS[1]] * 2


@pytest.mark.parametrize("key", ["PSK", "psk", "Psk"])
def test_a_network_is_shown_without_its_secret(key: str) -> None:
    network = flannel(**{key: PSK})
    assert network.option("psk") == PSK
    shown = without_secrets(network)
    assert PSK not in repr(shown)
    assert json.loads(dict(shown.labels)["flannel.config"])["Network"] == "10.64.0.0/16"
    assert without_secrets(SEALED) is SEALED


def test_no_object_prints_a_secret() -> None:
    made = plan(flannel(PSK=PSK), peers(2), file=FLANNEL_KEY)
    assert [o.psk.value for o in made if isinstance(o, WireguardPeer)] == [PSK, PSK]
    assert PSK not in f"{made!r} {[str(o) for o in made]}"
