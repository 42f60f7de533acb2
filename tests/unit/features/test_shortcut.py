"""Which ports are joined to the tunnel of a network of `udp`."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from wefted.features.shortcut import Shortcut
from wefted.model.lease import Lease
from wefted.model.network import Bandwidth, Endpoint, Network, Segment, Subnet
from wefted.model.node import Node
from wefted.model.objects import Netns
from wefted.model.tunnel import UdpPort

NETWORK = Network(name="web", backend="udp", subnets=(Subnet(prefix=ip_network("10.64.0.0/16")),))
NODE = Node(id="n1", name="h1", underlay=(ip_interface("192.0.2.1/24"),))
LEASE = Lease(network="web", block=ip_network("10.64.1.0/24"), node="n1")
ONE = Endpoint(network="web", container="netns:c1", ns=Netns("/run/netns/c1"))


def planned(
    network: Network = NETWORK,
    endpoint: Endpoint = ONE,
    node: Node = NODE,
    leases: tuple[Lease, ...] = (LEASE,),
    programs: bool = True,
) -> list[object]:
    return list(Shortcut().plan(Segment(network=network, node=node, leases=leases, programs=programs), (endpoint,)))


def test_the_port_of_a_container() -> None:
    assert planned() == [UdpPort(link=ONE.link, tunnel=NETWORK.tunnel)]
    assert planned(endpoint=replace(ONE, bandwidth=Bandwidth(egress_rate=8_000_000))) == planned(), "its own end is shaped"


def test_the_device_has_the_name_that_the_tunnel_has() -> None:
    assert planned(replace(NETWORK, options=(("device", "over"),))) == [UdpPort(link=ONE.link, tunnel="over")]
    flannel = replace(NETWORK, labels=(("flannel.config", "{}"), ("flannel.prefix", "/coreos.com/network/")))
    assert planned(flannel) == [UdpPort(link=ONE.link, tunnel="flannel0")]


@pytest.mark.parametrize(
    "changes",
    [
        {"network": replace(NETWORK, backend="vxlan")},
        {"network": replace(NETWORK, options=(("direct", "off"),))},
        {"network": replace(NETWORK, options=(("bridge", "docker0"),))},
        {"endpoint": replace(ONE, ns=Netns(""))},
        {"endpoint": replace(ONE, bandwidth=Bandwidth(ingress_rate=8_000_000))},
        {"node": replace(NODE, underlay=())},
        {"leases": ()},
        {"programs": False},
    ],
    ids=[
        "another backend",
        "not wanted",
        "a bridge of others",
        "stopped",
        "shaped by the host",
        "no underlay",
        "no tunnel yet",
        "a process",
    ],
)
def test_ports_that_are_not(changes: dict[str, object]) -> None:
    assert planned(**changes) == []  # type: ignore[arg-type]
