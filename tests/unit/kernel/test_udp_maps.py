"""What the programs of UDP tunnels share with us, as bytes: the same in C and here."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wefted.kernel.bpf import udp
from wefted.kernel.bpf.udp import Owner, Settings

SIZES = {"owners": (20, 28), "peers": (20, 4), "tunnels": (4, 48), "spoken": (16, 4), "ports": (16, 12)}


@pytest.mark.parametrize("block", ["10.5.2.0/24", "0.0.0.0/0", "10.5.2.1/32", "fd05::/64", "fd05::1/128"])
def test_a_block_is_read_as_it_was_written(block: str) -> None:
    assert udp.block_of(udp.prefix_bytes(ip_network(block))) == ip_network(block)


def test_ipv4_is_mapped() -> None:
    """RFC 4291, section 2.5.5.2; the length counts the 96 bits before it."""
    key = udp.prefix_bytes(ip_network("10.5.2.0/24"))
    assert key == (120).to_bytes(4, "little") + bytes(10) + b"\xff\xff" + bytes([10, 5, 2, 0])


@pytest.mark.parametrize(
    "owner", [Owner(7), Owner(7, ip_address("192.0.2.1"), 8285), Owner(9, ip_address("2001:db8::1"), 65535)], ids=str
)
def test_an_owner_is_read_as_it_was_written(owner: Owner) -> None:
    assert udp.owner_of(udp.owner_bytes(owner)) == owner


def test_ports_are_in_network_order() -> None:
    assert udp.owner_bytes(Owner(1, ip_address("192.0.2.1"), 8285))[24:26] == b"\x20\x5d"
    assert udp.peer_bytes(ip_address("192.0.2.1"), 8285)[16:18] == b"\x20\x5d"


@pytest.mark.parametrize("local", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("source", [None, ip_address("10.5.1.0")])
@pytest.mark.parametrize("mac", ["", "02:00:00:00:00:0a"])
def test_a_tunnel_is_read_as_it_was_written(local: str, source: object, mac: str) -> None:
    settings = Settings(3, 8, 8285, ip_address(local), source, 2, 9, mac)  # type: ignore[arg-type]
    assert udp._settings(udp.tunnel_bytes(settings)) == settings


def test_the_sizes_are_those_of_the_programs() -> None:
    if not udp.FILE.exists():
        pytest.skip("built without clang")
    found, version = udp.shipped()
    assert {name: (spec.key_size, spec.value_size) for name, spec in found.maps.items()} == SIZES
    assert set(found.programs) == {
        udp.TUNNEL_OUT, udp.BRIDGE_OUT, udp.PORT_OUT, udp.UNDERLAY_IN, udp.UNDERLAY_XDP, udp.SUMS_IN
    }  # fmt: skip
    assert len(version) == 8
    assert len(udp.tunnel_bytes(Settings(0, 0, 0, ip_address("0.0.0.0"), None, 0))) == SIZES["tunnels"][1]
    assert len(udp.owner_bytes(Owner(0))) == SIZES["owners"][1]
