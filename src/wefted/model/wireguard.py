"""WireGuard: the device of a network on a host, and its peers (wireguard.com/protocol; wg(8))."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .link import Link
from .objects import HOST, IPAddress, IPNetwork, KernelObject, Key
from .secret import Secret

PORT = 51820
"""What `wg` and flannel take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wireguard(Link):
    """A WireGuard device that listens on `port` of every address; the kernel's, or a TUN device with a process behind it.

    The private key is named by its file; what can be compared with what is there is the public one.
    """

    rank: ClassVar[int] = 15

    port: int
    public_key: str
    key_file: str = field(default="", compare=False)
    """"" is the host's own key."""
    fwmark: int = 0
    intact: bool = True
    """False only in what was read: its process has ended, or it is not of the kind that this host makes now."""
    way: str = field(default="", compare=False)
    """Only in what was read: `kernel` or `wireguard-go`."""

    def __str__(self) -> str:
        mark = ("fwmark", hex(self.fwmark)) if self.fwmark else ()
        return self._line("type wireguard port", self.port, "key", self.public_key, *mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireguardPeer(KernelObject):
    """A host behind the device `link`: it has `public_key`, and the addresses `allowed` are its own (sorted).

    `remote` and `port` are where it was said to be. That it has answered from elsewhere since (roaming: it is behind a router
    that translates) is no difference; None in what was read means that the device knows no place at all.
    """

    rank: ClassVar[int] = 27

    link: str
    public_key: str
    remote: IPAddress | None
    port: int = PORT
    allowed: tuple[IPNetwork, ...] = ()
    psk: Secret = field(default_factory=Secret)
    keepalive: int = 0
    """Seconds between packets that hold a translating router's entry open; 0: none are sent."""
    handshake: int = field(default=0, compare=False)
    """Only in what was read: when the two last agreed on keys, in seconds since 1970; 0: never."""

    @property
    def key(self) -> Key:
        return ("wireguard peer", self.ns, self.link, self.public_key)

    def __str__(self) -> str:
        place = endpoint(self.remote, self.port) if self.remote is not None else "(nowhere)"
        words: list[object] = ["wireguard peer", self.public_key, "at", place, "allowed", *self.allowed, "dev", self.link]
        words += ["psk", self.psk] if self.psk else []
        words += ["keepalive", self.keepalive] if self.keepalive else []
        at = f"netns {self.ns} " if self.ns != HOST else ""
        return at + " ".join(map(str, words))


def endpoint(address: IPAddress, port: int) -> str:
    """Return an address and port as `wg` prints them."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def by_version(blocks: tuple[IPNetwork, ...] | list[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return prefixes in the one order in which they are compared."""
    return tuple(sorted(blocks, key=lambda block: (block.version, int(block.network_address), block.prefixlen)))
