"""What every `Kernel` must do, as tests: subclass `KernelContract` and provide a host that is empty.

Assertions speak best after `pytest.register_assert_rewrite("wefted.testing.kernel_contract")`.
"""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

import pytest

from wefted.interfaces import Kernel
from wefted.model.firewall import NftElement, NftTable
from wefted.model.link import Bridge, LinkState, MovedLink, Veth
from wefted.model.objects import HOST, Change, KernelObject, Key, Netns, Outcome
from wefted.model.route import Address, Neighbor, Route

from .kernel_samples import BRIDGE, FOREIGN, SAMPLES, TABLE, Sample, attached, veth

DEADLINE = 10.0
"""Seconds until a test gives up waiting for an event."""


class World(Protocol):
    """A host without anything of ours, with a link `FOREIGN` of its own that is up, and others who change it."""

    kernel: Kernel

    def sandbox(self) -> Netns:
        """Make a namespace."""

    def remove_sandbox(self, ns: Netns) -> None:
        """Let a namespace die; return when it is gone."""

    def add_link(self, ns: Netns, name: str) -> None:
        """Let somebody else make a link."""

    def remove_link(self, ns: Netns, name: str) -> None:
        """Let somebody else remove a link."""

    def take_down(self, ns: Netns, name: str) -> None:
        """Let somebody else take a link down."""

    def strand(self, ns: Netns, name: str) -> None:
        """Put a lent link into the host's namespace as the kernel does with a hardware link when its sandbox dies."""


def make(world: World, *items: KernelObject) -> None:
    """Create objects, all of them."""
    assert errors(world.kernel.apply([Change(None, item) for item in items])) == []


def errors(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"{o.change}: {o.error}" for o in outcomes if o.error]


def one(world: World, old: KernelObject | None, new: KernelObject | None) -> Outcome:
    """Make one change."""
    outcomes = world.kernel.apply([Change(old, new)])
    assert len(outcomes) == 1
    return outcomes[0]


def objects(world: World, *namespaces: Netns) -> dict[Key, KernelObject]:
    """Return everything that is read in these namespaces."""
    return {key: item for ns in namespaces for key, item in world.kernel.read(ns).objects.items()}


def fingerprint(found: Mapping[Key, KernelObject]) -> dict[Key, str]:
    """Return a text of each object that leaves out what the kernel chooses by itself."""
    return {key: repr(replace(item, mac="") if isinstance(item, Bridge) else item) for key, item in found.items()}


def prepared(world: World, name: str) -> tuple[Netns, Sample]:
    """Make a sandbox and what the sample needs; skip what this kernel has not."""
    ns = world.sandbox()
    sample = SAMPLES[name](ns)
    reason = world.kernel.probe().features.get(sample.feature, "")
    if reason:
        pytest.skip(reason)
    make(world, *sample.needs)
    return ns, sample


class Watcher:
    """Reads `Kernel.watch` in a thread of its own."""

    def __init__(self, kernel: Kernel) -> None:
        self._events: queue.SimpleQueue[Netns | None] = queue.SimpleQueue()
        self._source = kernel.watch()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for ns in self._source:
            self._events.put(ns)
        self._events.put(None)

    def wait_for(self, ns: Netns | None) -> None:
        """Return when this namespace was named, or for None when the watch ended. Raises `queue.Empty` at the deadline."""
        while self._events.get(timeout=DEADLINE) != ns:
            pass


