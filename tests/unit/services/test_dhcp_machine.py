"""The client's states under a clock that the tests move: RFC 2131, figure 5, and the times of sections 4.1 and 4.4.5."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.dhcp import DhcpLease
from wefted.services.dhcp import message as m
from wefted.services.dhcp.frame import Arp
from wefted.services.dhcp.machine import (
    AFTER_DECLINE,
    AFTER_REFUSAL,
    PROBE_GAP,
    Action,
    Ask,
    Bound,
    Identity,
    Lost,
    Machine,
    Send,
    State,
)
from wefted.services.dhcp.message import Kind, Message

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SERVER = ip_address("192.168.1.1")
ADDRESS = IPv4Address("192.168.1.10")
TIMES = {m.LEASE_TIME: 3600, m.RENEWAL: 1000, m.REBINDING: 3000}


class Talk:
    """A machine, the time, and a server that answers what it is told to."""

    def __init__(self, lease: DhcpLease | None = None, age: float = 0.0, broadcast: bool = False) -> None:
        self.now = 100.0
        self.machine = Machine(Identity(b"\xff1234", "web1", MAC, broadcast), Random(1), lease)
        self.actions = self.machine.start(self.now, age)

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def sent(self) -> Message:
        """The last message of the last step."""
        return [action.message for action in self.actions if isinstance(action, Send)][-1]

    def wait(self) -> list[Action]:
        """Let the time pass until something is due."""
        assert self.machine.deadline < inf, "nothing will ever be due"
        self.now = max(self.now, self.machine.deadline)
        self.actions = self.machine.tick(self.now)
        return self.actions

    def answer(self, kind: Kind, address: IPv4Address = ADDRESS, **changes: object) -> list[Action]:
        options = {m.SERVER: SERVER.packed, m.MASK: ip_address("255.255.255.0").packed}
        options |= {code: number.to_bytes(4, "big") for code, number in TIMES.items()}
        found = Message(
            kind=kind, op=m.REPLY, xid=self.machine._xid, chaddr=MAC, yiaddr=address,
            options=options if kind is not Kind.NAK else {m.SERVER: SERVER.packed, m.TEXT: b"wrong network"},
        )  # fmt: skip
        self.actions = self.machine.received(replace(found, **changes), "02:00:00:00:00:99", self.now)  # type: ignore[arg-type]
        return self.actions

    def bind(self) -> DhcpLease:
        self.answer(Kind.OFFER)
        self.answer(Kind.ACK)
        while self.state is State.PROBING:
            self.wait()
        assert self.machine.lease is not None
        return self.machine.lease


def test_the_whole_way_to_a_lease() -> None:
    talk = Talk()
    assert (talk.state, talk.sent.kind) == (State.SELECTING, Kind.DISCOVER)
    discover = talk.sent
    assert discover.options[m.HOSTNAME] == b"web1"
    assert discover.options[m.CLIENT] == b"\xff1234"
    assert {m.MASK, m.ROUTER, m.DNS, m.DOMAIN, m.MTU, m.LEASE_TIME, m.RENEWAL, m.REBINDING, m.CLASSLESS_ROUTES} <= set(
        discover.options[m.PARAMETERS]
    )
    talk.answer(Kind.OFFER)
    request = talk.sent
    assert (talk.state, request.kind, request.xid) == (State.REQUESTING, Kind.REQUEST, discover.xid)
    assert (request.address(m.REQUESTED), request.address(m.SERVER), request.ciaddr) == (ADDRESS, SERVER, m.NOBODY)
    asked = talk.now
    talk.now += 1
    assert talk.answer(Kind.ACK) == [Ask(ADDRESS)]
    assert [talk.wait(), talk.wait()] == [[Ask(ADDRESS)], [Ask(ADDRESS)]]
    announced, bound = talk.wait()
    assert announced == Ask(ADDRESS, announce=True)
    assert isinstance(bound, Bound)
    assert (bound.since, bound.lease.address.ip, bound.lease.server_mac) == (asked, ADDRESS, "02:00:00:00:00:99")
    assert (talk.state, talk.machine.deadline) == (State.BOUND, asked + 1000)


def test_the_address_is_checked_in_less_than_a_second() -> None:
    talk = Talk()
    before = talk.now
    talk.bind()
    assert talk.now - before == pytest.approx(3 * PROBE_GAP)


def test_discovers_are_repeated_ever_slower() -> None:
    """RFC 2131, section 4.1: 4, 8, 16, 32 and then 64 seconds, give or take one; the same exchange, with its age."""
    talk = Talk()
    first, moments = talk.sent, [talk.now]
    for _ in range(7):
        talk.wait()
        assert (talk.sent.kind, talk.sent.xid) == (Kind.DISCOVER, first.xid)
        assert talk.sent.secs == int(talk.now - 100)
        moments.append(talk.now)
    gaps = [after - before for before, after in pairwise(moments)]
    assert all(abs(gap - wanted) <= 1 for gap, wanted in zip(gaps, (4, 8, 16, 32, 64, 64, 64), strict=True))
    assert len({gap % 1 for gap in gaps}) > 1


def test_an_offer_that_nobody_confirms_is_given_up() -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    kinds = []
    while talk.state is State.REQUESTING:
        talk.wait()
        kinds.append(talk.sent.kind)
    assert kinds == [Kind.REQUEST, Kind.REQUEST, Kind.DISCOVER]


@pytest.mark.parametrize(
    "changes",
    [
        {"xid": 1},
        {"op": m.REQUEST},
        {"chaddr": OTHER},
        {"options": {m.CLIENT: b"somebody else"}},
        {"options": {}},
        {"yiaddr": m.NOBODY},
    ],
)
def test_what_is_not_for_us_changes_nothing(changes: dict[str, object]) -> None:
    talk = Talk()
    assert talk.answer(Kind.OFFER, **changes) == []
    assert talk.state is State.SELECTING


@pytest.mark.parametrize("kind", [Kind.ACK, Kind.NAK, Kind.DISCOVER])
def test_what_is_not_for_now_changes_nothing(kind: Kind) -> None:
    talk = Talk()
    assert talk.answer(kind) == []
    assert talk.state is State.SELECTING


def test_another_servers_ack_is_not_ours() -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    assert talk.answer(Kind.ACK, IPv4Address("192.168.1.11")) == []
    assert talk.state is State.REQUESTING


def test_a_server_that_refuses_its_own_offer_is_not_asked_at_once() -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    assert talk.answer(Kind.NAK) == []
    assert (talk.state, talk.machine.deadline - talk.now) == (State.INIT, AFTER_REFUSAL)
    assert talk.machine.trouble == "a server refuses the address: wrong network"
    talk.wait()
    assert (talk.sent.kind, talk.sent.address(m.REQUESTED)) == (Kind.DISCOVER, None)


@pytest.mark.parametrize(("sender", "target"), [(ADDRESS, SERVER), (m.NOBODY, ADDRESS)])
def test_an_address_that_somebody_has_or_takes_is_declined(sender: IPv4Address, target: IPv4Address) -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    talk.answer(Kind.ACK)
    talk.actions = talk.machine.heard(Arp(OTHER, sender, target), talk.now)
    assert talk.sent.kind is Kind.DECLINE
    assert (talk.sent.address(m.REQUESTED), talk.sent.address(m.SERVER)) == (ADDRESS, SERVER)
    assert talk.sent.options[m.CLIENT] == b"\xff1234"
    assert not {m.PARAMETERS, m.HOSTNAME} & set(talk.sent.options)
    assert (talk.state, talk.machine.deadline - talk.now) == (State.INIT, AFTER_DECLINE)
    assert "02:00:00:00:00:02 has it" in talk.machine.trouble
    talk.wait()
    assert (talk.state, talk.sent.kind) == (State.SELECTING, Kind.DISCOVER)


@pytest.mark.parametrize(
    "arp", [Arp(MAC, ADDRESS, ADDRESS), Arp(OTHER, SERVER, ADDRESS), Arp(OTHER, m.NOBODY, IPv4Address("192.168.1.11"))]
)
def test_other_arp_is_no_conflict(arp: Arp) -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    talk.answer(Kind.ACK)
    assert talk.machine.heard(arp, talk.now) == []
    assert talk.state is State.PROBING


def test_arp_outside_the_check_is_none_of_our_business() -> None:
    talk = Talk()
    talk.bind()
    assert talk.machine.heard(Arp(OTHER, ADDRESS, ADDRESS), talk.now) == []
    assert talk.state is State.BOUND


def test_a_lease_is_extended_at_t1_by_its_server() -> None:
    talk = Talk()
    talk.bind()
    (send,) = talk.wait()
    assert isinstance(send, Send)
    assert (talk.state, send.unicast, send.message.kind, send.message.ciaddr) == (State.RENEWING, True, Kind.REQUEST, ADDRESS)
    assert not {m.REQUESTED, m.SERVER} & set(send.message.options)
    assert send.message.flags == 0
    (bound,) = talk.answer(Kind.ACK)
    assert isinstance(bound, Bound)
    assert (bound.since, talk.machine.deadline, talk.state) == (talk.now, talk.now + 1000, State.BOUND)


def test_a_silent_server_is_asked_at_half_of_what_is_left() -> None:
    """RFC 2131, section 4.4.5: half of the time to T2, not under 60 seconds; from T2 on everybody, half of what is left."""
    talk = Talk()
    start = talk.now
    talk.bind()
    seen = []
    while not any(isinstance(action, Lost) for action in talk.wait()):
        seen.append((talk.state, round(talk.now - start)))
    renewing = [at for state, at in seen if state is State.RENEWING]
    rebinding = [at for state, at in seen if state is State.REBINDING]
    assert renewing == [1000, 2000, 2500, 2750, 2875, 2938, 2998]
    assert rebinding == [3000, 3300, 3450, 3525, 3585]
    assert talk.now - start == 3600
    assert talk.actions[0] == Lost("it has ended, and no server extends it")
    assert (talk.state, talk.sent.kind, talk.sent.address(m.REQUESTED)) == (State.SELECTING, Kind.DISCOVER, ADDRESS)
    assert talk.machine.lease is None


def test_rebinding_asks_everybody_and_takes_another_servers_answer() -> None:
    talk = Talk()
    talk.bind()
    while talk.state is not State.REBINDING:
        talk.wait()
    assert talk.actions == [Send(talk.sent, unicast=False)]
    assert talk.sent.ciaddr == ADDRESS
    other = ip_address("192.168.1.2")
    options = {m.SERVER: other.packed, m.LEASE_TIME: (60).to_bytes(4, "big")}
    (bound,) = talk.answer(Kind.ACK, options=options)
    assert isinstance(bound, Bound)
    assert bound.lease.server == other


@pytest.mark.parametrize("state", [State.RENEWING, State.REBINDING])
def test_a_no_takes_the_address_away_at_once(state: State) -> None:
    talk = Talk()
    talk.bind()
    while talk.state is not state:
        talk.wait()
    lost, discover = talk.answer(Kind.NAK)
    assert lost == Lost("a server refuses the address: wrong network")
    assert isinstance(discover, Send)
    assert discover.message.address(m.REQUESTED) is None, "it was just refused"


def test_after_a_restart_the_same_address_is_asked_for() -> None:
    """INIT-REBOOT: RFC 2131, section 4.3.2: no server identifier, no ciaddr, the address in option 50; no check by ARP."""
    talk = Talk(Talk().bind(), age=10)
    assert (talk.state, talk.sent.kind) == (State.REBOOTING, Kind.REQUEST)
    assert (talk.sent.address(m.REQUESTED), talk.sent.address(m.SERVER), talk.sent.ciaddr) == (ADDRESS, None, m.NOBODY)
    (bound,) = talk.answer(Kind.ACK)
    assert isinstance(bound, Bound)
    assert talk.state is State.BOUND


def test_after_a_restart_a_no_means_another_address() -> None:
    talk = Talk(Talk().bind(), age=10)
    lost, _ = talk.answer(Kind.NAK)
    assert isinstance(lost, Lost)
    assert talk.state is State.SELECTING


@pytest.mark.parametrize(("age", "then"), [(10, State.BOUND), (1500, State.RENEWING), (3200, State.RENEWING)])
def test_after_a_restart_without_a_server_the_lease_holds_as_long_as_it_lasts(age: float, then: State) -> None:
    talk = Talk(Talk().bind(), age)
    while talk.state is State.REBOOTING:
        talk.wait()
    (bound,) = talk.actions
    assert isinstance(bound, Bound)
    assert bound.since == 100 - age
    assert talk.now - 100 < 15
    talk.actions = talk.machine.tick(talk.now)
    assert talk.state is then
    while talk.state is not State.SELECTING:
        talk.wait()
    assert talk.now == 100 - age + 3600


def test_a_lease_that_ended_meanwhile_is_lost_and_asked_for_again() -> None:
    talk = Talk(Talk().bind(), age=3600)
    lost, discover = talk.actions
    assert lost == Lost("it ended while nobody renewed it")
    assert isinstance(discover, Send)
    assert (discover.message.kind, discover.message.address(m.REQUESTED)) == (Kind.DISCOVER, ADDRESS)


def test_a_lease_for_ever_is_never_renewed() -> None:
    talk = Talk()
    talk.answer(Kind.OFFER)
    talk.answer(Kind.ACK, options={m.SERVER: SERVER.packed, m.LEASE_TIME: b"\xff" * 4})
    while talk.state is State.PROBING:
        talk.wait()
    assert talk.machine.deadline == inf


def test_release_gives_the_address_back() -> None:
    talk = Talk()
    assert talk.machine.release(talk.now) is None
    talk.bind()
    message = talk.machine.release(talk.now)
    assert message is not None
    assert (message.kind, message.ciaddr, message.address(m.SERVER)) == (Kind.RELEASE, ADDRESS, SERVER)
    assert set(message.options) == {m.SERVER, m.CLIENT}


def test_links_that_share_a_mac_ask_for_answers_to_everybody() -> None:
    talk = Talk(broadcast=True)
    assert talk.sent.flags == m.BROADCAST
    talk.bind()
    talk.wait()
    assert talk.sent.flags == 0, "now it has an address to be answered at"


@given(st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 1), st.floats(0, 5000)), max_size=30), st.booleans())
def test_whatever_comes_it_goes_on(steps: list[tuple[Kind, int, float]], again: bool) -> None:
    """Any order of answers and pauses: no crash, a lease only while bound or extending, always something to wait for."""
    talk = Talk(Talk().bind() if again else None)
    for kind, other, pause in steps:
        talk.now += pause
        talk.machine.tick(talk.now)
        talk.answer(kind, IPv4Address(int(ADDRESS) + other))
        talk.machine.heard(Arp(OTHER, ADDRESS, ADDRESS), talk.now)
        assert talk.machine.deadline < inf
        holding = talk.state in (State.BOUND, State.RENEWING, State.REBINDING, State.REBOOTING)
        assert (talk.machine.lease is not None) == holding
