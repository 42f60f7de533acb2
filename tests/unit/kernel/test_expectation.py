"""Our own work is no news; whatever differs from it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wefted.kernel.expectation import Expectations
from wefted.kernel.ifinfo import RawLink
from wefted.model.link import LINK_GROUP, LinkState, MovedLink, Veth
from wefted.model.objects import HOST, Change, Netns, Outcome

BOX = Netns("/run/netns/c1")
PORT = Veth(name="ve0", mtu=1400, master="br0", peer_ns=BOX, peer_name="eth0")
RAW = RawLink(
    index=7, up=True, name="ve0", mtu=1400, mac="02:00:00:00:00:01", group=LINK_GROUP, master=4, parent=2, link_netns=0,
    alias="", kind="veth", info=b"", slave=b"",
)  # fmt: skip


def name(index: int) -> str:
    return {4: "br0"}.get(index, "")


def expecting(*changes: Change) -> Expectations:
    expected = Expectations()
    expected.begin(changes)
    return expected


def test_a_link_as_we_wanted_it_is_met() -> None:
    assert expecting(Change(None, PORT)).is_met(HOST, RAW, False, name)


@pytest.mark.parametrize("change", [{"up": False}, {"mtu": 1300}, {"master": 0}, {"group": 0}, {"name": "ve1"}])
def test_a_link_that_differs_is_not(change: dict[str, object]) -> None:
    assert not expecting(Change(None, PORT)).is_met(HOST, replace(RAW, **change), False, name)  # type: ignore[arg-type]


def test_a_link_that_is_just_born_may_be_down() -> None:
    assert expecting(Change(None, PORT)).is_met(HOST, replace(RAW, up=False), True, name)


def test_settings_of_others_links_are_expected_too() -> None:
    expected = expecting(Change(None, LinkState(ns=BOX, name="eth0", mac="02:00:00:00:00:05")))
    inside = replace(RAW, name="eth0", group=0, master=0, mac="02:00:00:00:00:05")
    assert expected.is_met(BOX, inside, False, name)
    assert not expected.is_met(BOX, replace(inside, mac=RAW.mac), False, name)
    assert not expected.is_met(HOST, inside, False, name)


def test_a_link_goes_by_us_once_with_its_far_end() -> None:
    expected = expecting(Change(PORT, None))
    assert expected.is_going(BOX, "eth0")
    assert expected.is_met(HOST, replace(RAW, up=False), False, name)
    assert expected.gone(HOST, "ve0")
    assert not expected.gone(HOST, "ve0"), "the next one that goes is somebody else's doing"


def test_what_was_refused_is_not_expected() -> None:
    expected = expecting(Change(PORT, None), Change(None, replace(PORT, name="ve1")))
    expected.end([Outcome(Change(PORT, None), "no"), Outcome(Change(None, replace(PORT, name="ve1")), "no")])
    assert not expected.gone(HOST, "ve0")
    assert not expected.is_met(HOST, replace(RAW, name="ve1"), False, name)


def test_a_lent_link_leaves_the_host_by_us() -> None:
    assert expecting(Change(None, MovedLink(ns=BOX, name="eth0", origin="eth1"))).gone(HOST, "eth1")


def test_a_namespace_that_died_is_forgotten() -> None:
    expected = expecting(Change(None, LinkState(ns=BOX, name="eth0")), Change(PORT, None))
    expected.forget(BOX)
    assert not expected.is_met(BOX, replace(RAW, name="eth0"), False, name)
    assert not expected.is_going(BOX, "eth0")
    assert expected.is_going(HOST, "ve0")


@pytest.mark.parametrize(("master", "met"), [("br0", True), ("", True), ("br1", False)])
def test_a_port_that_is_not_marked_must_be_where_we_put_it(master: str, met: bool) -> None:
    expected = expecting(Change(None, LinkState(name="jb0", mtu=1400, master=master)))
    assert expected.is_met(HOST, replace(RAW, name="jb0", group=0), False, name) is met
