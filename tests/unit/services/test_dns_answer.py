"""The rules of answering, as a table; and that bytes whatever make no exception."""

from __future__ import annotations

from ipaddress import ip_interface

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.network import Endpoint, PortMapping
from wefted.model.objects import Netns
from wefted.services.dns.answer import TTL, UPSTREAM, answer, deferring
from wefted.services.dns.zone import Zone

ZONE = Zone("weft.internal")
NS = Netns("/run/netns/x")


def put(name: str, network: str, *addresses: str, ports: tuple[PortMapping, ...] = ()) -> None:
    found = tuple(ip_interface(a) for a in addresses)
    ZONE.put(f"{name}/{network}", Endpoint(network=network, container=f"netns:{name}", ns=NS, addresses=found, ports=ports))


put("c1", "blue", "10.20.0.2/24", "fd20::2/64", ports=(PortMapping(host_port=8080, port=80),))
put("c1", "green", "10.30.0.2/24")
put("four", "blue", "10.20.0.4/24")
put("long", "blue", *(f"10.20.1.{n}/16" for n in range(1, 101)))

EMPTY, NONE = "empty", "nxdomain"
TABLE = [
    ("c1.blue.weft.internal", "A", {"10.20.0.2"}),
    ("c1.blue.weft.internal", "AAAA", {"fd20::2"}),
    ("c1.weft.internal", "A", {"10.20.0.2", "10.30.0.2"}),
    ("C1.bLuE.WEFT.internal", "A", {"10.20.0.2"}),
    ("c1", "A", {"10.20.0.2", "10.30.0.2"}),
    ("C1", "AAAA", {"fd20::2"}),
    ("c1.blue.weft.internal", "ANY", {"10.20.0.2", "fd20::2"}),
    ("four.blue.weft.internal", "AAAA", EMPTY),
    ("four", "AAAA", EMPTY),
    ("four", "MX", EMPTY),
    ("c1.weft.internal", "TXT", EMPTY),
    ("blue.weft.internal", "A", EMPTY),
    ("weft.internal", "A", EMPTY),
    ("nobody.weft.internal", "A", NONE),
    ("nobody.weft.internal", "MX", NONE),
    ("c1.red.weft.internal", "A", NONE),
    ("nobody", "A", NONE),
    ("nobody", "AAAA", NONE),
    ("com", "DS", UPSTREAM),
    ("example.com", "A", UPSTREAM),
    ("c1.example.com", "A", UPSTREAM),
    (".", "NS", UPSTREAM),
    ("2.0.20.10.in-addr.arpa", "PTR", {"c1.blue.weft.internal."}),
    ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.d.f.ip6.arpa", "PTR", {"c1.blue.weft.internal."}),
    ("9.9.9.10.in-addr.arpa", "PTR", UPSTREAM),
    ("x.in-addr.arpa", "PTR", UPSTREAM),
    ("_80._tcp.c1.blue.weft.internal", "SRV", {"0 0 80 c1.blue.weft.internal."}),
    ("_tcp.c1.weft.internal", "SRV", {"0 0 80 c1.weft.internal."}),
    ("_80._tcp.c1.weft.internal", "A", EMPTY),
    ("_81._tcp.c1.weft.internal", "SRV", NONE),
]


def ask(name: str, kind: str, *, stream: bool = False, **options: object) -> dns.message.Message:
    found = answer(ZONE, dns.message.make_query(name, kind, **options).to_wire(), stream=stream)
    assert isinstance(found, bytes)
    return dns.message.from_wire(found)


