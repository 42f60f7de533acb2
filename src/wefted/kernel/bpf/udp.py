"""What the programs of `udp.bpf.c` share with us: the object itself, and the elements of their maps as bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from struct import Struct

from wefted.model.objects import IPAddress, IPNetwork

from ..netlink import Refused
from . import elf
from .call import bind
from .load import load
from .maps import Map

FILE = Path(__file__).with_name("udp.bpf.o")
TUNNEL_OUT, BRIDGE_OUT, UNDERLAY_IN, UNDERLAY_XDP = "tunnel_out", "bridge_out", "underlay_in", "underlay_xdp"
SUMS_IN, PORT_OUT = "sums_in", "port_out"
OWNERS, PEERS, TUNNELS = "owners", "peers", "tunnels"

_INDEX = Struct("=I")
_PREFIX = Struct("=I16s")
_OWNER = Struct("=II16s2s2x")
_PEER = Struct("=16s2s2x")
_TUNNEL = Struct("=II2sH16s4sII6s2x")
_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a block is: ours (`remote` None), or that of the host at `remote`."""

    tun: int
    remote: IPAddress | None = None
    port: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a tunnel is: indexes of its links, its end here, the address that it answers from, whether the card unwraps."""

    underlay: int
    bridge: int
    port: int
    local: IPAddress
    source: IPAddress | None
    native: int
    """0 where the hook for frames unwraps, 1 where the card's driver does (XDP), 2 where it should and refuses."""
    sums: int = 0
    """The link on which the kernel cuts and sums what is wrapped (see `udpsums`); 0 where the underlay does."""
    mac: str = ""
    """Of the bridge; "" while there is none."""


@cache
def _object(stamp: tuple[int, int]) -> tuple[elf.Object, str]:
    data = FILE.read_bytes()
    return elf.parse(data), sha256(data).hexdigest()[:8]


def shipped() -> tuple[elf.Object, str]:
    """Return the object and a word that tells it from other versions of it. Raises `Refused` where it was not built."""
    try:
        status = os.stat(FILE)
    except FileNotFoundError:
        raise Refused(errno.ENOENT, "this wefted was built without its eBPF programs (clang was missing)") from None
    return _object((status.st_mtime_ns, status.st_size))


def missing() -> str:
    """Return why the programs cannot be used here, as tried by loading them, or ""."""
    try:
        found, _ = shipped()
        maps = {name: spec.create(name) for name, spec in found.maps.items()}
        try:
            for fd in programs(maps).values():
                os.close(fd)
        finally:
            for fd in maps.values():
                os.close(fd)
    except Refused as refused:
        return refused.text
    return ""


def programs(maps: Mapping[str, int]) -> dict[str, int]:
    """Load all programs onto these maps and return their descriptors, which the caller closes. Raises `Refused`.

    Each holds all of the maps, also those that it does not use: so any one that is still attached leads to all of them.
    """
    found, _ = shipped()
    loaded: dict[str, int] = {}
    try:
        for name, program in found.programs.items():
            loaded[name] = load(program.kind, name, program.linked(maps), found.licence)
            for fd in maps.values():
                bind(loaded[name], fd)
    except Refused:
        for fd in loaded.values():
            os.close(fd)
        raise
    return loaded


