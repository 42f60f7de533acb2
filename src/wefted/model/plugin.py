"""What Docker has asked for through the plugin and may come back to: its pools and its networks.

Docker names neither its network nor its container in the protocol. So a network has its name only after it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from .network import Subnet
from .objects import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerPool:
    """A range of addresses that Docker knows by its prefix."""

    prefix: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    """Only where the user chose it."""
    asked: bool = False
    """Whether the user chose the prefix."""
    network: str = ""
    """Docker's identifier of the network that was made with it; empty before that, and for other drivers' networks."""

    @property
    def id(self) -> str:
        return str(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerNetwork:
    """A network of this host's Docker with our driver. Networks of several hosts with one name are one network of ours."""

    id: str
    name: str = ""
    """Ours and Docker's; empty until Docker was asked for it."""
    driver: str = ""
    backend: str = ""
    """These two are empty where the user left them open: then an existing network of that name may have any."""
    mtu: int = 0
    internal: bool = False
    masquerade: bool = True
    isolated: bool = True
    options: tuple[tuple[str, str], ...] = ()
    subnets: tuple[Subnet, ...] = ()
    asked: bool = False
    """Whether the user chose the subnets, so that another network's cannot stand for them."""
    ours: bool = True
    """Whether its addresses come from our own IPAM."""
    trouble: str = ""
    """Why no container can join it."""
