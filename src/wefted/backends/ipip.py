"""IPv4 in IPv4 (RFC 2003): 20 bytes for each packet, the least that a tunnel can take. Pure.

As flannel's backend of the same name: one device for all peers, without a far end of its own. A route names the peer's underlay
address as its next hop, and the device sends there (`ipip_tunnel_xmit` in the kernel: of a tunnel without a remote address, the
next hop is the destination).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from wefted.model.firewall import Sysctl
from wefted.model.lease import Lease
from wefted.model.link import Ipip
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.route import Address, Route

from . import checks, direct, underlay


class IpipBackend:
    """Wraps IPv4 packets in IPv4 packets; no ports, so it does not pass routers that translate addresses."""

    name = "ipip"
    needs: tuple[str, ...] = ("ipip",)
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {
        "device": "name of the tunnel device (default: a name that follows from the network's)",
        "direct_routing": direct.HELP,
    }

    def validate(self, network: Network) -> None:
        """Raise `Unsupported` for layer 2 and for IPv6 subnets, `UsageError` for bad options and without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        checks.only_ipv4(network)
        checks.tunnel_names(network)
        direct.wanted(network)

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return the outer IPv4 header in bytes."""
        return 20

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return nothing: the underlay address in the lease is all that a peer needs."""
        return {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why neither a plain route nor the tunnel leads to a peer, or ""."""
        return "" if _is_direct(segment, peer) else underlay.no_tunnel(segment, peer, 4)

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the device and a route to each peer; nothing while the node has no IPv4 address on the underlay."""
        network = segment.network
        if direct.wanted(network):
            yield from direct.routes(segment, peers)
        local = underlay.local(segment.node, 4)
        if local is None:
            return
        yield Ipip(name=network.tunnel, local=local, mtu=segment.mtu, alias=f"wefted {network.name}")
        yield Sysctl(name=f"net/ipv4/conf/{network.tunnel}/forwarding", value="1")
        for lease in [lease for lease in segment.leases if lease.block.version == 4][:1]:
            yield Address(link=network.tunnel, address=ip_interface(lease.block.network_address))
        for peer in peers:
            if peer.block.version == 4 and not _is_direct(segment, peer) and not self.obstacle(segment, peer):
                via = underlay.remote(segment.node, peer, 4)
                yield Route(destination=peer.block, link=network.tunnel, via=via, onlink=True)


def _is_direct(segment: Segment, peer: Lease) -> bool:
    return direct.wanted(segment.network) and underlay.next_hop(segment.node, peer) is not None
