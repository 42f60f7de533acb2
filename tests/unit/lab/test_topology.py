"""Addresses, routes and the record of a topology."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest

from wefted.errors import Exhausted, NotFound, UsageError
from wefted.lab.topology import Attachment, ContainerOrder, NetworkOrder, Placement, Switch, Topology, place, simple


def switch(name: str, *prefixes: str) -> Switch:
    return Switch(name=name, prefixes=tuple(map(ip_network, prefixes)))


def routed() -> Topology:
    """west - r1 - middle - r2 - east."""
    switches = (switch("west", "10.1.0.0/24"), switch("middle", "10.2.0.0/24"), switch("east", "10.3.0.0/24", "fd03::/64"))
    placements = [
        Placement(name="w", legs=(("west", ()),)),
        Placement(name="e", legs=(("east", ()),)),
        Placement(name="r1", kind="router", legs=(("west", ()), ("middle", ()))),
        Placement(name="r2", kind="router", legs=(("middle", ()), ("east", ()))),
    ]
    return Topology(switches=switches, machines=place(switches, placements, store=True))


def test_hosts_are_numbered_from_the_bottom_and_the_store_is_at_the_top():
    topology = simple(3)
    assert [(m.name, str(m.addresses[0])) for m in topology.machines] == [
        ("h1", "192.168.50.1"),
        ("h2", "192.168.50.2"),
        ("h3", "192.168.50.3"),
        ("etcd", "192.168.50.254"),
    ]
    assert topology.store is not None
    assert [h.legs[0].ifname for h in topology.hosts] == ["eth0"] * 3


def test_without_a_store_there_is_none():
    assert simple(2, store=False).store is None


@pytest.mark.parametrize("count", [0, -1, 254])
def test_too_many_and_too_few_hosts_are_refused(count):
    with pytest.raises(UsageError, match="1 to 253 hosts"):
        simple(count)


def test_the_largest_lab_has_distinct_addresses():
    addresses = [m.addresses[0] for m in simple(253).machines]
    assert len(set(addresses)) == 254


def test_addresses_that_are_asked_for_are_kept_from_others():
    switches = [switch("lan", "10.0.0.0/29")]
    wanted = ip_address("10.0.0.1")
    first, second = Placement(name="a", legs=(("lan", ()),)), Placement(name="b", legs=(("lan", (wanted,)),))
    machines = place(switches, [first, second], store=False)
    assert [str(m.addresses[0]) for m in machines] == ["10.0.0.2", "10.0.0.1"]


def test_a_full_segment_is_exhausted():
    switches = [switch("lan", "10.0.0.0/30")]
    placements = [Placement(name=f"h{n}", legs=(("lan", ()),)) for n in range(3)]
    with pytest.raises(Exhausted, match="no address left for h2"):
        place(switches, placements, store=False)


def test_routes_lead_over_the_first_router_to_every_other_segment():
    topology = routed()
    west = topology.machine("w")
    assert [(str(d), str(via)) for d, via in topology.routes(west)] == [
        ("10.2.0.0/24", "10.1.0.253"),
        ("10.3.0.0/24", "10.1.0.253"),
    ]


def test_routers_route_too_and_never_to_themselves():
    topology = routed()
    assert [(str(d), str(via)) for d, via in topology.routes(topology.machine("r1"))] == [("10.3.0.0/24", "10.2.0.253")]


def test_a_host_on_one_segment_needs_no_routes():
    topology = simple(2)
    assert topology.routes(topology.hosts[0]) == []


def test_an_unknown_machine_is_not_found():
    with pytest.raises(NotFound, match=r"no host 'h9'"):
        simple(2).machine("h9")


def test_macs_are_the_same_each_time_and_distinct():
    macs = [leg.mac for m in routed().machines for leg in m.legs]
    assert macs == [leg.mac for m in routed().machines for leg in m.legs]
    assert len(set(macs)) == len(macs)


def test_ports_fit_the_kernel_and_are_distinct():
    ports = [leg.port for m in routed().machines for leg in m.legs]
    assert all(len(port) <= 15 for port in ports)
    assert len(set(ports)) == len(ports)


def test_json_and_back_is_the_same():
    topology = Topology(
        switches=routed().switches,
        machines=routed().machines,
        networks=(NetworkOrder(name="blue", options=("--backend", "vxlan")),),
        containers=(
            ContainerOrder(name="c1", host="w", attachments=(Attachment(network="blue", options=("--ip", "10.9.0.2")),)),
        ),
    )
    assert Topology.from_json(json.loads(json.dumps(topology.to_json()))) == topology
