"""How an endpoint is attached on one host. A new driver is one file here and one line in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.interfaces import Driver
from wefted.model.network import Network

from .bridge import BridgeDriver
from .exclusive import refuse_second
from .host import HostDriver
from .ipvlan import IpvlanDriver
from .lending import refuse_link
from .macvlan import MacvlanDriver
from .none import NoneDriver
from .phys import PhysDriver
from .ptp import PtpDriver
from .vlan import VlanDriver

__all__ = ["DRIVERS", "USING_LINKS", "host_is_gateway", "refuse_link", "refuse_second"]

_ALL: tuple[Driver, ...] = (
    BridgeDriver(),
    MacvlanDriver(),
    IpvlanDriver(),
    VlanDriver(),
    PtpDriver(),
    PhysDriver(),
    HostDriver(),
    NoneDriver(),
)

USING_LINKS = frozenset({"macvlan", "ipvlan", "vlan", "phys"})
"""Drivers whose plans depend on links of the host that they do not make (`Segment.links`)."""

DRIVERS: Mapping[str, Driver] = {driver.name: driver for driver in _ALL}


def host_is_gateway(network: Network) -> bool:
    """Tell whether wefted makes the host the gateway of the network's containers; in a bridge of somebody else it does not."""
    return DRIVERS[network.driver].host_gateway and not network.guest_of
