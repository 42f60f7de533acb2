"""A link of the host itself, lent to one container for as long as it is connected. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model import options
from wefted.model.link import MovedLink
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks
from .sandbox import attached, interior


class PhysDriver:
    """Moves a link into a container; it keeps its own MAC, which switches and virtual functions may insist on."""

    name = "phys"
    needs: tuple[str, ...] = ()
    host_gateway = False
    options: Mapping[str, str] = {
        "device": "the host's link that is lent to the container",
        "force": "on: also a link that the host itself needs (off)",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` without a device, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its link joins the container to a LAN already")
        checks.parent(network, "device")
        options.choice(network, "force", ("on", "off"), "off")

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the link in the container's namespace, with the MTU that it has unless the network says another."""
        network = segment.network
        for endpoint in attached(endpoints):
            yield MovedLink(
                ns=endpoint.ns,
                name=endpoint.ifname,
                origin=network.option("device"),
                mtu=network.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield from interior(network, endpoint, announce=True)
