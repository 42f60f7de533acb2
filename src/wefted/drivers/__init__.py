"""How an endpoint is attached on one host. A new driver is one file here and one line in the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.interfaces import Driver

from .bridge import BridgeDriver
from .exclusive import refuse_second
from .host import HostDriver
from .ipvlan import IpvlanDriver
from .macvlan import MacvlanDriver
from .none import NoneDriver
from .phys import PhysDriver
from .ptp import PtpDriver
from .vlan import VlanDriver

__all__ = ["DRIVERS", "refuse_second"]

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

DRIVERS: Mapping[str, Driver] = {driver.name: driver for driver in _ALL}
