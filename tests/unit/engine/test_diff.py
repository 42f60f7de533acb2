"""The difference between two pictures of a namespace."""

from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from wefted.engine.diff import diff, index
from wefted.model.link import Bridge, LinkState, Macvlan, Veth
from wefted.model.objects import KernelObject
from wefted.model.route import Address

BRIDGE = Bridge(name="br-0", mtu=1450)
VETH = Veth(name="ve-0", master="br-0", mtu=1450)
ADDRESS = Address(link="br-0", address=ip_interface("10.1.0.1/24"))
ETH0 = LinkState(name="eth0", mtu=1500)
ALL: tuple[KernelObject, ...] = (BRIDGE, VETH, ADDRESS, ETH0)


def test_creates_from_the_lowest_rank() -> None:
    assert [c.new for c in diff(index(reversed(ALL)), {})] == [BRIDGE, VETH, ETH0, ADDRESS]


def test_deletes_from_the_highest_rank_and_only_what_is_ours() -> None:
    assert [c.old for c in diff({}, index(ALL))] == [ADDRESS, VETH, BRIDGE]


def test_a_link_that_is_handed_over_is_made_once_let_be_and_removed_when_it_is_nobodys() -> None:
    handed = Macvlan(name="vd-0", parent="eth0", up=False, handed=True)
    raised = Macvlan(name="vd-0", parent="eth0", mtu=1500, mac="02:00:00:00:00:01")
    wanted = {handed.key: handed}
    assert [c.new for c in diff(wanted, {}, handing=True)] == [handed]
    assert diff(wanted, {}) == []
    assert diff(wanted, {raised.key: raised}) == []
    assert [c.old for c in diff({}, {raised.key: raised})] == [raised]


def test_corrects_a_setting() -> None:
    loose = Veth(name="ve-0", master="", mtu=1450)
    assert [(c.old, c.new) for c in diff(index(ALL), index((BRIDGE, loose, ADDRESS, ETH0)))] == [(loose, VETH)]


def test_a_link_that_is_down_is_brought_up() -> None:
    down = LinkState(name="eth0", up=False, mtu=1500)
    assert [c.new for c in diff({ETH0.key: ETH0}, {down.key: down})] == [ETH0]


def test_what_was_left_open_is_not_corrected() -> None:
    asked = Bridge(name="br-0")
    assert diff({asked.key: asked}, {BRIDGE.key: BRIDGE}) == []


@given(st.sets(st.sampled_from(ALL)), st.sets(st.sampled_from(ALL)))
def test_applying_the_changes_gives_what_was_wanted(wanted: set[KernelObject], there: set[KernelObject]) -> None:
    desired, actual = index(wanted), index(there)
    for change in diff(desired, dict(actual)):
        if change.new is None:
            del actual[change.subject.key]
        else:
            actual[change.subject.key] = change.new
    assert {k: v for k, v in actual.items() if v.owned} == {k: v for k, v in desired.items() if v.owned}
    assert diff(desired, actual) == []
