"""WireGuard programs by their text protocol (wireguard.com/xplatform): lines `key=value` over a unix socket NAME.sock."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path

from wefted.model.objects import IPAddress
from wefted.model.wireguard import Wireguard, WireguardPeer, endpoint
from wefted.model.x25519 import public_key

from .netlink import Refused
from .wireguardfound import FoundDevice, FoundPeer
from .wireguardkey import of_text

SOCKETS = Path("/var/run/wireguard")
"""Where every such program has its sockets; `wg` looks there."""
PATIENCE = 2.0
"""Seconds that an answer may take."""
_NOBODY = bytes(32)


class UapiWireguard:
    """Speaks to the programs behind devices. Implements `Speaker`."""

    def get(self, link: str) -> FoundDevice:
        """Return what a device has. Raises `Refused`."""
        return parse(call(link, ["get=1"]))

    def set_device(self, wanted: Wireguard, private: bytes) -> None:
        """Give a device its key, port and mark. Raises `Refused`."""
        call(wanted.name, ["set=1", *device_lines(wanted, private)])

    def set_peer(self, wanted: WireguardPeer, *, moved: bool) -> None:
        """Add or change a peer. Raises `Refused`."""
        call(wanted.link, ["set=1", *peer_lines(wanted, moved)])

    def drop_peer(self, link: str, public_key: bytes) -> None:
        """Remove a peer. Raises `Refused`."""
        call(link, ["set=1", f"public_key={public_key.hex()}", "remove=true"])


def call(link: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Say something to the program behind a device and return what it answers. Raises `Refused`."""
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(SOCKETS / f"{link}.sock"))
            sock.sendall(("\n".join(lines) + "\n\n").encode())
            while not data.endswith(b"\n\n") and (more := sock.recv(65536)):
                data += more
    except OSError as error:
        raise Refused(error.errno or errno.ETIMEDOUT, f"the WireGuard program of {link} does not answer") from None
    return answered(data, link)


def answered(data: bytes, link: str) -> list[tuple[str, str]]:
    """Return the lines of an answer without its errno. Raises `Refused` where that is not 0, or missing."""
    words = [tuple(line.split("=", 1)) for line in data.decode(errors="replace").splitlines() if "=" in line]
    lines = [(key, value) for key, value in words]
    if not lines or lines[-1][0] != "errno":
        raise Refused(errno.EPROTO, f"the WireGuard program of {link} answers half a message")
    number = abs(int(lines[-1][1]))
    if number:
        raise Refused(number, f"the WireGuard program of {link}: {os.strerror(number)}")
    return lines[:-1]


def device_lines(wanted: Wireguard, private: bytes) -> list[str]:
    """Return a device's own settings."""
    return [f"private_key={private.hex()}", f"listen_port={wanted.port}", f"fwmark={wanted.fwmark}"]


def peer_lines(wanted: WireguardPeer, moved: bool) -> list[str]:
    """Return the settings of one peer."""
    psk = of_text(wanted.psk.value) if wanted.psk else _NOBODY
    place = [f"endpoint={endpoint(wanted.remote, wanted.port)}"] if moved and wanted.remote is not None else []
    return [
        f"public_key={of_text(wanted.public_key).hex()}", f"preshared_key={psk.hex()}", *place,
        f"persistent_keepalive_interval={wanted.keepalive}", "replace_allowed_ips=true",
        *(f"allowed_ip={block}" for block in wanted.allowed),
    ]  # fmt: skip


def parse(lines: Iterable[tuple[str, str]]) -> FoundDevice:
    """Return the device that the answer to `get` describes."""
    found = FoundDevice()
    for key, value in lines:
        if key == "private_key":
            found.public_key = public_key(bytes.fromhex(value)) if value.strip("0") else b""
        elif key == "listen_port":
            found.port = int(value)
        elif key == "fwmark":
            found.fwmark = int(value, 0)
        elif key == "public_key":
            found.peers.append(FoundPeer(bytes.fromhex(value)))
        elif found.peers:
            _tell(found.peers[-1], key, value)
    return found


def place(text: str) -> tuple[IPAddress, int]:
    """Return the address and port of an endpoint (`192.0.2.1:51820`, `[2001:db8::1]:51820`). Raises `ValueError`."""
    address, _, port = text.rpartition(":")
    return ip_address(address.strip("[]")), int(port)


def _tell(peer: FoundPeer, key: str, value: str) -> None:
    if key == "preshared_key":
        psk = bytes.fromhex(value)
        peer.psk = psk if psk != _NOBODY else b""
    elif key == "endpoint":
        peer.address, peer.port = place(value)
    elif key == "persistent_keepalive_interval":
        peer.keepalive = int(value)
    elif key == "last_handshake_time_sec":
        peer.handshake = int(value)
    elif key == "allowed_ip":
        peer.allowed.append(ip_network(value))
