"""How an endpoint is attached on one host. A new driver is one file here and one line in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.interfaces import Driver
from wefted.model.network import Network

from .bridge import BridgeDriver
from .dummy import DummyDriver
from .exclusive import refuse_second
from .host import HostDriver
from .ipoib import IpoibDriver
from .ipvlan import IpvlanDriver
from .lending import refuse_link
from .macvlan import MacvlanDriver
from .none import NoneDriver
from .phys import PhysDriver
from .ptp import PtpDriver
from .vlan import VlanDriver

__all__ = ["DRIVERS", "USING_LINKS", "host_is_gateway", "needs", "refuse_link", "refuse_second"]

_ALL: tuple[Driver, ...] = (
    BridgeDriver(),
    MacvlanDriver(),
    IpvlanDriver(),
    IpoibDriver(),
    VlanDriver(),
    PtpDriver(),
    PhysDriver(),
    DummyDriver(),
    HostDriver(),
    NoneDriver(),
)

USING_LINKS = frozenset({"macvlan", "ipvlan", "ipoib", "vlan", "phys"})
"""Drivers whose plans depend on links of the host that they do not make (`Segment.links`)."""

DRIVERS: Mapping[str, Driver] = {driver.name: driver for driver in _ALL}


def host_is_gateway(network: Network) -> bool:
    """Tell whether wefted makes the host the gateway of the network's containers.

    It does not in a bridge of somebody else, and in one VLAN of a bridge there may be other routers.
    """
    return DRIVERS[network.driver].host_gateway and not network.guest_of and not network.vlan


def needs(network: Network) -> tuple[str, ...]:
    """Return the kernel features without which a host cannot have the network (keys of `HostFacts.features`)."""
    return (*DRIVERS[network.driver].needs, *(("port-vlan",) if network.vlan and network.driver == "bridge" else ()))
