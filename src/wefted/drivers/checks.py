"""What drivers refuse, in one wording. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.errors import Unsupported, UsageError
from wefted.model import options
from wefted.model.network import Network


def known_options(network: Network, known: Mapping[str, str]) -> None:
    """Raise `UsageError` for an unknown option key; those of a backend are left to whoever knows both."""
    if network.backend == "none":
        options.reject_unknown(network.name, dict(network.options), known)


def no_backend(network: Network, why: str) -> None:
    """Raise `Unsupported` where a driver without backends is to join hosts."""
    if network.backend != "none":
        raise Unsupported(
            f"network {network.name!r}: driver {network.driver} does not go with backend {network.backend}: {why}",
            "use --backend none, or one of the drivers bridge, ptp, macvlan",
        )


def no_subnets(network: Network) -> None:
    """Raise `UsageError` where a driver that gives no addresses has subnets."""
    if network.subnets:
        raise UsageError(
            f"network {network.name!r}: driver {network.driver} has no addresses of its own, so it takes no subnet",
            "leave --subnet out",
        )


def some_subnet(network: Network) -> None:
    """Raise `UsageError` where addresses are the only way to a container and none can be given."""
    if not network.subnets:
        raise UsageError(f"network {network.name!r}: driver {network.driver} needs a subnet", "add --subnet 10.64.0.0/16")


def parent(network: Network, key: str = "parent") -> str:
    """Return the option that names a link of the host. Raises `UsageError` where it is missing or cannot be a name."""
    name = options.interface(network, key)
    if not name:
        raise UsageError(
            f"network {network.name!r}: driver {network.driver} needs the option {key}",
            f"name a link of the host: -o {key}=eth0 (see them: ip link)",
        )
    return name
