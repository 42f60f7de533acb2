"""What the host is to the containers of a network whose gateway it can be: a translator, a router, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.errors import Unsupported, UsageError
from wefted.model import options, spec
from wefted.model.network import Network

OPTIONS: Mapping[str, str] = {
    "gateway_mode": "nat; routed: no masquerading, reachable without published ports; isolated: no host address",
    "host_binding": "the host's address for published ports that name none",
}
_MODES = ("nat", "routed", "isolated")


def validate(network: Network) -> None:
    """Raise `UsageError` for a value that is none, and for what contradicts the rest of the network."""
    mode = options.choice(network, "gateway_mode", _MODES, "nat")
    binding = network.option("host_binding")
    if binding:
        spec.host_address(binding)
    if mode == "routed" and network.internal:
        raise UsageError(f"network {network.name!r} is internal, so nothing is routed to it", "leave one of the two out")
    if mode == "isolated":
        _validate_isolated(network)


def is_isolated(network: Network) -> bool:
    """Tell whether the host has no address in the network."""
    return network.option("gateway_mode") == "isolated"


def _validate_isolated(network: Network) -> None:
    if network.driver != "bridge" or (network.backend != "none" and network.layer == 3):
        raise Unsupported(
            f"network {network.name!r}: its packets are routed by the host, so the host needs an address in it",
            "use driver bridge with backend none, or with -o layer=2",
        )
    if any(subnet.prefix.version == 6 for subnet in network.subnets):
        raise Unsupported(
            f"network {network.name!r}: an isolated gateway is for IPv4 alone, because the host's IPv6 is off on the bridge",
            "leave the IPv6 subnet out, or use --internal",
        )
