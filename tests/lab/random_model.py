"""What the random sequences know of networks, endpoints and ports: a model in memory, smaller than the program."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from .random_host import PARENT


@dataclass(frozen=True)
class Shape:
    """A kind of network; `gateway`: whether its containers get a default route, `ports`: whether they can publish."""

    name: str
    wanted: dict[str, Any] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("10.{}.0.0/24",)
    gateway: bool = True
    ports: bool = True

    def subnets(self, number: int) -> list[str]:
        return [prefix.format(100 + number) for prefix in self.prefixes]

    def __repr__(self) -> str:
        return self.name


V4, V6 = "10.{}.0.0/24", "fd00:{}::/64"
SHAPES = [
    Shape("bridge"),
    Shape("small", prefixes=("10.{}.0.0/30",)),
    Shape("six", prefixes=(V6,)),
    Shape("dual", prefixes=(V4, V6)),
    Shape("internal", {"internal": True}, (V4, V6), gateway=False, ports=False),
    Shape("cut-off", {"options": {"gateway_mode": "isolated"}}, gateway=False, ports=False),
    Shape("routed", {"options": {"gateway_mode": "routed", "icc": "off"}}, (V4, V6)),
    Shape("vxlan", {"backend": "vxlan"}, (V4, V6)),
    Shape("segment", {"backend": "vxlan", "options": {"layer": "2"}}),
    Shape("ptp", {"driver": "ptp"}),
    Shape("ptp-dual", {"driver": "ptp"}, (V4, V6)),
    Shape("macvlan", {"driver": "macvlan", "options": {"parent": PARENT}}, (V4, V6), gateway=False, ports=False),
    Shape("none", {"driver": "none"}, (), gateway=False, ports=False),
    Shape("host", {"driver": "host"}, (), gateway=False, ports=False),
]


@dataclass
class Member:
    """An endpoint as the model has it."""

    ifname: str
    addresses: tuple[str, ...]
    priority: int
    ports: list[str] = field(default_factory=list)


def asked(network: str, name: str) -> dict[str, Any]:
    return {"network": network, "containers": [f"netns:{name}"]}


def narrow(address: str, shape: Shape) -> str:
    """Return an address as it stands on the interface: alone where there is no neighbour."""
    interface = ip_interface(address)
    return str(ip_interface(interface.ip)) if shape.wanted.get("driver") == "ptp" else address


def parted(port: str) -> tuple[str, str, str]:
    """Return a port's address or "", its number and its protocol."""
    rest, protocol = port.split("/")
    *ip, number, _ = rest.split(":")
    return "".join(ip), number, protocol


def clash(a: str, b: str) -> bool:
    (ip, *service), (other, *theirs) = parted(a), parted(b)
    return service == theirs and (ip == other or "" in (ip, other))
