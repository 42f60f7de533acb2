"""A dummy link in each container: an interface that leads nowhere, for addresses that somebody else routes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model.link import Dummy
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks
from .sandbox import attached, interior


class DummyDriver:
    """Gives a container an interface of its own that is always up."""

    name = "dummy"
    needs: tuple[str, ...] = ("dummy",)
    host_gateway = False
    options: Mapping[str, str] = {}

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its links lead nowhere")

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the link in each container's namespace."""
        for endpoint in attached(endpoints):
            yield Dummy(
                ns=endpoint.ns,
                name=endpoint.ifname,
                mac=endpoint.mac,
                mtu=segment.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield from interior(segment.network, endpoint)
