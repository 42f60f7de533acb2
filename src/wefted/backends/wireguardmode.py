"""Which WireGuard devices a network has on a host, and by which address each one reaches a peer. Pure.

One device for all blocks whose packets go to the hosts' preferred underlay addresses. In a network of flannel's, option `mode`
is flannel's Mode: `separate` has one device for each IP version, over an underlay of the same version; `auto`, `ipv4` and
`ipv6` have one, which reaches a peer by the address that suits, or by the one of that version.
"""

from __future__ import annotations

from dataclasses import dataclass

from wefted.model import options
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Segment
from wefted.model.wireguard import PORT

from . import underlay

PORTS_OF_NETWORKS = 8192
"""So many networks of one cluster have listen ports of their own: each has a device, and no two can share a port."""
PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One of our devices: its name, the IP version of its outer packets (0: our preferred, None: by peer), its blocks'."""

    name: str
    port: int
    outer: int | None
    versions: tuple[int, ...]


def tunnels(segment: Segment) -> tuple[Tunnel, ...]:
    """Return the device for all blocks, or flannel's for each IP version."""
    network = segment.network
    mode = network.option("mode")
    default = PORT if is_flannel(network) else PORT + network.number % PORTS_OF_NETWORKS
    port = options.integer(network, "port", default, PORTS)
    if mode != "separate":
        version = {"ipv4": 4, "ipv6": 6, "auto": None}.get(mode, 0)
        return (Tunnel(network.tunnel, port, version, (4, 6)),)
    used = {subnet.prefix.version for subnet in network.subnets}
    second = options.integer(network, "port6", PORT + 1, PORTS)
    both = Tunnel(network.tunnel, port, 4, (4,)), Tunnel(network.option("device6"), second, 6, (6,))
    reachable = used & {address.version for address in segment.node.addresses}
    return tuple(tunnel for tunnel in both if tunnel.outer in reachable)


def outer(segment: Segment, tunnel: Tunnel, peer: Lease) -> int:
    """Return the IP version of the packets to a peer; by flannel's rules where any may be: first what is not private."""
    if tunnel.outer is not None:
        return tunnel.outer
    both = sorted({a.version for a in peer.underlay} & {a.version for a in segment.node.addresses})
    public = [v for v in both if not underlay.first(peer.underlay, v).is_private and (v == 4 or _is_public(segment, v))]
    return next(iter((*public, *both)), 0)


def _is_public(segment: Segment, version: int) -> bool:
    return not underlay.first(segment.node.addresses, version).is_private
