"""WireGuard between the hosts: IP packets, encrypted, in UDP. Layer 3: a peer's blocks are its allowed addresses. Pure.

One device for all blocks whose packets go to the hosts' preferred underlay addresses. In a network of flannel's, option `mode`
is flannel's Mode: `separate` has one device for each IP version, over an underlay of the same version; `auto`, `ipv4` and
`ipv6` have one, which reaches a peer by the address that suits, or by the one of that version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from wefted.model import options
from wefted.model.firewall import Sysctl
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.route import Address, Route
from wefted.model.secret import Secret
from wefted.model.wireguard import PORT, Wireguard, WireguardPeer, by_version
from wefted.model.x25519 import decoded

from . import checks, underlay

PORTS_OF_NETWORKS = 8192
"""So many networks of one cluster have listen ports of their own: each has a device, and no two can share a port."""
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """One of our devices: its name, the IP version of its outer packets (0: our preferred, None: by peer), its blocks'."""

    name: str
    port: int
    outer: int | None
    versions: tuple[int, ...]


class WireguardBackend:
    """Encrypts IP packets: works over every routed underlay, also through routers that translate, at layer 3."""

    name = "wireguard"
    needs: tuple[str, ...] = ("wireguard",)
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {
        "port": f"UDP port, the same on all hosts (default {PORT} + the network's number)",
        "device": "name of the WireGuard device (default: a name that follows from the network's)",
        "keepalive": "seconds between packets that keep a translating router's entry open (default 0: none)",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, or without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        checks.tunnel_names(network)
        for key, span in (("port", _PORTS), ("port6", _PORTS), ("keepalive", range(65536))):
            options.integer(network, key, 1, span)
        options.choice(network, "mode", ("separate", "auto", "ipv4", "ipv6"), "auto")
        checks.wireguard_key(network, "psk")

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return outer IP (20 or 40) + UDP (8) + type, index and counter (16) + authentication tag (16) in bytes."""
        return 80 if underlay is not None and underlay.version == 6 else 60

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return this host's public key."""
        key = _own_key(segment)
        return {"public_key": key} if key else {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why no tunnel leads to a peer, or ""."""
        key, own = peer.get("public_key"), _own_key(segment)
        if not own:
            return "this host has no WireGuard key yet"
        if not key:
            return "it announces no WireGuard key: its agent is older, or its flannel has another backend"
        if decoded(key) is None:
            return f"what it announces as its WireGuard key is none: {key[:60]!r}"
        if key == own:
            return "it announces our own WireGuard key: its disk is a copy of ours; remove the key file on one of the two"
        tunnel = next((t for t in _tunnels(segment) if peer.block.version in t.versions), None)
        version = None if tunnel is None else _outer(segment, tunnel, peer)
        return "" if version is None else underlay.no_tunnel(segment, peer, version)

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the devices, and for each peer one object with all of its blocks; nothing before this host has a key."""
        good = [peer for peer in peers if not self.obstacle(segment, peer)]
        for tunnel in _tunnels(segment) if _own_key(segment) and segment.node.addresses else ():
            yield from _device(segment, tunnel)
            yield from _peers(segment, tunnel, [peer for peer in good if peer.block.version in tunnel.versions])


def _tunnels(segment: Segment) -> tuple[_Tunnel, ...]:
    """Return the device for all blocks, or flannel's for each IP version."""
    network = segment.network
    mode = network.option("mode")
    default = PORT if is_flannel(network) else PORT + network.number % PORTS_OF_NETWORKS
    port = options.integer(network, "port", default, _PORTS)
    if mode != "separate":
        outer = {"ipv4": 4, "ipv6": 6, "auto": None}.get(mode, 0)
        return (_Tunnel(network.tunnel, port, outer, (4, 6)),)
    used = {subnet.prefix.version for subnet in network.subnets}
    second = options.integer(network, "port6", PORT + 1, _PORTS)
    both = _Tunnel(network.tunnel, port, 4, (4,)), _Tunnel(network.option("device6"), second, 6, (6,))
    return tuple(tunnel for tunnel in both if tunnel.outer in used)


def _outer(segment: Segment, tunnel: _Tunnel, peer: Lease) -> int:
    """Return the IP version of the packets to a peer; by flannel's rules where any may be: first what is not private."""
    if tunnel.outer is not None:
        return tunnel.outer
    both = sorted({a.version for a in peer.underlay} & {a.version for a in segment.node.addresses})
    public = [v for v in both if not underlay.first(peer.underlay, v).is_private and (v == 4 or _is_public(segment, v))]
    return next(iter((*public, *both)), 0)


def _is_public(segment: Segment, version: int) -> bool:
    return not underlay.first(segment.node.addresses, version).is_private


def _own_key(segment: Segment) -> str:
    return segment.node.public_key(segment.network.option("key_file"))


def _device(segment: Segment, tunnel: _Tunnel) -> Iterator[KernelObject]:
    network = segment.network
    yield Wireguard(
        name=tunnel.name, port=tunnel.port, public_key=_own_key(segment), key_file=network.option("key_file"),
        mtu=segment.mtu, alias=f"wefted {network.name}",
    )  # fmt: skip
    first = {lease.block.version: lease.block.network_address for lease in reversed(segment.leases)}
    if 4 in first and 4 in tunnel.versions:
        yield Sysctl(name=f"net/ipv4/conf/{tunnel.name}/forwarding", value="1")
    for address in (address for version, address in first.items() if version in tunnel.versions):
        yield Address(link=tunnel.name, address=ip_interface(address))
    for subnet in network.subnets:
        if subnet.prefix.version in tunnel.versions:  # what is for nobody ends in the device: it never leaves in plain
            yield Route(destination=subnet.prefix, link=tunnel.name)


def _peers(segment: Segment, tunnel: _Tunnel, peers: Sequence[Lease]) -> Iterator[KernelObject]:
    """Yield each peer with all its blocks. Of two hosts that announce one key only the first can be one."""
    owners: dict[str, list[Lease]] = {}
    for peer in peers:
        known = owners.setdefault(peer.get("public_key"), [])
        if not known or known[0].node == peer.node:
            known.append(peer)
    psk, keepalive = Secret(segment.network.option("psk")), options.integer(segment.network, "keepalive", 0, range(65536))
    for key, blocks in owners.items():
        remote = underlay.remote(segment.node, blocks[0], _outer(segment, tunnel, blocks[0]))
        yield WireguardPeer(
            link=tunnel.name, public_key=key, remote=remote, port=tunnel.port, allowed=by_version([b.block for b in blocks]),
            psk=psk, keepalive=keepalive,
        )  # fmt: skip
