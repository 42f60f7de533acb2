"""The kernel's WireGuard by generic netlink, family `wireguard` (linux/wireguard.h): what `wg` sends and reads."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from struct import Struct

from wefted.model.objects import IPAddress, IPNetwork
from wefted.model.wireguard import Wireguard, WireguardPeer

from .generic import HEADER, NETLINK_GENERIC, family
from .netlink import Message, NetlinkSocket, as_int, attribute, attributes, nested, repeated, text, u8, u16, u32
from .netns import Namespaces
from .wireguardfound import FoundDevice, FoundPeer
from .wireguardkey import of_text

FAMILY = "wireguard"
_GET_DEVICE, _SET_DEVICE, _VERSION = 0, 1, 1
_NAME, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _FWMARK, _PEERS = 2, 3, 4, 6, 7, 8
_PEER_KEY, _PEER_PSK, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE, _PEER_HANDSHAKE, _PEER_ALLOWED = 1, 2, 3, 4, 5, 6, 9
_REMOVE_ME, _REPLACE_ALLOWED = 1, 2
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_LENGTH = 1, 2, 3

_IN = Struct("=H2s4s8x")
_IN6 = Struct("=H2s4x16s4x")
"""sockaddr_in and sockaddr_in6: the family in the machine's byte order, the port in the network's."""
_NOBODY = bytes(32)


class KernelWireguard:
    """Speaks to the devices of the host's namespace. Implements `Speaker`."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces

    def get(self, link: str) -> FoundDevice:
        """Return what a device has. Raises `Refused`."""
        with self._socket() as sock:
            return decode(sock.dump(family(sock, FAMILY), HEADER.pack(_GET_DEVICE, _VERSION, 0) + text(_NAME, link)))

    def set_device(self, wanted: Wireguard, private: bytes) -> None:
        """Give a device its key, port and mark. Raises `Refused`."""
        self._send(wanted.name, device_attributes(wanted, private))

    def set_peer(self, wanted: WireguardPeer, *, moved: bool) -> None:
        """Add or change a peer. Raises `Refused`."""
        self._send(wanted.link, nested(_PEERS, peer_attributes(wanted, moved)))

    def drop_peer(self, link: str, public_key: bytes) -> None:
        """Remove a peer. Raises `Refused`."""
        self._send(link, nested(_PEERS, nested(0, attribute(_PEER_KEY, public_key), u32(_PEER_FLAGS, _REMOVE_ME))))

    def _send(self, link: str, body: bytes) -> None:
        with self._socket() as sock:
            sock.ask(set_message(family(sock, FAMILY), link, body))

    @contextmanager
    def _socket(self) -> Iterator[NetlinkSocket]:
        with closing(self._spaces.socket(self._spaces.home_fd, NETLINK_GENERIC)) as sock:
            yield sock


def set_message(number: int, link: str, body: bytes) -> Message:
    """Return the request that changes a device; `number` is the family's."""
    return Message(number, 0, HEADER.pack(_SET_DEVICE, _VERSION, 0) + text(_NAME, link) + body)


def device_attributes(wanted: Wireguard, private: bytes) -> bytes:
    """Return a device's own settings."""
    return attribute(_PRIVATE_KEY, private) + u16(_LISTEN_PORT, wanted.port) + u32(_FWMARK, wanted.fwmark)


def peer_attributes(wanted: WireguardPeer, moved: bool) -> bytes:
    """Return one entry of the list of peers."""
    allowed = [nested(0, *_allowed(block)) for block in wanted.allowed]
    place = attribute(_PEER_ENDPOINT, sockaddr(wanted.remote, wanted.port)) if moved and wanted.remote is not None else b""
    return nested(
        0, attribute(_PEER_KEY, of_text(wanted.public_key)), u32(_PEER_FLAGS, _REPLACE_ALLOWED),
        attribute(_PEER_PSK, of_text(wanted.psk.value) if wanted.psk else _NOBODY), place,
        u16(_PEER_KEEPALIVE, wanted.keepalive), nested(_PEER_ALLOWED, *allowed),
    )  # fmt: skip


def sockaddr(address: IPAddress, port: int) -> bytes:
    """Return an endpoint as the kernel takes it."""
    if isinstance(address, IPv6Address):
        return _IN6.pack(socket.AF_INET6, port.to_bytes(2, "big"), address.packed)
    return _IN.pack(socket.AF_INET, port.to_bytes(2, "big"), address.packed)


def decode(answers: Sequence[bytes]) -> FoundDevice:
    """Return the device that the messages of a dump describe: a peer may go on in the next one."""
    found = FoundDevice()
    for body in answers:
        told = attributes(body, HEADER.size)
        found.public_key = told.get(_PUBLIC_KEY, found.public_key)
        found.port = as_int(told.get(_LISTEN_PORT), found.port)
        found.fwmark = as_int(told.get(_FWMARK), found.fwmark)
        for _, data in repeated(told.get(_PEERS, b"")):
            _take_peer(found, attributes(data))
    return found


def _take_peer(found: FoundDevice, told: dict[int, bytes]) -> None:
    key = told[_PEER_KEY]
    if found.peers and found.peers[-1].public_key == key:
        found.peers[-1].allowed += _prefixes(told)
        return
    psk = told.get(_PEER_PSK, _NOBODY)
    peer = FoundPeer(key, psk if psk != _NOBODY else b"", keepalive=as_int(told.get(_PEER_KEEPALIVE)), allowed=_prefixes(told))
    peer.handshake = as_int(told.get(_PEER_HANDSHAKE, bytes(8))[:8])
    if _PEER_ENDPOINT in told:
        peer.address, peer.port = _place(told[_PEER_ENDPOINT])
    found.peers.append(peer)


def _place(data: bytes) -> tuple[IPAddress, int]:
    number, port, packed = _IN.unpack_from(data)
    if number == socket.AF_INET6:
        _, _, packed = _IN6.unpack_from(data)
    return ip_address(packed), int.from_bytes(port, "big")


def _allowed(block: IPNetwork) -> tuple[bytes, ...]:
    number = socket.AF_INET if block.version == 4 else socket.AF_INET6
    address = attribute(_ALLOWED_ADDRESS, block.network_address.packed)
    return u16(_ALLOWED_FAMILY, number), address, u8(_ALLOWED_LENGTH, block.prefixlen)


def _prefixes(told: dict[int, bytes]) -> list[IPNetwork]:
    entries = (attributes(data) for _, data in repeated(told.get(_PEER_ALLOWED, b"")))
    return [ip_network((ip_address(e[_ALLOWED_ADDRESS]), as_int(e[_ALLOWED_LENGTH]))) for e in entries]
