"""Two hosts whose networks are joined by the plans of every driver and backend, with real packets of both IP versions."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from itertools import count

import pytest

from wefted.backends import BACKENDS
from wefted.drivers import DRIVERS
from wefted.features import FEATURES
from wefted.model import naming
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import KernelObject, Netns

from .planned_host import PATIENCE, SILENCE, TCP, UDP, Lab

SUBNETS = (Subnet(prefix=ip_network("10.64.0.0/16")), Subnet(prefix=ip_network("fd64::/48")))
BLOCKS = {1: ("10.64.1.0/24", "fd64:0:0:1::/64"), 2: ("10.64.2.0/24", "fd64:0:0:2::/64")}
NUMBERS = count(4_000_000)
CASES = [
    ("bridge", "host-gw", 3, 4),
    ("bridge", "vxlan", 3, 4),
    ("bridge", "vxlan", 2, 4),
    ("bridge", "vxlan", 3, 6),
    ("bridge", "vxlan", 2, 6),
    ("ptp", "host-gw", 3, 4),
    ("ptp", "vxlan", 3, 4),
    ("macvlan", "vxlan", 2, 4),
]
"""Driver, backend, layer, and the IP version that the underlay prefers."""


def node(number: int, preferred: int) -> Node:
    both = (ip_interface(f"192.0.2.{number}/24"), ip_interface(f"2001:db8:ff::{number}/64"))
    underlay = both if preferred == 4 else both[::-1]
    return Node(id=f"n{number}", name=f"h{number}", underlay=underlay, device="eth0")


def lease(network: Network, owner: Node, block: str) -> Lease:
    data = (("vtep_mac", naming.mac_of("vtep", network.name, owner.id)),) if network.backend == "vxlan" else ()
    return Lease(network=network.name, block=ip_network(block), node=owner.id, underlay=owner.addresses, data=data)


def endpoint(lab: Lab, segment: Segment, name: str) -> Endpoint:
    """Give a new container the second address of each block."""
    addresses = tuple(ip_interface(f"{x.block.network_address + 2}/{segment.prefixlen(x)}") for x in segment.leases)
    return Endpoint(
        network=segment.network.name,
        container=f"netns:{name}",
        ns=Netns(f"/run/netns/{lab.namespace(name)}"),
        mac=naming.mac_of_address(addresses[0].ip),
        addresses=addresses,
        gateways=tuple(gateway.ip for gateway in segment.gateways),
    )


def build(lab: Lab, network: Network, number: int, preferred: int) -> None:
    driver, backend = DRIVERS[network.driver], BACKENDS[network.backend]
    driver.validate(network)
    backend.validate(network)
    here, there = node(number, preferred), node(3 - number, preferred)
    segment = Segment(
        network=network,
        node=here,
        leases=tuple(lease(network, here, block) for block in BLOCKS[number]),
        mtu=1500 - backend.overhead(here.addresses[0]),
        host_gateway=driver.host_gateway,
        single=network.layer == 2,
    )
    member = endpoint(lab, segment, f"c{number}")
    objects: list[KernelObject] = list(driver.plan(segment, [member]))
    objects += backend.plan(segment, [lease(network, there, block) for block in BLOCKS[3 - number]])
    for feature in FEATURES:
        objects += feature.plan(segment, [member])
    lab.apply(f"h{number}", *objects)
    lab.serve(f"c{number}", 80)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    driver, backend, layer, preferred = request.param
    network = Network(name="blue", driver=driver, backend=backend, layer=layer, subnets=SUBNETS, number=next(NUMBERS))
    made = Lab()
    try:
        made.namespace("h1")
        made.ip("h1", f"link add eth0 type veth peer name eth0 netns {made.namespace('h2')}")
        for number in (1, 2):
            addresses = [
                f"address add {a} dev eth0" + (" nodad" if a.version == 6 else "") for a in node(number, preferred).underlay
            ]
            made.ip(f"h{number}", "link set lo up", "link set eth0 up", *addresses)
            build(made, network, number, preferred)
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize(("server", "seen"), [("10.64.2.2", "10.64.1.2"), ("fd64:0:0:2::2", "fd64:0:0:1::2")])
def test_containers_of_two_hosts_reach_each_other_as_themselves(lab: Lab, server: str, seen: str, kind: int) -> None:
    assert lab.ask("c1", server, 80, kind) == seen
    assert lab.ask("c2", seen, 80, kind) == server


@pytest.mark.parametrize("server", ["10.64.2.2", "fd64:0:0:2::2"])
def test_a_host_reaches_the_containers_of_the_other(lab: Lab, request: pytest.FixtureRequest, server: str) -> None:
    driver, backend, *_ = request.node.callspec.params["lab"]
    # A macvlan never talks to its own host. With ptp and host-gw the host has no address of the network to speak from.
    reachable = driver == "bridge" or (driver, backend) == ("ptp", "vxlan")
    assert bool(lab.ask("h1", server, 80, wait=PATIENCE if reachable else SILENCE)) is reachable


def test_packets_of_the_full_mtu_pass_and_larger_ones_are_cut(lab: Lab, request: pytest.FixtureRequest) -> None:
    _, backend, _, preferred = request.node.callspec.params["lab"]
    full = 1500 - BACKENDS[backend].overhead(node(1, preferred).addresses[0]) - 28
    lab.execute("c1", "ping", "-c1", "-W2", "-Mdo", "-s", str(full), "10.64.2.2")
    lab.execute("c1", "ping", "-c1", "-W2", "-s", "8000", "10.64.2.2")
    with pytest.raises(AssertionError, match="message too long"):
        lab.execute("c1", "ping", "-c1", "-W2", "-Mdo", "-s", str(full + 1), "10.64.2.2")
