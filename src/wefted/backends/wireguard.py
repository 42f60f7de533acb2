"""WireGuard between the hosts: IP packets, encrypted, in UDP. Layer 3: a peer's blocks are its allowed addresses. Pure.

How many devices there are, and by which addresses they reach a peer: `wefted.backends.wireguardmode`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from .wireguardmode import PORTS, Tunnel, outer, tunnels

LAST = 9999
"""Metric of the whole subnet's route: it stands behind that of the bridge, if a block is as large as the subnet."""


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
        for key, span in (("port", PORTS), ("port6", PORTS), ("keepalive", range(65536))):
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
        tunnel = next((t for t in tunnels(segment) if peer.block.version in t.versions), None)
        return underlay.no_tunnel(segment, peer, peer.block.version if tunnel is None else outer(segment, tunnel, peer))

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the devices, and for each peer one object with all of its blocks; without a key of ours none of them.

        What is for blocks of nobody, or cannot be encrypted, goes nowhere: it must not leave in plain by another route.
        """
        good = [peer for peer in peers if not self.obstacle(segment, peer)]
        made = tunnels(segment) if _own_key(segment) and segment.node.addresses else ()
        for tunnel in made:
            yield from _device(segment, tunnel)
            yield from _peers(segment, tunnel, [peer for peer in good if peer.block.version in tunnel.versions])
        for subnet in segment.network.subnets:
            link = next((tunnel.name for tunnel in made if subnet.prefix.version in tunnel.versions), "")
            metric = 0 if link and is_flannel(segment.network) else LAST
            yield Route(destination=subnet.prefix, link=link, blackhole=not link, metric=metric)


def _own_key(segment: Segment) -> str:
    return segment.node.public_key(segment.network.option("key_file"))


def _device(segment: Segment, tunnel: Tunnel) -> Iterator[KernelObject]:
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


def _peers(segment: Segment, tunnel: Tunnel, peers: Sequence[Lease]) -> Iterator[KernelObject]:
    """Yield each peer with all its blocks. Of two hosts that announce one key only the first can be one."""
    owners: dict[str, list[Lease]] = {}
    for peer in peers:
        known = owners.setdefault(peer.get("public_key"), [])
        if not known or known[0].node == peer.node:
            known.append(peer)
    psk, keepalive = Secret(segment.network.option("psk")), options.integer(segment.network, "keepalive", 0, range(65536))
    for key, blocks in owners.items():
        remote = underlay.remote(segment.node, blocks[0], outer(segment, tunnel, blocks[0]))
        yield WireguardPeer(
            link=tunnel.name, public_key=key, remote=remote, port=tunnel.port, allowed=by_version([b.block for b in blocks]),
            psk=psk, keepalive=keepalive,
        )  # fmt: skip
