"""The relay of UDP tunnels: where packets go, the TTL and its checksum, and what the sender of a lost packet hears."""

from __future__ import annotations

import socket
import struct

import pytest

from wefted.services.udp_relay import Routes, _age, unreachable


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def header(ttl: int, identifier: int = 0, protocol: int = socket.IPPROTO_UDP) -> bytes:
    packet = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, identifier, 0, ttl, protocol, 0, bytes([10, 5, 1, 2]), bytes([10, 5, 9, 2])
    )
    return packet[:10] + struct.pack("!H", ~checksum(packet) & 0xFFFF) + packet[12:]


@pytest.mark.parametrize("ttl", [2, 64, 255])
def test_the_checksum_follows_the_ttl(ttl: int) -> None:
    """All identifiers give all checksums, and so every carry."""
    for identifier in range(0x10000):
        packet = bytearray(header(ttl, identifier))
        _age(packet, 8)
        assert packet[8] == ttl - 1
        assert checksum(packet) == 0xFFFF


def test_a_hop_limit_has_no_checksum() -> None:
    packet = bytearray(range(40))
    _age(packet, 7)
    assert packet == bytes([*range(7), 6, *range(8, 40)])


def test_the_longest_prefix_wins_and_is_remembered() -> None:
    peers = {
        "10.5.0.0/16": ["192.0.2.1", 1], "10.5.2.0/24": ["192.0.2.2", 2], "fd05::/64": ["192.0.2.3", 3],
    }  # fmt: skip
    routes = Routes({"peers": peers, "blocks": ["fd01::/64", "10.5.1.0/24"]})
    cases = {"10.5.2.7": ("192.0.2.2", 2), "10.5.3.7": ("192.0.2.1", 1), "10.6.0.1": None}
    for address, target in cases.items():
        assert routes.find(socket.inet_aton(address)) == target
        assert routes.known[socket.inet_aton(address)] == target
    assert routes.find(socket.inet_pton(socket.AF_INET6, "fd05::9")) == ("192.0.2.3", 3)
    assert routes.source == bytes([10, 5, 1, 0])
    assert routes.remotes == {socket.inet_aton(f"192.0.2.{n}") for n in (1, 2, 3)}


def test_nobodys_address_is_answered_as_by_flannels_proxy() -> None:
    packet = header(63) + bytes(8)
    answer = unreachable(packet, bytes([10, 5, 1, 0]))
    assert checksum(answer[:20]) == checksum(answer[20:]) == 0xFFFF
    assert (answer[9], answer[12:16], answer[16:20]) == (1, bytes([10, 5, 1, 0]), bytes([10, 5, 1, 2]))
    assert (answer[20], answer[21], answer[28:]) == (3, 0, packet[:28])


@pytest.mark.parametrize("protocol", [socket.IPPROTO_ICMP])
def test_icmp_is_not_answered_by_icmp(protocol: int) -> None:
    assert unreachable(header(63, protocol=protocol) + bytes(8), bytes(4)) == b""
    assert unreachable(b"\x60" + bytes(39), bytes(4)) == b""
    assert unreachable(header(63) + bytes(8), b"") == b""
