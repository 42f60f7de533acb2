"""The network, host and containers that the drivers' tests plan for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from wefted.drivers import DRIVERS
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import IPInterface, Netns

HOST_1 = Node(id="n1", name="h1", underlay=(ip_interface("192.168.50.1/24"),), device="eth0")
SUBNETS = {4: ip_network("10.64.0.0/16"), 6: ip_network("fd64::/48")}
BLOCKS = {4: ip_network("10.64.1.0/24"), 6: ip_network("fd64:0:0:1::/64")}
OPTIONS = {
    "bridge": {},
    "macvlan": {"parent": "eth1"},
    "ipvlan": {"parent": "eth1"},
    "vlan": {"parent": "eth1", "tag": "10"},
    "ipoib": {"parent": "ib0"},
    "ptp": {},
    "phys": {"device": "eth2"},
    "dummy": {},
    "host": {},
    "none": {},
}
FAMILIES = [(4,), (6,), (4, 6)]
WITHOUT_ADDRESSES = {"host", "none"}


def network(driver: str, versions: tuple[int, ...] = (4,), **changes: object) -> Network:
    """Return a network that the driver accepts; `options` are added to those that it needs."""
    extra = dict(changes.pop("options", {}))  # type: ignore[call-overload]
    subnets = () if driver in WITHOUT_ADDRESSES else tuple(Subnet(prefix=SUBNETS[v]) for v in versions)
    options = tuple(sorted({**OPTIONS[driver], **extra}.items()))
    return replace(Network(name="web", driver=driver, subnets=subnets, options=options), **changes)


def segment(network: Network, single: bool = False) -> Segment:
    versions = [subnet.prefix.version for subnet in network.subnets]
    leases = tuple(Lease(network="web", block=(SUBNETS if single else BLOCKS)[v], node="n1") for v in versions)
    gateway = DRIVERS[network.driver].host_gateway
    return Segment(network=network, node=HOST_1, leases=leases, single=single, mtu=1450 if gateway else 0, host_gateway=gateway)


def endpoint(network: Network, number: int = 1, prefixlens: dict[int, int] | None = None, **changes: object) -> Endpoint:
    """Return a container whose addresses end with `number` + 1, in this node's blocks."""
    versions = [subnet.prefix.version for subnet in network.subnets]
    lengths = prefixlens or {4: 24, 6: 64}
    made = Endpoint(
        network="web",
        container=f"netns:c{number}",
        ns=Netns(f"c{number}"),
        mac=f"02:77:0a:40:01:{number + 1:02x}",
        addresses=tuple(_at(v, number + 1, lengths[v]) for v in versions),
        gateways=tuple(BLOCKS[v].network_address + 1 for v in versions),
    )
    return replace(made, **changes)


def _at(version: int, last: int, length: int) -> IPInterface:
    return ip_interface(f"{ip_address(int(BLOCKS[version].network_address) + last)}/{length}")
