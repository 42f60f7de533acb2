"""The host's own namespace: a container that shares it has every address of the host and needs nothing from us. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks


class HostDriver:
    """Makes nothing; it is there so that such containers have a name and are listed."""

    name = "host"
    needs: tuple[str, ...] = ()
    host_gateway = False
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for subnets and options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its containers share the host's namespace")
        checks.no_subnets(network)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield nothing."""
        yield from ()
