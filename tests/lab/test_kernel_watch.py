"""The watch wakes for what others do, also inside sandboxes, and sleeps through noise and our own work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wefted.kernel import watch
from wefted.model.firewall import NftElement
from wefted.model.link import Macvlan
from wefted.model.objects import HOST, Change, KernelObject, Netns
from wefted.model.route import Address, ForwardingEntry, Neighbor, Route, Rule
from wefted.testing.kernel_samples import BRIDGE, FOREIGN, TABLE, VXLAN, attached, veth

from .conftest import DEADLINE, LabHost

pytestmark = pytest.mark.lab


class Ear:
    """What the watch of a host yields."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self._events: queue.SimpleQueue[Netns] = queue.SimpleQueue()
        self._source = host.kernel.watch()
        self._marker, self._up = host.sandbox(), False
        host.kernel.read(self._marker)
        threading.Thread(target=lambda: [self._events.put(ns) for ns in self._source], daemon=True).start()

    def until(self, ns: Netns) -> list[Netns]:
        """Return what was yielded up to and with this namespace."""
        heard = [self._events.get(timeout=DEADLINE)]
        while heard[-1] != ns:
            heard.append(self._events.get(timeout=DEADLINE))
        return heard

    def everything(self) -> list[Netns]:
        """Return all that is yielded for what was done until now."""
        heard = self._mark()
        # One wake-up names the host after the sandboxes, so what came with the mark is heard before the next mark.
        return heard + self._mark()

    def _mark(self) -> list[Netns]:
        """Make one change that must be heard after all earlier ones; return what was heard before it."""
        self._up = not self._up
        self._host.run("ip", "link", "set", "lo", "up" if self._up else "down", ns=self._marker)
        return self.until(self._marker)[:-1]


@pytest.fixture
def ear(host: LabHost) -> Iterator[Ear]:
    yield Ear(host)
    host.kernel.close()


def make(host: LabHost, *items: KernelObject) -> None:
    outcomes = host.kernel.apply([Change(None, item) for item in items])
    assert [o.error for o in outcomes if o.error] == []


def detach(host: LabHost, *items: KernelObject) -> None:
    assert not [o for o in host.kernel.apply([Change(item, None) for item in items]) if o.error]


def test_our_own_work_is_no_news(host: LabHost, ear: Ear) -> None:
    ns = host.sandbox()
    route = Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.64.0.1"))
    make(host, *attached(ns), route, TABLE, NftElement(container="networks4", match=("10.64.0.0/16",)))
    detach(host, route, veth(ns))
    detach(host, BRIDGE, TABLE)
    assert ear.everything() == []


