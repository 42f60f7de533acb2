"""Bare IP packets in UDP, as flannel's backend of that name: between any hosts that reach each other by UDP. Pure.

Each node has a TUN device with the first address of its block; peers' blocks are routed into it, and what wraps and unwraps
knows from the leases at whose address each block is. Nothing is announced. On networks of flannel, and where `-o device=NAME`
asks for it, the device has flannel's name and the whole network's route, as its texts show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from wefted.model import options
from wefted.model.firewall import Sysctl
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, IPNetwork, KernelObject
from wefted.model.route import Address, Route
from wefted.model.tunnel import Tun, UdpPeer, UdpTunnel
from wefted.model.udp_network import BACKEND, DEVICE, device, direct_bridge

from . import checks, underlay

PORT = 8285
_PORTS = range(1, 65536)


class UdpBackend:
    """Wraps IP packets in UDP: works over every routed underlay, at layer 3."""

    name = BACKEND
    needs: tuple[str, ...] = ("tun",)
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {
        "port": f"UDP port, the same on all hosts (default {PORT})",
        "device": f"name of the TUN device, with a route for the whole network (flannel's networks: {DEVICE})",
        "direct": "on or off: packets between containers pass the host's stack by, where programs in the kernel carry them",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, or without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        options.integer(network, "port", PORT, _PORTS)
        options.choice(network, "direct", ("on", "off"), "on")
        options.interface(network, "device")

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return outer IP (20 or 40) + UDP (8) in bytes."""
        return 48 if underlay is not None and underlay.version == 6 else 28

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return nothing: the underlay address in the lease is all that a peer needs."""
        return {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why no tunnel leads to a peer, or ""."""
        return underlay.no_tunnel(segment, peer)

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the device, the tunnel and the peers' blocks; nothing while the node has no underlay address or no block."""
        local = underlay.local(segment.node)
        if local is None or not segment.leases:
            return
        tun, port = device(segment.network), options.integer(segment.network, "port", PORT, _PORTS)
        blocks = _sorted(lease.block for lease in segment.leases)
        yield Tun(name=tun, mtu=segment.mtu, alias=f"wefted {segment.network.name}")
        yield UdpTunnel(
            link=tun, device=segment.node.device, local=local, port=port, bridge=direct_bridge(segment.network), blocks=blocks
        )
        if any(block.version == 4 for block in blocks):
            yield Sysctl(name=f"net/ipv4/conf/{tun}/forwarding", value="1")
        first = {block.version: block.network_address for block in reversed(blocks)}
        for address in first.values():
            yield Address(link=tun, address=ip_interface(address))
        for peer in peers:
            remote = underlay.remote(segment.node, peer)
            if remote is not None and not self.obstacle(segment, peer):
                yield UdpPeer(link=tun, block=peer.block, remote=remote, port=port)
                yield Route(destination=peer.block, link=tun)
        if _is_whole(segment.network):
            # What answers for nobody's address comes in by the device with the device's own address.
            yield Sysctl(name=f"net/ipv4/conf/{tun}/accept_local", value="1")
            yield from (Route(destination=subnet.prefix, link=tun) for subnet in segment.network.subnets)


def _is_whole(network: Network) -> bool:
    return bool(network.option("device")) or is_flannel(network)


def _sorted(blocks: Iterator[IPNetwork] | Sequence[IPNetwork]) -> tuple[IPNetwork, ...]:
    return tuple(sorted(blocks, key=lambda block: (block.version, int(block.network_address))))
