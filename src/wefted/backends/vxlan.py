"""A VXLAN (RFC 7348) between the hosts, without multicast: who is where is written from the leases, never asked. Pure.

Layer 3, as flannel does it: the device holds the first address of our block, and each peer's block is routed through the
first address of that block; a permanent neighbour turns it into the peer's VTEP MAC, a forwarding entry that MAC into the
peer's underlay address. Layer 2: the device is a port of the bridge, it learns, and floods to each peer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from wefted.model import naming, options
from wefted.model.firewall import Sysctl
from wefted.model.lease import Lease
from wefted.model.link import Vxlan
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.route import FLOOD, Address, ForwardingEntry, Neighbor, Route

from . import checks, underlay

PORT = 4789
VNIS = range(1, 1 << 24)


class VxlanBackend:
    """Wraps whole Ethernet frames in UDP: works over every routed underlay, at both layers."""

    name = "vxlan"
    needs: tuple[str, ...] = ("vxlan",)
    layers: tuple[int, ...] = (3, 2)
    options: Mapping[str, str] = {
        "vni": "VXLAN network identifier, 1 to 16777215 (default: the network's number)",
        "port": f"UDP port (default {PORT})",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, or at layer 3 without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        options.integer(network, "vni", 0, VNIS)
        options.integer(network, "port", PORT, range(1, 65536))

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return outer IP (20 or 40) + UDP (8) + VXLAN (8) + inner Ethernet (14) in bytes."""
        return 70 if underlay is not None and underlay.version == 6 else 50

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return our VTEP's MAC where peers route; where they flood they learn it."""
        return {"vtep_mac": _mac(segment.network, segment.node.id)} if segment.network.layer == 3 else {}

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the device and what leads to the peers; nothing while the node has no underlay address."""
        if (local := underlay.local(segment.node)) is None:
            return
        yield _device(segment, local)
        remotes = [(peer, remote) for peer in peers if (remote := underlay.remote(segment.node, peer)) is not None]
        if segment.network.layer == 2:
            for remote in dict.fromkeys(remote for _, remote in remotes):
                yield ForwardingEntry(link=segment.network.tunnel, mac=FLOOD, remote=remote)
        else:
            yield from _routed(segment, remotes)


def _device(segment: Segment, local: IPAddress) -> Vxlan:
    network = segment.network
    bridged = network.layer == 2 and network.driver == "bridge"
    return Vxlan(
        name=network.tunnel,
        vni=options.integer(network, "vni", network.number, VNIS),
        local=local,
        device=segment.node.device,
        port=options.integer(network, "port", PORT, range(1, 65536)),
        learning=network.layer == 2,
        mac=_mac(network, segment.node.id),
        mtu=segment.mtu,
        master=network.link if bridged else "",
        alias=f"wefted {network.name}",
    )


def _routed(segment: Segment, remotes: Sequence[tuple[Lease, IPAddress]]) -> Iterator[KernelObject]:
    tunnel = segment.network.tunnel
    if any(subnet.prefix.version == 4 for subnet in segment.network.subnets):
        yield Sysctl(name=f"net/ipv4/conf/{tunnel}/forwarding", value="1")
    first = {lease.block.version: lease.block.network_address for lease in reversed(segment.leases)}
    for address in first.values():
        yield Address(link=tunnel, address=ip_interface(address))
    macs = [(peer.get("vtep_mac") or _mac(segment.network, peer.node), peer, remote) for peer, remote in remotes]
    for mac, remote in dict.fromkeys((mac, remote) for mac, _, remote in macs):
        yield ForwardingEntry(link=tunnel, mac=mac, remote=remote)
    for mac, peer, _ in macs:
        via = peer.block.network_address
        yield Neighbor(link=tunnel, address=via, mac=mac)
        yield Route(destination=peer.block, link=tunnel, via=via, onlink=True)


def _mac(network: Network, node: str) -> str:
    return naming.mac_of("vtep", network.name, node)
