"""A child of an InfiniBand link for each container: macvlans need Ethernet, partitions take their place. Pure.

Kernel: Documentation/infiniband/ipoib.rst. The card gives each child an address of its own, which cannot be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.errors import UsageError
from wefted.model import options
from wefted.model.link import Ipoib
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.objects import KernelObject

from . import checks
from .sandbox import attached, interior

MODES = ("datagram", "connected")
_FULL_MEMBER = 0x8000
"""The highest bit of a partition key: members without it talk to full members only (InfiniBand Architecture, 10.9.1)."""
_EVERYBODY = 0x7FFF


class IpoibDriver:
    """Puts containers into a partition of an InfiniBand fabric."""

    name = "ipoib"
    needs: tuple[str, ...] = ("ipoib",)
    host_gateway = False
    options: Mapping[str, str] = {
        "parent": "the host's InfiniBand link",
        "pkey": "the partition, as in 0x8001 (default 0xffff, of which every port is a member)",
        "mode": f"one of {', '.join(MODES)} (default datagram)",
    }

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for bad options, `Unsupported` with a backend."""
        checks.known_options(network, self.options)
        checks.no_backend(network, "its fabric joins the hosts already")
        checks.parent(network)
        options.choice(network, "mode", MODES, "datagram")
        _pkey(network)

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield a child link in each container's namespace."""
        network = segment.network
        for endpoint in attached(endpoints):
            yield Ipoib(
                ns=endpoint.ns,
                name=endpoint.ifname,
                parent=network.option("parent"),
                pkey=_pkey(network),
                mode=options.choice(network, "mode", MODES, "datagram"),
                mtu=network.mtu,
                alias=f"{endpoint.network} {endpoint.container}",
            )
            yield from interior(network, endpoint)


def _pkey(network: Network) -> int:
    """Return the partition key as a full member's. Raises `UsageError` for what is none."""
    text = network.option("pkey", "0xffff")
    try:
        key = int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        key = 0
    if not 0 < key & _EVERYBODY <= _EVERYBODY or key > 0xFFFF or key < 0:
        message = f"network {network.name!r}: option pkey is {text!r}, not a partition key from 0x0001 to 0xffff"
        raise UsageError(message, "write it as your subnet manager does: -o pkey=0x8001")
    return key | _FULL_MEMBER
