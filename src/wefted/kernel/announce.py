"""Telling the neighbours of a new address, so that none of them goes on sending to the MAC that had it before.

IPv4: an ARP announcement (RFC 5227, 3) and, as `arping -A` does, a gratuitous ARP reply, for there are hosts that heed only
the one or the other. IPv6: an unsolicited neighbour advertisement (RFC 4861, 7.2.6). Nobody answers, so nothing is waited for.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address
from struct import pack

from wefted.model.checksum import checksum
from wefted.model.objects import IPAddress

from .netns import Namespaces

_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP, _IPV6 = 0x0806, 0x86DD
_REQUEST, _REPLY = 1, 2
_ICMPV6, _ADVERTISEMENT, _OVERRIDE = 58, 136, 0x20000000


def announce(spaces: Namespaces, fd: int, link: str, address: IPAddress) -> None:
    """Send the announcements of `address` out of `link` in the namespace behind `fd`. Raises `OSError`."""
    with spaces.inside(fd):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sock:
        sock.bind((link, 0))
        for frame in frames(address, sock.getsockname()[4]):
            sock.send(frame)


def frames(address: IPAddress, mac: bytes) -> list[bytes]:
    """Return the Ethernet frames that announce `address` at `mac`."""
    if address.version == 6:
        return [_ALL_NODES_MAC + mac + pack("!H", _IPV6) + _neighbour_advertisement(address, mac)]
    header = _BROADCAST + mac + pack("!H", _ARP)
    return [header + _arp(operation, address, mac) for operation in (_REQUEST, _REPLY)]


def _arp(operation: int, address: IPAddress, mac: bytes) -> bytes:
    target = bytes(6) if operation == _REQUEST else mac
    return pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address.packed + target + address.packed


def _neighbour_advertisement(address: IPAddress, mac: bytes) -> bytes:
    option = b"\x02\x01" + mac
    body = pack("!I", _OVERRIDE) + address.packed + option
    pseudo = address.packed + _ALL_NODES.packed + pack("!IHBB", 4 + len(body), 0, 0, _ICMPV6)
    unsigned = pack("!BBH", _ADVERTISEMENT, 0, 0) + body
    message = pack("!BBH", _ADVERTISEMENT, 0, checksum(pseudo + unsigned)) + body
    return pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + address.packed + _ALL_NODES.packed + message
