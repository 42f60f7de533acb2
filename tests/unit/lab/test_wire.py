"""The texts for ip, nft and tc."""

from __future__ import annotations

from wefted.lab import wire
from wefted.lab.document import parse
from wefted.lab.topology import simple

TWO = """
segments: {a: {cidr: 10.1.0.0/24, mtu: 9000}, b: {cidr: [10.2.0.0/24, "fd02::/64"]}}
routers: {r: [a, b]}
hosts: {x: {segment: a}, y: {segment: b}}
"""


def test_switches():
    assert wire.switch_commands(simple(1)) == [
        "link add name underlay mtu 1500 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "link set dev underlay up",
    ]


def test_a_cable_ends_in_the_machine_from_the_start():
    topology = parse(TWO, store=False)
    machine = topology.machine("x")
    mac = machine.legs[0].mac
    assert wire.cable_commands(topology, machine, 42) == [
        f"link add name x mtu 9000 master a type veth peer name eth0 address {mac} mtu 9000 netns 42",
        "link set dev x up",
    ]


def test_addresses_and_routes():
    topology = parse(TWO, store=False)
    assert wire.address_commands(topology, topology.machine("y")) == [
        "link set dev lo up",
        "link set dev eth0 up",
        "addr add 10.2.0.1/24 dev eth0",
        "addr add fd02::1/64 dev eth0 nodad",
        "route add 10.1.0.0/24 via 10.2.0.254",
    ]


def test_a_cut_drops_frames_both_ways_by_port_and_by_address():
    topology = simple(2)
    rules = wire.cut_rules(topology, [(topology.machine("h1"), topology.machine("h2"))])
    assert [line.strip() for line in rules.splitlines() if "drop" in line] == [
        'iifname "h1" oifname "h2" drop',
        "ip saddr 192.168.50.1 ip daddr 192.168.50.2 drop",
        'iifname "h2" oifname "h1" drop',
        "ip saddr 192.168.50.2 ip daddr 192.168.50.1 drop",
    ]


def test_across_a_router_only_packets_between_the_two_are_dropped():
    topology = parse(TWO, store=False)
    rules = wire.cut_rules(topology, [(topology.machine("x"), topology.machine("y"))])
    assert "iifname" not in rules
    assert "ip saddr 10.1.0.1 ip daddr 10.2.0.1 drop" in rules
    assert "ip6" not in rules


def test_no_cuts_leave_no_table():
    assert wire.cut_rules(simple(2), []) == "table bridge cut\ndelete table bridge cut\n"


def test_slow():
    assert wire.slow_commands("h1", "10ms", "1%") == ["qdisc replace dev h1 root netem delay 10ms loss 1%"]
    assert wire.slow_commands("h1", "", "") == ["qdisc del dev h1 root"]
