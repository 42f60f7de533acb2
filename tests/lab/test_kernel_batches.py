"""How many sends a change takes, and in what order things reach the kernel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.model.link import Bridge, LinkState, Macvlan, Veth
from wefted.model.objects import HOST, Change, KernelObject, Netns, Outcome
from wefted.model.route import Address, Route
from wefted.testing.kernel_samples import BRIDGE, FOREIGN, attached, veth

from .conftest import LabHost, wait_until

pytestmark = pytest.mark.lab


def apply(host: LabHost, items: Sequence[KernelObject]) -> int:
    """Create everything; return how many sends it took."""
    before = host.kernel.sends
    outcomes = host.kernel.apply([Change(None, item) for item in items])
    assert [o for o in outcomes if o.error] == []
    return host.kernel.sends - before


def default(ns: Netns) -> Route:
    return Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.64.0.1"))


def test_an_attach_is_two_sends(host: LabHost) -> None:
    apply(host, [BRIDGE])
    ns = host.sandbox()
    assert apply(host, [*attached(ns)[1:], default(ns)]) == 2


def test_an_attach_with_objects_of_the_host_between_is_three(host: LabHost) -> None:
    ns = host.sandbox()
    port = Veth(name="ve-test", peer_ns=ns)
    items: list[KernelObject] = [
        port,
        LinkState(ns=ns, name="lo"),
        LinkState(ns=ns, name="eth0"),
        Address(link="ve-test", address=ip_interface("10.64.0.1/32")),
        Address(ns=ns, link="eth0", address=ip_interface("10.64.0.5/32")),
        Route(destination=ip_network("10.64.0.5/32"), link="ve-test"),
        Route(ns=ns, destination=ip_network("10.64.0.1/32"), link="eth0"),
        default(ns),
    ]
    assert apply(host, items) == 3


def test_many_attaches_share_the_hosts_send(host: LabHost) -> None:
    apply(host, [BRIDGE])
    sandboxes = [host.sandbox() for _ in range(5)]
    items = [item for i, ns in enumerate(sandboxes) for item in (veth(ns, f"ve-{i}"), *attached(ns)[2:])]
    items.sort(key=lambda item: item.rank)
    assert apply(host, items) == 1 + len(sandboxes)


def test_a_macvlan_is_made_inside_its_sandbox_in_two_sends(host: LabHost) -> None:
    ns = host.sandbox()
    items = [
        Macvlan(ns=ns, name="eth0", parent=FOREIGN, alias="net netns:c1"),
        LinkState(ns=ns, name="lo"),
        Address(ns=ns, link="eth0", address=ip_interface("10.64.0.5/24")),
        default(ns),
    ]
    assert apply(host, items) == 2
    assert next(link for link in host.links(ns) if link["ifname"] == "eth0")["ifalias"] == "net netns:c1"


def test_a_new_bridge_and_its_address_need_the_index_in_between(host: LabHost) -> None:
    """And a third send asks whether a tunnel of `udp` has waited for that bridge."""
    assert apply(host, [BRIDGE, Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24"))]) == 3


def test_a_thousand_addresses_are_a_few_sends(host: LabHost) -> None:
    apply(host, [BRIDGE])
    addresses = [Address(link=BRIDGE.name, address=ip_interface(f"10.64.{i >> 8}.{i & 255}/16")) for i in range(1, 1001)]
    assert apply(host, addresses) <= 3
    found = host.kernel.read(HOST).objects
    assert all(address.key in found for address in addresses)


def test_a_port_without_a_link_local_address_is_silent_and_takes_no_further_send(host: LabHost) -> None:
    apply(host, [BRIDGE])
    quiet, normal = host.sandbox(), host.sandbox()
    for ns, link_local in ((quiet, False), (normal, True)):
        items = [veth(ns, f"ve-{link_local:d}"), LinkState(ns=ns, name="eth0", link_local=link_local)]
        assert apply(host, [*items, Address(ns=ns, link="eth0", address=ip_interface("10.64.0.5/24"))]) == 2
    wait_until(lambda: "fe80" in host.run("ip", "-6", "addr", ns=normal), "the kernel's own address")
    assert "fe80" not in host.run("ip", "-6", "addr", ns=quiet)


def test_two_hundred_links_go_in_one_send_and_within_a_second(host: LabHost) -> None:
    ns = host.sandbox()
    links = [Veth(name=f"ve-{i}", peer_ns=ns, peer_name=f"eth{i}") for i in range(200)]
    apply(host, links)
    sends, start = host.kernel.sends, time.monotonic()
    outcomes = host.kernel.apply([Change(link, None) for link in links])
    assert [o for o in outcomes if o.error] == []
    assert host.kernel.sends - sends == 1
    assert time.monotonic() - start < 1
    assert {link["ifname"] for link in host.links()} == {"lo", FOREIGN, f"{FOREIGN}-far"}
    assert [link["ifname"] for link in host.links(ns)] == ["lo"]


def test_what_was_half_deleted_is_still_ours(host: LabHost) -> None:
    links = [Bridge(name=f"br-{i}") for i in range(3)]
    apply(host, links)
    host.run("ip", "link", "set", "br-1", "group", str(0x77656675))
    found = host.new_kernel().read(HOST).objects
    assert all(link.satisfied_by(found[link.key]) for link in links)
    assert errors(host.kernel.apply([Change(link, None) for link in links])) == []


def test_what_is_gone_already_does_not_keep_the_others(host: LabHost) -> None:
    links = [Bridge(name=f"br-{i}") for i in range(4)]
    apply(host, links)
    host.remove_link(HOST, "br-2")
    assert errors(host.kernel.apply([Change(link, None) for link in links])) == []
    assert not [link for link in host.links() if link["ifname"].startswith("br-")]


def test_a_veth_whose_far_end_is_elsewhere_is_made_anew(host: LabHost) -> None:
    dying, ns = host.sandbox(), host.sandbox()
    apply(host, attached(dying))
    assert errors(host.kernel.apply([Change(None, item) for item in attached(ns)[1:]])) == []
    assert "eth0" in [link["ifname"] for link in host.links(ns)]
    assert "eth0" not in [link["ifname"] for link in host.links(dying)]


def test_a_veth_of_somebody_else_is_left_alone(host: LabHost) -> None:
    host.run("ip", "link", "add", "ve-test", "type", "veth", "peer", "name", "ve-far")
    apply(host, [BRIDGE])
    (outcome,) = host.kernel.apply([Change(None, veth(host.sandbox()))])
    assert outcome.error == "File exists: there is a link ve-test already"
    assert "ve-far" in [link["ifname"] for link in host.links()]


def test_a_full_bridge_says_so(host: LabHost) -> None:
    apply(host, [BRIDGE])
    ns = host.sandbox()
    links = [Veth(name=f"ve-{i}", master=BRIDGE.name, peer_ns=ns, peer_name=f"eth{i}") for i in range(1024)]
    outcomes = host.kernel.apply([Change(None, link) for link in links])
    refused = [o for o in outcomes if o.error]
    assert [o.change.new for o in refused] == [links[-1]]
    assert "1023 ports" in refused[0].error


def errors(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.error for o in outcomes if o.error]


def test_an_interface_of_somebody_else_is_not_touched_when_ours_cannot_be_made(host: LabHost) -> None:
    ns = host.sandbox()
    host.add_link(ns, "eth0")
    before = host.run("ip", "-o", "address", "show", "dev", "eth0", "scope", "global", ns=ns) + host.run(
        "ip", "-o", "link", "show", "eth0", ns=ns
    )
    failed = host.kernel.apply([Change(None, item) for item in attached(ns)])
    assert [o.change.subject.key[0] for o in failed if o.errno] == ["link", "link state", "address", "address"]
    assert (
        host.run("ip", "-o", "address", "show", "dev", "eth0", "scope", "global", ns=ns)
        + host.run("ip", "-o", "link", "show", "eth0", ns=ns)
        == before
    )