@pytest.mark.parametrize(("name", "kind", "expected"), TABLE)
def test_the_rules(name: str, kind: str, expected: object) -> None:
    query = dns.message.make_query(name, kind)
    wire = answer(ZONE, query.to_wire())
    if expected is UPSTREAM:
        assert wire is UPSTREAM
        return
    assert isinstance(wire, bytes)
    response = dns.message.from_wire(wire)
    assert query.is_response(response)
    assert response.flags & dns.flags.AA
    assert response.flags & dns.flags.RA
    assert response.rcode() == (dns.rcode.NXDOMAIN if expected == NONE else dns.rcode.NOERROR)
    records = {record.to_text() for rrset in response.answer for record in rrset}
    assert records == (expected if isinstance(expected, set) else set())
    assert {rrset.ttl for rrset in (*response.answer, *response.authority)} == {TTL}
    negative = expected in (EMPTY, NONE)
    assert [rrset.rdtype for rrset in response.authority] == ([dns.rdatatype.SOA] if negative else [])


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("nobody", "A", dns.rcode.REFUSED),
        ("nobody", "AAAA", dns.rcode.REFUSED),
        ("c1", "A", dns.rcode.NOERROR),
        ("four", "AAAA", dns.rcode.NOERROR),
        ("nobody.weft.internal", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_who_has_another_server_is_refused_unknown_bare_names(name: str, kind: str, code: dns.rcode.Rcode) -> None:
    wire = dns.message.make_query(name, kind).to_wire()
    found = answer(ZONE, wire)
    assert isinstance(found, bytes)
    told = dns.message.from_wire(deferring(wire, found))
    assert told.rcode() == code
    assert told.question == dns.message.from_wire(wire).question


def test_the_owner_is_the_name_as_it_was_asked_for() -> None:
    assert str(ask("C1.Blue.weft.INTERNAL", "A").answer[0].name) == "C1.Blue.weft.INTERNAL."


def test_a_service_brings_its_addresses() -> None:
    response = ask("_80._tcp.c1.weft.internal", "SRV")
    assert {r.to_text() for rrset in response.additional for r in rrset} == {"10.20.0.2", "10.30.0.2", "fd20::2"}


def test_the_order_is_random() -> None:
    assert len({ask("long", "A", stream=True).answer[0][0].to_text() for _ in range(50)}) > 10


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (100, 512), (1232, 1232), (9000, 4096)])
def test_an_answer_over_udp_is_cut_and_says_so(payload: int | None, limit: int) -> None:
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    wire = answer(ZONE, dns.message.make_query("long", "A", **options).to_wire())
    assert isinstance(wire, bytes)
    assert len(wire) <= limit
    cut = limit < 1600
    assert bool(dns.message.from_wire(wire).flags & dns.flags.TC) is cut


def test_over_tcp_it_is_whole() -> None:
    response = ask("long", "A", stream=True)
    assert not response.flags & dns.flags.TC
    assert len(response.answer[0]) == 100


def header(flags: int, questions: int = 0) -> bytes:
    return b"\x12\x34" + flags.to_bytes(2, "big") + questions.to_bytes(2, "big") + bytes(6)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"", None),
        (b"\x12\x34\x01", None),
        (header(0x8000), None),
        (header(0x0000), dns.rcode.FORMERR),
        (header(0x0100, 1), dns.rcode.FORMERR),
        (header(0x0100, 1) + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),
        (header(0x2000), dns.rcode.NOTIMP),
        (header(0x2800), dns.rcode.NOTIMP),
        (dns.message.make_query("version.bind", "TXT", "CH", id=7).to_wire(), dns.rcode.REFUSED),
        (dns.message.make_query("c1", "A", use_edns=1, id=7).to_wire(), dns.rcode.BADVERS),
    ],
)
def test_what_is_no_proper_query(wire: bytes, code: int | None) -> None:
    found = answer(ZONE, wire)
    if code is None:
        assert found is None
        return
    assert isinstance(found, bytes)
    assert found[:2] == wire[:2]
    assert dns.message.from_wire(found).rcode() == code


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: header(0x0100, 1) + tail))
def test_no_bytes_make_an_exception(wire: bytes) -> None:
    found = answer(ZONE, wire)
    assert found is None or found is UPSTREAM or (isinstance(found, bytes) and found[:2] == wire[:2])


@given(st.integers(0, 200), st.integers(0, 255), st.booleans())
def test_no_damaged_query_makes_an_exception(at: int, byte: int, stream: bool) -> None:
    wire = bytearray(dns.message.make_query("_80._tcp.c1.blue.weft.internal", "SRV", use_edns=0).to_wire())
    wire[at % len(wire)] = byte
    found = answer(ZONE, bytes(wire), stream=stream)
    assert found is None or found is UPSTREAM or (isinstance(found, bytes) and found[:2] == wire[:2])