@pytest.mark.parametrize(
    "command",
    [
        "ip link set eth0 down",
        "ip link set lo down",
        "ip link set eth0 mtu 1300",
        "ip link set eth0 address 02:00:00:00:00:77",
        "ip link del eth0",
        "ip addr del 10.64.0.5/24 dev eth0",
        "ip addr del fd64::5/64 dev eth0",
        "ip route del default",
        "ip route replace default dev eth0",
        "ip rule add from 10.9.0.0/16 table 77",
    ],
)
def test_what_happens_in_a_sandbox_is_heard(host: LabHost, ear: Ear, command: str) -> None:
    ns = host.sandbox()
    make(host, *attached(ns), Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.64.0.1")))
    host.run(*command.split(), ns=ns)
    assert ns in ear.until(ns)


def test_a_macvlans_sandbox_is_heard(host: LabHost, ear: Ear) -> None:
    ns = host.sandbox()
    make(host, Macvlan(ns=ns, name="eth0", parent=FOREIGN))
    host.run("ip", "link", "del", "eth0", ns=ns)
    ear.until(ns)


@pytest.mark.parametrize(
    "command",
    [
        "ip link set ve-test nomaster",
        "ip link set ve-test down",
        f"ip link del {VXLAN.name}",
        f"ip addr del 10.64.0.1/24 dev {BRIDGE.name}",
        "ip route del 10.70.0.0/16",
        "ip route replace 10.70.0.0/16 dev other0",
        "ip rule del priority 900",
        f"ip neigh del 10.64.0.9 dev {BRIDGE.name}",
        f"ip neigh replace 10.64.0.9 lladdr 02:00:00:00:00:99 dev {BRIDGE.name} nud permanent",
        f"bridge fdb del 02:00:00:00:04:01 dev {VXLAN.name} dst 192.0.2.9 self",
        "bridge link set dev ve-test hairpin on",
        "nft delete table inet wefted",
        "nft flush chain inet wefted forward",
        "nft delete element inet wefted networks4 { 10.64.0.0/16 }",
    ],
)
def test_what_happens_to_the_host_is_heard(host: LabHost, ear: Ear, command: str) -> None:
    make(
        host,
        *attached(host.sandbox()),
        VXLAN,
        Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24")),
        Route(destination=ip_network("10.70.0.0/16"), link=BRIDGE.name),
        Rule(priority=900, table=77),
        Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:01"),
        ForwardingEntry(link=VXLAN.name, mac="02:00:00:00:04:01", remote=ip_address("192.0.2.9")),
        TABLE,
        NftElement(container="networks4", match=("10.64.0.0/16",)),
    )
    ear.everything()
    host.run(*command.split())
    assert ear.until(HOST) == [HOST]


@pytest.mark.parametrize(
    "command",
    [
        f"tc qdisc del dev {FOREIGN} clsact",
        f"tc qdisc del dev {FOREIGN} root handle 77:",
    ],
)
def test_hooks_and_rates_that_go_are_heard(host: LabHost, ear: Ear, command: str) -> None:
    """What comes is none of our business, for it takes nothing of ours away."""
    host.run("tc", "qdisc", "add", "dev", FOREIGN, "clsact")
    host.run(
        "tc", "qdisc", "add", "dev", FOREIGN, "root", "handle", "77:", "tbf", "rate", "1mbit", "burst", "10k", "latency", "9ms"
    )
    assert ear.everything() == []
    host.run(*command.split())
    assert ear.until(HOST) == [HOST]


@pytest.mark.parametrize(
    "command",
    [
        f"ip neigh add 10.64.0.8 lladdr 02:00:00:00:00:08 dev {BRIDGE.name} nud reachable",
        f"ip route add 203.0.113.0/24 dev {BRIDGE.name}",
        f"bridge fdb append 02:00:00:00:00:08 dev {VXLAN.name} dst 192.0.2.8 self dynamic",
        "nft add table inet other",
        "ip link set other0 txqueuelen 77",
        "true",
    ],
)
def test_noise_is_not_heard(host: LabHost, ear: Ear, command: str) -> None:
    make(host, BRIDGE, VXLAN)
    host.run(*command.split())
    assert ear.everything() == []


def test_a_transaction_of_others_that_touches_our_table_among_others_is_heard_once(host: LabHost, ear: Ear) -> None:
    make(host, TABLE)
    host.run("nft", "add table inet other; add element inet wefted networks4 { 10.1.0.0/16 }; add chain inet other c")
    assert ear.until(HOST) == [HOST]


def test_a_sandbox_that_dies_is_heard_and_its_number_is_forgotten(host: LabHost, ear: Ear) -> None:
    ns = host.sandbox()
    make(host, *attached(ns))
    host.remove_sandbox(ns)
    ear.until(ns)
    other = host.sandbox()
    make(host, veth(other))
    host.run("ip", "link", "del", "eth0", ns=other)
    ear.until(other)


def test_a_sandbox_that_was_only_read_is_heard(host: LabHost, ear: Ear) -> None:
    ns = host.sandbox()
    host.kernel.read(ns)
    host.run("ip", "link", "set", "lo", "up", ns=ns)
    ear.until(ns)


def test_a_burst_is_one_yield_for_each_wake_up(host: LabHost, ear: Ear) -> None:
    batch = "\n".join(f"addr add 10.1.{i >> 8}.{i & 255}/32 dev {FOREIGN}" for i in range(500))
    host.run("sh", "-c", f"printf '%s\\n' '{batch}' | ip -batch -")
    heard = ear.until(HOST) + ear.everything()
    assert 1 <= len(heard) < 250
    assert set(heard) == {HOST}


def test_when_the_kernel_had_to_drop_notifications_everything_is_named(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_BUFFER", 4096)
    source = host.kernel.watch()
    ns = host.sandbox()
    host.kernel.read(ns)
    make(host, BRIDGE, *[Address(link=BRIDGE.name, address=ip_interface(f"10.1.0.{i}/32")) for i in range(1, 250)])
    host.run("ip", "addr", "add", "198.51.100.77/32", "dev", FOREIGN)
    assert [next(source), next(source)] == [ns, HOST]


def test_where_a_veth_leads_is_known_once_its_sandbox_was_touched(host: LabHost, ear: Ear) -> None:
    ns = host.sandbox()
    make(host, *attached(ns))
    assert getattr(host.kernel.read(HOST).objects["link", HOST, "ve-test"], "peer_ns", None) == ns
    assert ear.everything() == []


def test_two_watches_hear_the_same(host: LabHost) -> None:
    ears = [Ear(host), Ear(host)]
    host.add_link(HOST, "more0")
    for ear in ears:
        ear.until(HOST)


def test_a_watch_of_a_closed_kernel_ends_at_once(host: LabHost) -> None:
    host.kernel.close()
    assert list(host.kernel.watch()) == []


def test_an_attach_is_still_two_sends_while_watched(host: LabHost, ear: Ear) -> None:
    make(host, BRIDGE)
    before = host.kernel.sends
    make(host, *attached(host.sandbox())[1:])
    assert host.kernel.sends - before == 2
    assert ear.everything() == []
