"""Gateways and prefix lengths: what follows from a network, its layer and the blocks that a node owns."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.engine.planner import path_mtu, segment_of
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment, Subnet
from wefted.model.node import Node

NODE = Node(id="n1", name="h1", underlay=(ip_interface("192.168.50.1/24"),), device="eth0", mtu=1500)
NODE6 = Node(id="n1", name="h1", underlay=(ip_interface("fd00::1/64"),), device="eth0", mtu=1500)


def lease(block: str, node: str = "n1") -> Lease:
    return Lease(network="net", block=ip_network(block), node=node)


def segment(backend: str, layer: int, *blocks: str, gateway: str = "", driver: str = "bridge") -> Segment:
    subnet = Subnet(prefix=ip_network("10.9.0.0/16"), gateway=ip_address(gateway) if gateway else None)
    options = (("parent", "eth0"),) if driver == "macvlan" else ()
    network = Network(name="net", driver=driver, backend=backend, subnets=(subnet,), layer=layer, number=1, options=options)
    return segment_of(network, NODE, [lease(b) for b in blocks] + [lease("10.9.200.0/24", "n2")])


@pytest.mark.parametrize(
    ("made", "gateways"),
    [
        (segment("none", 3, "10.9.0.0/16"), ["10.9.0.1/16"]),
        (segment("none", 3, "10.9.0.0/16", gateway="10.9.7.7"), ["10.9.7.7/16"]),
        (segment("vxlan", 3, "10.9.4.0/24", "10.9.2.0/24"), ["10.9.2.1/24", "10.9.4.1/24"]),
        (segment("vxlan", 3, "10.9.2.0/24", gateway="10.9.2.254"), ["10.9.2.254/24"]),
        (segment("vxlan", 3, "10.9.2.0/24", gateway="10.9.0.1"), ["10.9.2.1/24"]),
        (segment("vxlan", 2, "10.9.4.0/24", "10.9.2.0/24"), ["10.9.2.1/16"]),
        (segment("none", 2, "10.9.2.0/24", gateway="10.9.0.1", driver="macvlan"), []),
        (segment("vxlan", 3), []),
    ],
)
def test_gateways(made: Segment, gateways: list[str]) -> None:
    assert [str(g) for g in made.gateways] == gateways


def test_only_own_blocks_are_in_a_segment() -> None:
    assert [str(item.block) for item in segment("vxlan", 3, "10.9.2.0/24").leases] == ["10.9.2.0/24"]


@pytest.mark.parametrize(
    ("backend", "node", "asked", "mtu"),
    [
        ("none", NODE, 0, 1500),
        ("host-gw", NODE, 0, 1500),
        ("vxlan", NODE, 0, 1450),
        ("vxlan", NODE6, 0, 1430),
        ("vxlan", NODE, 1400, 1400),
    ],
)
def test_mtu_follows_from_the_underlay(backend: str, node: Node, asked: int, mtu: int) -> None:
    assert path_mtu(Network(name="net", backend=backend, mtu=asked), node) == mtu


def test_a_lan_driver_takes_the_mtu_of_its_parent() -> None:
    assert path_mtu(Network(name="net", driver="macvlan"), NODE) == 0
