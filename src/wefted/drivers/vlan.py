"""An 802.1Q sub-interface of the host's link, inside the container: it gets one VLAN, whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.errors import UsageError
from wefted.model import options
from wefted.model.link import Vlan
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks
from .sandbox import attached, interior, placed
from .trunk import TAGS


class VlanDriver:
    """Gives one container on each host a VLAN of a trunk; the kernel refuses a second one with the same tag."""

    name = "vlan"
    needs: tuple[str, ...] = ("vlan",)
    host_gateway = False
    options: Mapping[str, str] = {
        "parent": "the host's link that carries the trunk",
        "tag": "the VLAN, 1 to 4094",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad or missing options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its LAN joins the hosts already")
        checks.parent(network)
        if not options.integer(network, "tag", 0, TAGS):
            raise UsageError(f"network {network.name!r}: driver vlan needs the option tag", "name the VLAN: -o tag=10")

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the VLAN's sub-interface in the container's namespace."""
        for endpoint in attached(endpoints):
            link = Vlan(
                ns=endpoint.ns,
                name=endpoint.ifname,
                parent=segment.network.option("parent"),
                tag=options.integer(segment.network, "tag", 0, TAGS),
                mac=endpoint.mac,
                mtu=segment.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield placed(link, endpoint)
            yield from interior(segment.network, endpoint, announce=True)
