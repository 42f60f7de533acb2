"""What stands around a DHCP message on the wire (Ethernet II, RFC 791, RFC 768), and ARP probes (RFC 826, RFC 5227).

A client without an address has no socket of the kernel's to speak through, so it makes whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct

from wefted.model.checksum import checksum

CLIENT_PORT, SERVER_PORT = 68, 67
EVERYBODY = b"\xff" * 6
ALL_HOSTS = IPv4Address("255.255.255.255")
ANY = IPv4Address(0)

_IP, _ARP = 0x0800, 0x0806
_UDP = 17
_ETHERNET = Struct("!6s6sH")
_IPV4 = Struct("!BBHHHBBH4s4s")
_PORTS = Struct("!HHHH")
_ARP_BODY = Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True)
class Datagram:
    """The payload of a UDP datagram, and the MAC that sent its frame."""

    payload: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Arp:
    """Who says (or asks) in an ARP packet that it is at an address."""

    mac: bytes
    sender: IPv4Address
    target: IPv4Address


def datagram(
    payload: bytes, mac: bytes, to_mac: bytes = EVERYBODY, source: IPv4Address = ANY, target: IPv4Address = ALL_HOSTS
) -> bytes:
    """Return the frame that carries `payload` from the client's port to the server's."""
    length = _PORTS.size + len(payload)
    pseudo = source.packed + target.packed + bytes([0, _UDP]) + length.to_bytes(2, "big")
    ports = _PORTS.pack(CLIENT_PORT, SERVER_PORT, length, 0)
    ports = _PORTS.pack(CLIENT_PORT, SERVER_PORT, length, checksum(pseudo + ports + payload) or 0xFFFF)
    fields = (0x45, 0x10, _IPV4.size + length, 0, 0, 64, _UDP)
    head = _IPV4.pack(*fields, 0, source.packed, target.packed)
    head = _IPV4.pack(*fields, checksum(head), source.packed, target.packed)
    return _ETHERNET.pack(to_mac, mac, _IP) + head + ports + payload


def arp(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    """Return a request: with `sender` 0.0.0.0 a probe, with `sender` equal to `target` an announcement (RFC 5227, 2.1, 2.3)."""
    return _ETHERNET.pack(EVERYBODY, mac, _ARP) + _ARP_BODY.pack(1, _IP, 6, 4, 1, mac, sender.packed, bytes(6), target.packed)


def parse(frame: bytes, *, verified: bool = False) -> Datagram | Arp | None:
    """Return what a frame for us carries, or None for anything else and for what is damaged.

    `verified` says that the checksum of UDP need not be looked at: it was, or on this machine it was never filled in.
    """
    if len(frame) < _ETHERNET.size:
        return None
    _, mac, kind = _ETHERNET.unpack_from(frame)
    body = frame[_ETHERNET.size :]
    if kind == _ARP:
        return _arp(body)
    return _datagram(body, mac, verified) if kind == _IP else None


def _arp(body: bytes) -> Arp | None:
    if len(body) < _ARP_BODY.size:
        return None
    hardware, protocol, hlen, plen, _, mac, sender, _, target = _ARP_BODY.unpack_from(body)
    if (hardware, protocol, hlen, plen) != (1, _IP, 6, 4):
        return None
    return Arp(mac, IPv4Address(sender), IPv4Address(target))


def _datagram(packet: bytes, mac: bytes, verified: bool) -> Datagram | None:
    if len(packet) < _IPV4.size or packet[0] >> 4 != 4:
        return None
    _, _, total, _, fragment, _, protocol, _, source, target = _IPV4.unpack_from(packet)
    head = (packet[0] & 15) * 4
    inner = packet[head:total]
    if head < _IPV4.size or total > len(packet) or fragment & 0x3FFF or protocol != _UDP or len(inner) < _PORTS.size:
        return None
    if checksum(packet[:head]):
        return None
    _, port, length, found = _PORTS.unpack_from(inner)
    if port != CLIENT_PORT or not _PORTS.size <= length <= len(inner):
        return None
    pseudo = source + target + bytes([0, _UDP]) + length.to_bytes(2, "big")
    if found and not verified and checksum(pseudo + inner[:length]):
        return None
    return Datagram(inner[_PORTS.size : length], mac)
