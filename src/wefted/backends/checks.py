"""What backends refuse, in one wording. Pure."""

from __future__ import annotations

from collections.abc import Collection

from wefted.errors import Unsupported, UsageError
from wefted.model import options
from wefted.model.network import Network
from wefted.model.x25519 import decoded


def layer(network: Network, layers: Collection[int]) -> None:
    """Raise `Unsupported` for a layer at which the backend cannot join hosts."""
    if network.layer not in layers:
        able = ", ".join(str(n) for n in layers)
        raise Unsupported(
            f"network {network.name!r}: backend {network.backend} joins hosts at layer {able}, not {network.layer}",
            f"use -o layer={able}" if len(layers) == 1 else "use -o layer=2 or -o layer=3",
        )


def some_subnet(network: Network) -> None:
    """Raise `UsageError` where blocks are to be routed and there is no subnet to cut them from."""
    if network.layer == 3 and not network.subnets:
        raise UsageError(
            f"network {network.name!r}: backend {network.backend} routes blocks of a subnet, and there is none",
            "add --subnet 10.64.0.0/16",
        )


def tunnel_names(network: Network) -> None:
    """Raise `UsageError` for names that no link can have, or for two tunnels of one name."""
    first, second = options.interface(network, "device"), options.interface(network, "device6")
    if first and first == second:
        raise UsageError(f"network {network.name!r}: options device and device6 are both {first!r}", "give each its own name")


def wireguard_key(network: Network, key: str) -> None:
    """Raise `UsageError` for an option that is no WireGuard key; the message does not show it."""
    if network.option(key) and decoded(network.option(key)) is None:
        raise UsageError(f"network {network.name!r}: option {key} is no WireGuard key", "make one: wg genpsk")


def only_ipv4(network: Network) -> None:
    """Raise `Unsupported` for IPv6 subnets, which the tunnel cannot carry."""
    for subnet in network.subnets:
        if subnet.prefix.version != 4:
            raise Unsupported(
                f"network {network.name!r}: backend {network.backend} carries IPv4 only, and {subnet.prefix} is not",
                "use --backend vxlan",
            )
