"""What is remembered of answers is what would be answered anew, and only as long as it would be."""

from __future__ import annotations

from ipaddress import ip_interface

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.network import Endpoint
from wefted.model.objects import Netns
from wefted.services.dns import answers
from wefted.services.dns.answer import UPSTREAM, answer
from wefted.services.dns.answers import Answers
from wefted.services.dns.zone import Zone

NAMES = [
    "c1.blue.weft.internal",
    "C1.Blue.weft.internal",
    "nobody.weft.internal",
    "weft.internal",
    "c1",
    "2.0.20.10.in-addr.arpa",
]


def zone(*addresses: str) -> Zone:
    made = Zone("weft.internal")
    put(made, *addresses)
    return made


def put(where: Zone, *addresses: str) -> None:
    found = tuple(ip_interface(a) for a in addresses)
    where.put("c1", Endpoint(network="blue", container="netns:c1", ns=Netns("/x"), addresses=found))


def query(name: str, kind: str = "A", number: int = 7, **more: object) -> bytes:
    made = dns.message.make_query(name, kind, id=number, **more)
    wire: bytes = made.to_wire()
    return wire


@given(
    st.sampled_from(NAMES), st.sampled_from(["A", "AAAA", "PTR", "SOA", "SRV"]), st.booleans(), st.integers(0, 65535),
    st.integers(0, 65535),
)  # fmt: skip
def test_a_remembered_answer_is_the_one_that_would_be_given(name: str, kind: str, edns: bool, first: int, second: int) -> None:
    here = zone("10.20.0.2/24", "fd20::2/64")
    remembered = Answers(here)
    for number in (first, second):
        wire = query(name, kind, number, use_edns=edns)
        assert remembered.to(wire) == answer(here, wire)


@given(st.binary(max_size=300))
def test_any_bytes_get_what_they_would_get(wire: bytes) -> None:
    here = zone("10.20.0.2/24")
    remembered = Answers(here)
    assert remembered.to(wire) == remembered.to(wire) == answer(here, wire)


def first_address(wire: object) -> str:
    assert isinstance(wire, bytes)
    return str(dns.message.from_wire(wire).answer[0][0])


def test_a_change_of_the_zone_is_answered_at_once() -> None:
    here = zone("10.20.0.2/24")
    remembered = Answers(here)
    assert first_address(remembered.to(query(NAMES[0]))) == "10.20.0.2"
    put(here, "10.20.0.9/24")
    assert first_address(remembered.to(query(NAMES[0]))) == "10.20.0.9"
    here.put("c1", None)
    gone = remembered.to(query(NAMES[0]))
    assert isinstance(gone, bytes)
    assert dns.message.from_wire(gone).rcode() == dns.rcode.NXDOMAIN


def test_a_change_that_changes_nothing_forgets_nothing() -> None:
    here = zone("10.20.0.2/24")
    before = here.changes
    put(here, "10.20.0.2/24")
    assert here.changes == before


def test_several_addresses_stay_in_random_order() -> None:
    here = zone(*(f"10.20.0.{n}/24" for n in range(2, 22)))
    remembered = Answers(here)
    wire = query(NAMES[0], use_edns=True)
    assert len({first_address(remembered.to(wire)) for _ in range(60)}) > 3


def test_what_others_answer_and_long_questions_are_not_kept() -> None:
    here = zone("10.20.0.2/24")
    remembered = Answers(here)
    assert remembered.to(query("example.com")) is UPSTREAM
    remembered.to(query(NAMES[0]) + bytes(answers.LONGEST))
    assert remembered._known == {}


def test_questions_for_ever_new_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST", 10)
    remembered = Answers(zone("10.20.0.2/24"))
    for number in range(95):
        remembered.to(query(f"n{number}.weft.internal"))
    assert len(remembered._known) <= 10
