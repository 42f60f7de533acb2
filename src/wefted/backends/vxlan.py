"""A VXLAN (RFC 7348) between the hosts, without multicast: who is where is written from the leases, never asked. Pure.

Layer 3, as flannel does it: the device holds the first address of our block, and each peer's block is routed through the
first address of that block; a permanent neighbour turns it into the peer's VTEP MAC, a forwarding entry that MAC into the
peer's underlay address. Layer 2: the device is a port of the bridge, it learns, and floods to each peer.

`auto` is the same with a plain route wherever both hosts are on one segment. Which peers are is worked out with each plan, so
it follows the addresses of both. Every packet fits into the tunnel all the same, for peers may move behind a router.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from wefted.model import naming, options
from wefted.model.firewall import Sysctl
from wefted.model.flannel_network import STRANGER
from wefted.model.lease import Lease
from wefted.model.link import Vxlan
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject
from wefted.model.route import FLOOD, Address, ForwardingEntry, Neighbor, Route

from . import checks, direct, underlay

PORT = 4789
VNIS = range(1, 1 << 24)


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """One of our devices: its name, the IP version of its outer packets, and those of the blocks that go by it."""

    name: str
    outer: int
    versions: tuple[int, ...]


class VxlanBackend:
    """Wraps whole Ethernet frames in UDP: works over every routed underlay, at both layers."""

    name = "vxlan"
    needs: tuple[str, ...] = ("vxlan",)
    layers: tuple[int, ...] = (3, 2)
    options: Mapping[str, str] = {
        "vni": "VXLAN network identifier, 1 to 16777215 (default: the network's number)",
        "port": f"UDP port (default {PORT})",
        "device": "name of the VXLAN device (default: a name that follows from the network's)",
        "device6": "name of a second one, for IPv6 blocks over an IPv6 underlay (default: both versions share one)",
        "direct_routing": direct.HELP,
        "gbp": "on: VXLAN Group Policy, so that a packet's firewall mark arrives with it (default off)",
        "learning": "on: the device also learns from what it receives (default off; at layer 2 it always does)",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, or at layer 3 without a subnet."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        options.integer(network, "vni", 0, VNIS)
        options.integer(network, "port", PORT, range(1, 65536))
        checks.tunnel_names(network)
        for key in ("gbp", "learning"):
            options.choice(network, key, direct.SWITCH, "off")
        if direct.wanted(network):
            checks.layer(network, (3,))

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return outer IP (20 or 40) + UDP (8) + VXLAN (8) + inner Ethernet (14) in bytes."""
        return 70 if underlay is not None and underlay.version == 6 else 50

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return our VTEP's MAC where peers route; where they flood they learn it."""
        return {"vtep_mac": _mac(segment.network, segment.node.id)} if segment.network.layer == 3 else {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why neither a plain route nor the tunnel leads to a peer, or ""."""
        if self._is_direct(segment, peer):
            return ""
        tunnel = next(t for t in _tunnels(segment) if peer.block.version in t.versions)
        return underlay.no_tunnel(segment, peer, tunnel.outer) or _no_vtep(segment.network, peer)

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield the devices and what leads to the peers; nothing while the node has no underlay address."""
        if self._routes_directly(segment.network):
            yield from direct.routes(segment, peers)
        wrapped = [p for p in peers if not self._is_direct(segment, p) and not self.obstacle(segment, p)]
        for tunnel in _tunnels(segment):
            local = underlay.local(segment.node, tunnel.outer)
            if local is not None:
                yield _device(segment, tunnel, local)
                yield from _ways(segment, tunnel, [p for p in wrapped if p.block.version in tunnel.versions])

    def _routes_directly(self, network: Network) -> bool:
        return direct.wanted(network)

    def _is_direct(self, segment: Segment, peer: Lease) -> bool:
        return self._routes_directly(segment.network) and underlay.next_hop(segment.node, peer) is not None


class AutoBackend(VxlanBackend):
    """For each peer the cheapest way that works: a plain route on one segment, the tunnel otherwise."""

    name = "auto"
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {key: text for key, text in VxlanBackend.options.items() if key != "direct_routing"}

    def _routes_directly(self, network: Network) -> bool:
        return True


def _tunnels(segment: Segment) -> tuple[_Tunnel, ...]:
    """Return one for all blocks, or one for each IP version, as flannel has them; that needs an underlay of both."""
    second = segment.network.option("device6")
    if not second or underlay.local(segment.node, 6) is None:
        return (_Tunnel(segment.network.tunnel, 0, (4, 6)),)
    both = _Tunnel(segment.network.tunnel, 4, (4,)), _Tunnel(second, 6, (6,))
    used = {subnet.prefix.version for subnet in segment.network.subnets}
    return tuple(tunnel for tunnel in both if tunnel.outer in used)


def _device(segment: Segment, tunnel: _Tunnel, local: IPAddress) -> Vxlan:
    network = segment.network
    bridged = network.layer == 2 and network.driver == "bridge"
    return Vxlan(
        name=tunnel.name,
        vni=options.integer(network, "vni", network.number, VNIS),
        local=local,
        device=segment.node.device,
        port=options.integer(network, "port", PORT, range(1, 65536)),
        learning=network.layer == 2 or network.option("learning") == "on",
        gbp=network.option("gbp") == "on",
        mac=_mac(network, segment.node.id),
        mtu=segment.mtu,
        master=network.link if bridged else "",
        alias=f"wefted {network.name}",
    )


def _ways(segment: Segment, tunnel: _Tunnel, peers: Sequence[Lease]) -> Iterator[KernelObject]:
    remotes = [(p, remote) for p in peers if (remote := underlay.remote(segment.node, p, tunnel.outer)) is not None]
    if segment.network.layer == 2:
        for remote in dict.fromkeys(remote for _, remote in remotes):
            yield ForwardingEntry(link=tunnel.name, mac=FLOOD, remote=remote)
    else:
        yield from _routed(segment, tunnel, remotes)


def _routed(segment: Segment, tunnel: _Tunnel, remotes: Sequence[tuple[Lease, IPAddress]]) -> Iterator[KernelObject]:
    if 4 in tunnel.versions and any(subnet.prefix.version == 4 for subnet in segment.network.subnets):
        yield Sysctl(name=f"net/ipv4/conf/{tunnel.name}/forwarding", value="1")
    first = {lease.block.version: lease.block.network_address for lease in reversed(segment.leases)}
    for address in (address for version, address in first.items() if version in tunnel.versions):
        yield Address(link=tunnel.name, address=ip_interface(address))
    macs = [(peer.get("vtep_mac") or _mac(segment.network, peer.node), peer, remote) for peer, remote in remotes]
    for mac, remote in dict.fromkeys((mac, remote) for mac, _, remote in macs):
        yield ForwardingEntry(link=tunnel.name, mac=mac, remote=remote)
    for mac, peer, _ in macs:
        via = peer.block.network_address
        yield Neighbor(link=tunnel.name, address=via, mac=mac)
        yield Route(destination=peer.block, link=tunnel.name, via=via, onlink=True)


def _no_vtep(network: Network, peer: Lease) -> str:
    """Return why a peer has no device that could answer ours, or ""."""
    if network.layer == 3 and peer.node.startswith(STRANGER) and not peer.get("vtep_mac"):
        return "it announces no VTEP MAC: its flannel has another backend"
    vni = options.integer(network, "vni", network.number, VNIS)
    if peer.get("vni") not in ("", str(vni)):
        return f"it announces VNI {peer.get('vni')}, and the network's is {vni}: restart it there"
    return ""


def _mac(network: Network, node: str) -> str:
    return naming.mac_of("vtep", network.name, node)
