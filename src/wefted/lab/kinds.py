"""The kinds of network that the demo shows, and what is to be expected of each. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A driver with a backend. `spans`: its containers reach those of other hosts; `publishes`: hosts can publish ports."""

    title: str
    name: str
    driver: str
    backend: str = "none"
    spans: bool = True
    publishes: bool = True
    options: tuple[tuple[str, str], ...] = ()
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what `network.create` takes."""
        return {
            "name": self.name,
            "driver": self.driver,
            "backend": self.backend,
            "options": dict(self.options),
            "subnets": [self.subnet] if self.subnet else [],
            "gateways": [self.gateway] if self.gateway else [],
            "ip_ranges": [self.ip_range] if self.ip_range else [],
        }


KINDS = (
    Kind(title="bridge", name="plain", driver="bridge", spans=False),
    Kind(title="bridge+host-gw", name="routed", driver="bridge", backend="host-gw"),
    Kind(title="bridge+vxlan", name="overlay", driver="bridge", backend="vxlan"),
    Kind(title="bridge+vxlan L2", name="segment", driver="bridge", backend="vxlan", options=(("layer", "2"),)),
    Kind(
        title="macvlan",
        name="lan",
        driver="macvlan",
        publishes=False,
        options=(("parent", "eth0"),),
        subnet="192.168.50.0/24",
        gateway="192.168.50.253",
        ip_range="192.168.50.128/26",
    ),
    Kind(title="ptp", name="pairs", driver="ptp", spans=False),
)
"""All of them, in the order in which the demo shows them. The macvlan one hands out addresses of the lab's own segment."""

KEPT = KINDS[2]
"""The one that stays where the user wants to look around."""
