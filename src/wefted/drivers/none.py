"""No network at all: a container with its loopback alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks
from .sandbox import attached, loopback


class NoneDriver:
    """Turns the loopback on and leaves the rest alone."""

    name = "none"
    needs: tuple[str, ...] = ()
    host_gateway = False
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for subnets and options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its containers have no link")
        checks.no_subnets(network)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the loopback of each container."""
        for endpoint in attached(endpoints):
            yield loopback(endpoint)