class KernelContract:
    """The tests for every kernel. `world` is a fixture of the subclass."""

    @pytest.mark.parametrize("name", SAMPLES)
    def test_created_is_read_back_and_deleted_leaves_nothing(self, world: World, name: str) -> None:
        ns, sample = prepared(world, name)
        before = objects(world, HOST, ns)
        make(world, sample.item)
        found = objects(world, HOST, ns)
        for wanted in (*sample.needs, sample.item):
            assert wanted.satisfied_by(found[wanted.key]), (wanted, found[wanted.key])
        assert one(world, found[sample.item.key], None).error == ""
        if sample.item.owned:
            assert fingerprint(objects(world, HOST, ns)) == fingerprint(before)

    @pytest.mark.parametrize("name", SAMPLES)
    def test_created_twice_or_deleted_twice_is_done(self, world: World, name: str) -> None:
        ns, sample = prepared(world, name)
        make(world, sample.item)
        first = objects(world, HOST, ns)
        make(world, sample.item)
        assert fingerprint(objects(world, HOST, ns)) == fingerprint(first)
        for _ in range(2):
            assert one(world, sample.item, None).error == ""

    @pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name](HOST).changed is not None])
    def test_an_update_makes_it_as_wanted(self, world: World, name: str) -> None:
        ns, sample = prepared(world, name)
        make(world, sample.item)
        assert sample.changed is not None
        actual = objects(world, HOST, ns)[sample.item.key]
        assert one(world, actual, sample.changed).error == ""
        found = objects(world, HOST, ns)[sample.item.key]
        assert sample.changed.satisfied_by(found), (sample.changed, found)

    @pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name](Netns("/x")).item.ns != HOST])
    def test_in_a_namespace_that_is_gone_creating_fails_and_deleting_is_done(self, world: World, name: str) -> None:
        ns = world.sandbox()
        sample = SAMPLES[name](ns)
        world.remove_sandbox(ns)
        outcome = one(world, None, sample.item)
        assert outcome.errno == errno.ENOENT
        assert str(ns) in outcome.error
        assert one(world, sample.item, None).error == ""
        assert not world.kernel.read(ns).exists

    def test_a_whole_attach_is_one_call(self, world: World) -> None:
        ns = world.sandbox()
        make(world, *attached(ns), Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.64.0.1")))
        found = objects(world, HOST, ns)
        for wanted in attached(ns):
            assert wanted.satisfied_by(found[wanted.key])

    def test_what_is_equal_but_not_wanted_so_is_refused(self, world: World) -> None:
        make(world, BRIDGE, Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:01"))
        other = one(world, None, Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:02"))
        assert other.errno == errno.EEXIST
        assert other.error.startswith("File exists: ")
        assert one(world, None, replace(BRIDGE, mac="02:00:00:00:00:77")).errno == errno.EEXIST

    def test_a_link_of_somebody_else_is_neither_taken_nor_deleted(self, world: World) -> None:
        before = objects(world, HOST)
        assert one(world, None, Bridge(name=FOREIGN)).errno == errno.EEXIST
        state = before["link state", HOST, FOREIGN]
        assert one(world, state, None).error == ""
        assert objects(world, HOST) == before

    def test_a_link_state_of_no_link_is_refused(self, world: World) -> None:
        assert one(world, None, LinkState(name="none0")).errno == errno.ENODEV

    def test_a_missing_link_refuses_only_what_hangs_on_it(self, world: World) -> None:
        address = ip_interface("10.64.0.1/24")
        outcomes = world.kernel.apply([
            Change(None, Address(link="none0", address=address)),
            Change(None, BRIDGE),
            Change(None, Address(link=BRIDGE.name, address=address)),
        ])  # fmt: skip
        assert [o.errno for o in outcomes] == [errno.ENODEV, 0, 0]

    def test_a_missing_master_or_parent_is_named(self, world: World) -> None:
        outcome = one(world, None, veth(world.sandbox()))
        assert outcome.errno == errno.ENODEV
        assert BRIDGE.name in outcome.error

    def test_a_gateway_that_is_not_on_the_link_is_refused(self, world: World) -> None:
        ns = world.sandbox()
        make(world, *attached(ns))
        route = Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.99.0.1"))
        assert one(world, None, route).errno == errno.ENETUNREACH

    def test_what_hangs_on_a_link_goes_with_it(self, world: World) -> None:
        neighbor = Neighbor(link=BRIDGE.name, address=ip_address("10.64.0.9"), mac="02:00:00:00:03:01")
        address = Address(link=BRIDGE.name, address=ip_interface("10.64.0.1/24"))
        before = objects(world, HOST)
        make(world, BRIDGE, address, neighbor)
        outcomes = world.kernel.apply([Change(neighbor, None), Change(address, None), Change(BRIDGE, None)])
        assert errors(outcomes) == []
        assert objects(world, HOST) == before

    def test_a_veth_goes_with_either_namespace_or_end(self, world: World) -> None:
        for removal in ("namespace", "far end", "near end"):
            ns = world.sandbox()
            make(world, *attached(ns))
            if removal == "namespace":
                world.remove_sandbox(ns)
            else:
                world.remove_link(*((ns, "eth0") if removal == "far end" else (HOST, "ve-test")))
            assert ("link", HOST, "ve-test") not in objects(world, HOST)
            left = world.kernel.read(ns)
            assert [key for key in left.objects if "eth0" in key] == []
            assert one(world, BRIDGE, None).error == ""

    def test_ports_outlive_their_bridge(self, world: World) -> None:
        ns = world.sandbox()
        make(world, *attached(ns))
        assert one(world, BRIDGE, None).error == ""
        found = objects(world, HOST)["link", HOST, "ve-test"]
        assert isinstance(found, Veth)
        assert found.master == ""

    def test_a_link_of_ours_that_is_down_is_repaired(self, world: World) -> None:
        make(world, BRIDGE)
        world.take_down(HOST, BRIDGE.name)
        found = objects(world, HOST)[BRIDGE.key]
        assert not BRIDGE.satisfied_by(found)
        assert one(world, found, BRIDGE).error == ""
        assert BRIDGE.satisfied_by(objects(world, HOST)[BRIDGE.key])

    def test_many_links_go_at_once(self, world: World) -> None:
        before = objects(world, HOST)
        bridges = [Bridge(name=f"br-{i}") for i in range(40)]
        make(world, *bridges)
        assert errors(world.kernel.apply([Change(item, None) for item in bridges])) == []
        assert objects(world, HOST) == before

    def test_a_link_is_made_anew_in_the_call_that_deletes_it(self, world: World) -> None:
        make(world, BRIDGE)
        new = replace(BRIDGE, mac="02:00:00:00:00:05")
        assert errors(world.kernel.apply([Change(BRIDGE, None), Change(None, new)])) == []
        assert new.satisfied_by(objects(world, HOST)[BRIDGE.key])

    def test_a_lent_link_comes_back_when_its_sandbox_is_left(self, world: World) -> None:
        ns = world.sandbox()
        before = objects(world, HOST)
        lent = SAMPLES["moved link"](ns).item
        make(world, lent)
        assert ("link state", HOST, FOREIGN) not in objects(world, HOST)
        assert one(world, lent, None).error == ""
        assert objects(world, HOST) == before

    def test_a_lent_link_that_the_kernel_gave_back_gets_its_name_again(self, world: World) -> None:
        ns = world.sandbox()
        before = objects(world, HOST)
        make(world, SAMPLES["moved link"](ns).item)
        world.strand(ns, "eth0")
        stray = objects(world, HOST)["link", HOST, "eth0"]
        assert isinstance(stray, MovedLink)
        assert stray.origin == FOREIGN
        assert one(world, stray, None).error == ""
        assert objects(world, HOST) == before

    @pytest.mark.parametrize("removed", [False, True], ids=["lent again", "deleted"])
    def test_a_stranded_link_goes_home_first_whatever_is_asked(self, world: World, removed: bool) -> None:
        ns = world.sandbox()
        before = objects(world, HOST)
        lent = SAMPLES["moved link"](ns).item
        make(world, lent)
        world.strand(ns, "eth0")
        if not removed:
            make(world, lent)
            assert lent.satisfied_by(objects(world, ns)[lent.key])
        assert one(world, lent, None).error == ""
        assert objects(world, HOST) == before

    def test_a_lent_link_does_not_take_the_name_of_another_one(self, world: World) -> None:
        ns = world.sandbox()
        lent = SAMPLES["moved link"](ns).item
        make(world, lent, Bridge(name=FOREIGN))
        outcome = one(world, lent, None)
        assert outcome.errno == errno.EEXIST
        assert lent.satisfied_by(objects(world, ns)[lent.key])
        assert one(world, Bridge(name=FOREIGN), None).error == ""
        assert one(world, lent, None).error == ""
        assert ("link state", HOST, FOREIGN) in objects(world, HOST)

    def test_a_replaced_table_has_only_the_elements_of_the_same_call(self, world: World) -> None:
        first = NftElement(container="networks4", match=("10.64.0.0/16",))
        second: KernelObject = NftElement(container="networks4", match=("10.65.0.0/16",))
        make(world, TABLE, first)
        table = NftTable(body=TABLE.body + "chain more { }")
        assert errors(world.kernel.apply([Change(TABLE, table), Change(None, second)])) == []
        found = objects(world, HOST)
        assert first.key not in found
        assert second.satisfied_by(found[second.key])

    def test_an_element_without_a_table_is_refused(self, world: World) -> None:
        assert one(world, None, NftElement(container="networks4", match=("10.64.0.0/16",))).errno == errno.ENOENT

    def test_everything_can_be_deleted_in_one_call(self, world: World) -> None:
        ns = world.sandbox()
        before = objects(world, HOST, ns)
        made = [*attached(ns), TABLE, NftElement(container="networks4", match=("10.64.0.0/16",))]
        make(world, *made)
        gone = sorted((o for o in objects(world, HOST, ns).values() if o.owned), key=lambda o: -o.rank)
        assert errors(world.kernel.apply([Change(item, None) for item in gone])) == []
        after = objects(world, HOST, ns)
        loopback = ("link state", ns, "lo")
        assert {k: o for k, o in after.items() if k != loopback} == {k: o for k, o in before.items() if k != loopback}

    def test_watch_wakes_for_the_host(self, world: World) -> None:
        make(world, BRIDGE)
        watcher = Watcher(world.kernel)
        world.remove_link(HOST, BRIDGE.name)
        watcher.wait_for(HOST)

    def test_watch_wakes_for_a_sandbox(self, world: World) -> None:
        watcher = Watcher(world.kernel)
        ns = world.sandbox()
        make(world, *attached(ns))
        world.take_down(ns, "eth0")
        watcher.wait_for(ns)

    def test_watch_ends_when_the_kernel_is_closed(self, world: World) -> None:
        watcher = Watcher(world.kernel)
        world.kernel.close()
        watcher.wait_for(None)
