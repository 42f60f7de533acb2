"""An ipvlan for each container: it stands in the LAN of the host's link and shares that link's MAC. Pure.

For LANs, switches and clouds that allow one MAC per port. Kernel: Documentation/networking/ipvlan.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.model import options
from wefted.model.link import Ipvlan
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks, shim, trunk
from .sandbox import attached, interior, placed

MODES = ("l2", "l3", "l3s")


class IpvlanDriver:
    """Puts containers into the LAN (l2), or behind the host's link without any broadcast (l3, l3s)."""

    name = "ipvlan"
    needs: tuple[str, ...] = ("ipvlan",)
    host_gateway = False
    options: Mapping[str, str] = {
        "parent": "the host's link in whose LAN the containers stand",
        "mode": f"one of {', '.join(MODES)} (default l2)",
        "tag": "802.1Q VLAN on the parent, 1 to 4094",
        **shim.OPTIONS,
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its containers share the MAC of the host's link")
        checks.parent(network)
        mode = options.choice(network, "mode", MODES, "l2")
        options.integer(network, "tag", 0, trunk.TAGS)
        shim.validate(network, mode, "l2")

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield an ipvlan in each container's namespace."""
        network = segment.network
        mode = options.choice(network, "mode", MODES, "l2")
        yield from trunk.objects(segment)
        way = Ipvlan(name=shim.link(network), parent=trunk.link(network), alias=f"wefted shim {network.name}")
        yield from shim.objects(segment, attached(endpoints), way)
        for endpoint in attached(endpoints):
            link = Ipvlan(
                ns=endpoint.ns,
                name=endpoint.ifname,
                parent=trunk.link(network),
                mode=mode,
                mtu=segment.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield placed(link, endpoint)
            # In l3 and l3s the interface has no ARP and the host's link routes: no next hop could ever be resolved.
            yield from interior(network, endpoint, gateways=mode == "l2", announce=mode == "l2")
