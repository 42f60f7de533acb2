"""A macvlan for each container: it stands in the LAN of the host's link with a MAC of its own. Pure.

The kernel lets no packet pass between a link and its own macvlans, so host and containers do not reach each other, unless a
further macvlan in the host's namespace is their way (`shim`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.errors import Unsupported
from wefted.model import naming, options
from wefted.model.link import Macvlan
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks, shim, trunk
from .sandbox import attached, interior, placed

MODES = ("bridge", "private", "vepa", "passthru")


class MacvlanDriver:
    """Puts containers into the LAN, or with a layer 2 backend into the broadcast domain of a tunnel."""

    name = "macvlan"
    needs: tuple[str, ...] = ("macvlan",)
    host_gateway = False
    options: Mapping[str, str] = {
        "parent": "the host's link in whose LAN the containers stand (not with a backend)",
        "mode": f"one of {', '.join(MODES)} (default bridge)",
        "tag": "802.1Q VLAN on the parent, 1 to 4094",
        **shim.OPTIONS,
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, `Unsupported` with a backend that routes."""
        checks.known_options(network, self.options)
        mode = options.choice(network, "mode", MODES, "bridge")
        options.integer(network, "tag", 0, trunk.TAGS)
        shim.validate(network, mode, "bridge")
        if network.backend == "none":
            checks.parent(network)
            return
        _joined(network)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield a macvlan in each container's namespace."""
        network = segment.network
        alone = network.backend == "none"
        if alone:
            yield from trunk.objects(segment)
            yield from shim.objects(segment, attached(endpoints), _shim(segment))
        for endpoint in attached(endpoints):
            link = Macvlan(
                ns=endpoint.ns,
                name=endpoint.ifname,
                parent=trunk.link(network) if alone else network.tunnel,
                mode=options.choice(network, "mode", MODES, "bridge"),
                mac=endpoint.mac,
                mtu=segment.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield placed(link, endpoint)
            yield from interior(network, endpoint, announce=True)


def _shim(segment: Segment) -> Macvlan:
    network = segment.network
    return Macvlan(
        name=shim.link(network),
        parent=trunk.link(network),
        mac=naming.mac_of("shim", network.name, segment.node.id),
        alias=f"wefted shim {network.name}",
    )


def _joined(network: Network) -> None:
    """Check a network whose macvlans sit on the backend's tunnel."""
    for key in ("parent", "tag", "host_access"):
        if network.option(key):
            raise Unsupported(
                f"network {network.name!r}: option {key} does not go with backend {network.backend}: its tunnel is the parent",
                f"leave -o {key} out, or use --backend none",
            )
    if network.layer != 2:
        raise Unsupported(
            f"network {network.name!r}: driver macvlan does not go with a routed backend ({network.backend}, layer 3): "
            "its containers' packets do not pass the host",
            "use --backend vxlan -o layer=2, or --driver bridge",
        )
