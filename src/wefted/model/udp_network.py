"""What is known of a network of backend `udp` from its description alone. Pure."""

from __future__ import annotations

from .flannel_network import is_flannel
from .network import Network

BACKEND = "udp"
DEVICE = "flannel0"


def device(network: Network) -> str:
    """Return the name of the network's TUN device on every host; on flannel's networks it is flannel's."""
    return network.option("device") or (DEVICE if is_flannel(network) else network.tunnel)


def direct_bridge(network: Network) -> str:
    """Return the bridge of ours whose packets need no stack; "" where there is none, or where the user says no."""
    own = network.driver == "bridge" and not network.guest_of
    return network.link if own and network.option("direct", "on") == "on" else ""