@dataclass(frozen=True, slots=True)
class Tables:
    """The maps of one set of programs, by meaning."""

    descriptors: Mapping[str, int]

    def close(self) -> None:
        for fd in self.descriptors.values():
            os.close(fd)

    def _map(self, name: str) -> Map:
        return Map(self.descriptors[name], shipped()[0].maps[name])

    def tunnels(self) -> dict[int, Settings]:
        """Return the tunnels by the index of their TUN device."""
        return {_INDEX.unpack(key)[0]: _settings(value) for key, value in self._map(TUNNELS).items()}

    def tunnel(self, tun: int) -> Settings | None:
        value = self._map(TUNNELS).get(_INDEX.pack(tun))
        return _settings(value) if value is not None else None

    def set_tunnel(self, tun: int, settings: Settings) -> None:
        self._map(TUNNELS).put(_INDEX.pack(tun), tunnel_bytes(settings))

    def drop_tunnel(self, tun: int) -> None:
        """Forget a tunnel with all of its blocks."""
        self._map(TUNNELS).drop(_INDEX.pack(tun))
        for block, owner in list(self.owners()):
            if owner.tun == tun:
                self.drop_owner(block)

    def owners(self) -> Iterator[tuple[IPNetwork, Owner]]:
        """Yield every block with its owner."""
        for key, value in self._map(OWNERS).items():
            yield block_of(key), owner_of(value)

    def set_owner(self, block: IPNetwork, owner: Owner) -> None:
        """Set whose a block is; a peer may send to us from then on."""
        before = self._map(OWNERS).get(prefix_bytes(block))
        self._map(OWNERS).put(prefix_bytes(block), owner_bytes(owner))
        if owner.remote is not None:
            self._map(PEERS).put(peer_bytes(owner.remote, owner.port), _INDEX.pack(owner.tun))
        if before is not None:
            self._forget(owner_of(before))

    def drop_owner(self, block: IPNetwork) -> None:
        """Forget a block; when it was its peer's last one, the peer may not send to us any more."""
        before = self._map(OWNERS).get(prefix_bytes(block))
        self._map(OWNERS).drop(prefix_bytes(block))
        if before is not None:
            self._forget(owner_of(before))

    def _forget(self, owner: Owner) -> None:
        if owner.remote is None:
            return
        if not any((other.remote, other.port) == (owner.remote, owner.port) for _, other in self.owners()):
            self._map(PEERS).drop(peer_bytes(owner.remote, owner.port))


def address_bytes(address: IPAddress) -> bytes:
    """Return 16 octets; IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2)."""
    return address.packed if address.version == 6 else _MAPPED + address.packed


def prefix_bytes(block: IPNetwork) -> bytes:
    length = block.prefixlen + (96 if block.version == 4 else 0)
    return _PREFIX.pack(length, address_bytes(block.network_address))


def block_of(data: bytes) -> IPNetwork:
    length, address = _PREFIX.unpack(data)
    found = _address(address)
    return ip_network((found, length - 96 if found.version == 4 else length))


def owner_bytes(owner: Owner) -> bytes:
    remote = bytes(16) if owner.remote is None else address_bytes(owner.remote)
    return _OWNER.pack(owner.tun, owner.remote is None, remote, owner.port.to_bytes(2, "big"))


def owner_of(data: bytes) -> Owner:
    tun, mine, remote, port = _OWNER.unpack(data)
    return Owner(tun) if mine else Owner(tun, _address(remote), int.from_bytes(port, "big"))


def peer_bytes(remote: IPAddress, port: int) -> bytes:
    return _PEER.pack(address_bytes(remote), port.to_bytes(2, "big"))


def tunnel_bytes(settings: Settings) -> bytes:
    source = settings.source.packed if settings.source is not None and settings.source.version == 4 else bytes(4)
    return _TUNNEL.pack(
        settings.underlay, settings.bridge, settings.port.to_bytes(2, "big"), settings.local.version,
        address_bytes(settings.local), source, settings.native, settings.sums, bytes.fromhex(settings.mac.replace(":", "")),
    )  # fmt: skip


def _settings(data: bytes) -> Settings:
    underlay, bridge, port, _, local, source, native, sums, mac = _TUNNEL.unpack(data)
    answers = ip_address(source) if any(source) else None
    of_bridge = mac.hex(":") if any(mac) else ""
    return Settings(underlay, bridge, int.from_bytes(port, "big"), _address(local), answers, native, sums, of_bridge)


def _address(data: bytes) -> IPAddress:
    found = IPv6Address(data)
    return found.ipv4_mapped or found
