"""How the hosts of a network are joined. A new backend is one file here and one line in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wefted.interfaces import Backend
from wefted.model.lease import Lease
from wefted.model.network import Segment

from .alloc import AllocBackend
from .extension import ExtensionBackend, before_lease
from .hostgw import HostGatewayBackend
from .ipip import IpipBackend
from .none import NoneBackend
from .udp import UdpBackend
from .underlay import shared_addresses, widest
from .vxlan import AutoBackend, VxlanBackend
from .wireguard import WireguardBackend

__all__ = ["BACKENDS", "before_lease", "shared_addresses", "unreachable", "widest"]

_ALL: tuple[Backend, ...] = (
    NoneBackend(),
    AutoBackend(),
    HostGatewayBackend(),
    VxlanBackend(),
    IpipBackend(),
    UdpBackend(),
    WireguardBackend(),
    AllocBackend(),
    ExtensionBackend(),
)

BACKENDS: Mapping[str, Backend] = {backend.name: backend for backend in _ALL}


def unreachable(segment: Segment, peers: Sequence[Lease]) -> Mapping[Lease, str]:
    """Return the leases of `peers` to which the network's backend has no way from here, and why."""
    backend = BACKENDS[segment.network.backend]
    return {peer: reason for peer in peers if (reason := backend.obstacle(segment, peer))}
