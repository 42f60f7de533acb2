"""What a WireGuard device says of itself, whichever way it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from wefted.model.objects import IPAddress, IPNetwork
from wefted.model.wireguard import Wireguard, WireguardPeer


@dataclass(slots=True)
class FoundPeer:
    """A peer as it is; `psk` is empty for none, `address` None where no place is known."""

    public_key: bytes
    psk: bytes = b""
    address: IPAddress | None = None
    port: int = 0
    keepalive: int = 0
    handshake: int = 0
    allowed: list[IPNetwork] = field(default_factory=list)


@dataclass(slots=True)
class FoundDevice:
    """A device as it is; without a private key it has no public one."""

    public_key: bytes = b""
    port: int = 0
    fwmark: int = 0
    peers: list[FoundPeer] = field(default_factory=list)


class Speaker(Protocol):
    """One way to speak to WireGuard devices of the host; every method may raise `Refused`."""

    def get(self, link: str) -> FoundDevice:
        """Return what a device has."""

    def set_device(self, wanted: Wireguard, private: bytes) -> None:
        """Give a device its key, port and mark; its peers stay."""

    def set_peer(self, wanted: WireguardPeer, *, moved: bool) -> None:
        """Add a peer, or give it its secret, addresses and keepalive; with `moved` also the place where it is."""

    def drop_peer(self, link: str, public_key: bytes) -> None:
        """Remove a peer; that there is none is no error."""
