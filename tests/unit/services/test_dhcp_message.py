"""DHCP messages against the layouts of RFC 2131 and 2132, written out byte for byte; and whatever else may arrive."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.dhcp import FOREVER, LeasedRoute
from wefted.services.dhcp import frame
from wefted.services.dhcp import message as m
from wefted.services.dhcp.lease import lease_of
from wefted.services.dhcp.message import Kind, Malformed, Message, decode, decode_routes, encode, encode_routes

MAC = bytes.fromhex("0242c0a80005")
HEAD = bytes.fromhex(
    "01 01 06 00"  # op htype hlen hops
    "deadbeef"  # xid
    "0007 8000"  # secs flags
    "00000000 c0a8010a 00000000 c0a801fe"  # ciaddr yiaddr siaddr giaddr
    "0242c0a80005 00000000000000000000"  # chaddr
)
NAMES = bytes(64 + 128)
COOKIE = bytes.fromhex("63825363")


def wire(options: str | bytes, op: int = 1, names: bytes = NAMES) -> bytes:
    body = bytes.fromhex(options) if isinstance(options, str) else options
    return bytes([op]) + HEAD[1:] + names + COOKIE + body


def message(**fields: object) -> Message:
    found = {"kind": Kind.DISCOVER, "xid": 0xDEADBEEF, "secs": 7, "flags": m.BROADCAST, "chaddr": MAC, **fields}
    return Message(
        yiaddr=IPv4Address("192.168.1.10"),
        giaddr=IPv4Address("192.168.1.254"),
        **found,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("options", "bytes_"),
    [
        ({}, "350101 ff"),
        ({m.HOSTNAME: b"web1"}, "350101 0c0477656231 ff"),
        ({m.CLIENT: b"\xff\x01\x02"}, "350101 3d03ff0102 ff"),
        ({m.REQUESTED: ip_address("10.0.0.5").packed, m.SERVER: ip_address("10.0.0.1").packed},
         "350101 32040a000005 36040a000001 ff"),
        ({m.PARAMETERS: bytes((1, 121, 3))}, "350101 3703017903 ff"),
    ],
)  # fmt: skip
def test_a_message_is_its_layout(options: dict[int, bytes], bytes_: str) -> None:
    expected = wire(bytes_).ljust(m.SHORTEST, b"\0")
    assert encode(message(options=options)) == expected
    assert decode(expected) == message(options=options)


@pytest.mark.parametrize("number", range(1, 9))
def test_every_kind_has_its_number(number: int) -> None:
    assert decode(wire(bytes([53, 1, number, 255]))).kind == number


def test_a_long_option_is_split_and_joined() -> None:
    """RFC 3396: its parts are one value, whatever stands between them."""
    long = bytes(range(256)) * 2
    found = encode(message(options={m.CLASSLESS_ROUTES: long}))
    assert found.count(bytes([m.CLASSLESS_ROUTES, 255])) >= 2
    assert decode(found).options[m.CLASSLESS_ROUTES] == long
    assert decode(wire("350101 790101 0c0161 790102 ff")).options == {121: b"\1\2", 12: b"a"}


@pytest.mark.parametrize(
    ("overload", "expected"),
    [("01", {12: b"file"}), ("02", {12: b"sname"}), ("03", {12: b"filesname"}), ("00", {}), ("07", {})],
)
def test_options_may_stand_in_file_and_sname(overload: str, expected: dict[int, bytes]) -> None:
    names = (b"\x0c\x05sname\xff").ljust(64, b"\0") + (b"\x0c\x04file\xff").ljust(128, b"\0")
    assert decode(wire(f"350101 3401{overload} ff", names=names)).options == expected


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        HEAD,
        wire("350101ff").replace(COOKIE, b"abcd"),
        wire("ff"),
        wire("350109ff"),
        wire("350100ff"),
        wire("35020101ff"),
        bytes([1, 6]) + wire("350101ff")[2:],
        wire("3d0101"),
    ],
)
def test_what_is_no_message_is_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        decode(broken)


@pytest.mark.parametrize("rest", ["", "03", "0304", "0304c0a8", "06ff00"])
def test_options_that_run_over_the_end_are_left_out(rest: str) -> None:
    assert decode(wire("350101 0000 0c0161" + rest)).options == {12: b"a"}


@given(st.binary(max_size=700))
def test_no_bytes_are_a_crash(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert isinstance(decode(data), Message)


@given(st.binary(max_size=400), st.binary(max_size=192))
def test_no_options_are_a_crash(options: bytes, names: bytes) -> None:
    with contextlib.suppress(Malformed):
        found = decode(wire(b"\x35\x01\x05\x34\x01\x03" + options, op=2, names=names.ljust(192, b"\0")))
        lease = lease_of(found, "02:00:00:00:00:01")
        assert lease is None or (lease.renewal <= lease.rebinding <= lease.duration and lease.address.version == 4)


@given(st.builds(Message, kind=st.sampled_from(Kind), op=st.sampled_from((1, 2)), xid=st.integers(0, 2**32 - 1),
                 secs=st.integers(0, 65535), flags=st.sampled_from((0, m.BROADCAST)), ciaddr=st.ip_addresses(v=4),
                 yiaddr=st.ip_addresses(v=4), chaddr=st.binary(min_size=6, max_size=6),
                 options=st.dictionaries(st.integers(1, 254).filter(lambda n: n not in (52, 53)), st.binary(max_size=600),
                                         max_size=5)))  # fmt: skip
def test_what_is_encoded_is_decoded(sent: Message) -> None:
    assert decode(encode(sent)) == sent


@pytest.mark.parametrize(
    ("value", "expected"),
    [  # the examples of RFC 3442
        ("00 0a000001", {"0.0.0.0/0": "10.0.0.1"}),
        ("08 0a 0a000001", {"10.0.0.0/8": "10.0.0.1"}),
        ("18 0a0000 0a000001", {"10.0.0.0/24": "10.0.0.1"}),
        ("10 0a11 0a000001", {"10.17.0.0/16": "10.0.0.1"}),
        ("18 0a1b81 0a000001", {"10.27.129.0/24": "10.0.0.1"}),
        ("19 0a e5 00 80 0a000001", {"10.229.0.128/25": "10.0.0.1"}),
        ("20 0ac67a2f 0a000001", {"10.198.122.47/32": "10.0.0.1"}),
        ("08 0a 0a000001 10 0a", {"10.0.0.0/8": "10.0.0.1"}),
        ("21 0a0000000a 0a000001", {}),
        ("08 0a 0a0000", {}),
    ],
)
def test_classless_routes(value: str, expected: dict[str, str]) -> None:
    routes = {IPv4Network(network): IPv4Address(via) for network, via in expected.items()}
    assert decode_routes(bytes.fromhex(value)) == routes
    assert decode_routes(encode_routes(routes)) == routes


@given(st.binary(max_size=300))
def test_no_routes_are_a_crash(value: bytes) -> None:
    assert all(isinstance(network, IPv4Network) for network in decode_routes(value))


ACK: dict[int, bytes] = {
    m.SERVER: ip_address("192.168.1.1").packed,
    m.LEASE_TIME: (3600).to_bytes(4, "big"),
    m.MASK: ip_address("255.255.255.0").packed,
    m.ROUTER: ip_address("192.168.1.1").packed,
}


@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        ({}, "address", ip_interface("192.168.1.10/24")),
        ({}, "gateway", ip_address("192.168.1.1")),
        ({}, "renewal", 1800),
        ({}, "rebinding", 3150),
        ({m.RENEWAL: (2).to_bytes(4, "big"), m.REBINDING: (5).to_bytes(4, "big")}, "renewal", 2),
        ({m.RENEWAL: (2).to_bytes(4, "big"), m.REBINDING: (5).to_bytes(4, "big")}, "rebinding", 5),
        ({m.RENEWAL: (9000).to_bytes(4, "big")}, "renewal", 1800),
        ({m.REBINDING: (9000).to_bytes(4, "big")}, "rebinding", 3150),
        ({m.LEASE_TIME: b"\xff" * 4}, "renewal", FOREVER),
        ({m.MASK: b""}, "address", ip_interface("192.168.1.10/24")),
        ({m.MASK: ip_address("255.0.255.0").packed}, "address", ip_interface("192.168.1.10/24")),
        ({m.MASK: ip_address("255.255.255.252").packed}, "address", ip_interface("192.168.1.10/30")),
        ({m.ROUTER: b"\1\2\3"}, "gateway", None),
        ({m.ROUTER: bytes(4)}, "gateway", None),
        ({m.DNS: bytes.fromhex("01010101 08080808")}, "dns", (ip_address("1.1.1.1"), ip_address("8.8.8.8"))),
        ({m.DOMAIN: b"example.org\0"}, "domain", "example.org"),
        ({m.DOMAIN: b"a\nb"}, "domain", ""),
        ({m.MTU: (1400).to_bytes(2, "big")}, "mtu", 1400),
        ({m.MTU: (67).to_bytes(2, "big")}, "mtu", 0),
        ({m.CLASSLESS_ROUTES: bytes.fromhex("00c0a80109 080a c0a80107 0cac10 00000000")}, "gateway", ip_address("192.168.1.9")),
        ({m.CLASSLESS_ROUTES: bytes.fromhex("00c0a80109 080a c0a80107 0cac10 00000000")}, "routes",
         (LeasedRoute(destination=ip_network("10.0.0.0/8"), via=ip_address("192.168.1.7")),
          LeasedRoute(destination=ip_network("172.16.0.0/12"), via=None))),
        ({m.CLASSLESS_ROUTES: bytes.fromhex("080a c0a80107")}, "gateway", None),
    ],
)  # fmt: skip
def test_a_lease_says_what_the_answer_says(options: dict[int, bytes], field: str, expected: object) -> None:
    found = lease_of(message(kind=Kind.ACK, options=ACK | options))
    assert found is not None
    assert getattr(found, field) == expected


@pytest.mark.parametrize("missing", [m.SERVER, m.LEASE_TIME])
def test_without_server_or_time_there_is_no_lease(missing: int) -> None:
    assert lease_of(message(options={k: v for k, v in ACK.items() if k != missing})) is None


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_an_address_that_no_host_can_have_is_no_lease(address: str) -> None:
    assert lease_of(Message(kind=Kind.ACK, yiaddr=IPv4Address(address), options=ACK)) is None


def test_a_frame_carries_its_payload() -> None:
    sent = frame.datagram(b"hello", MAC)
    assert sent[:14] == b"\xff" * 6 + MAC + b"\x08\x00"
    assert sent[26:34] == bytes(4) + b"\xff" * 4
    assert sent[34:38] == (68).to_bytes(2, "big") + (67).to_bytes(2, "big")
    assert frame.checksum(sent[14:34]) == 0
    back = sent[:34] + sent[36:38] + sent[34:36] + sent[38:]  # from the server's port to the client's: the same sums
    assert frame.parse(back) == frame.Datagram(b"hello", MAC)


@given(st.integers(14, 46), st.integers(1, 255))
def test_a_damaged_frame_is_nothing(at: int, flip: int) -> None:
    sent = frame.datagram(b"hello", MAC)
    good = sent[:34] + sent[36:38] + sent[34:36] + sent[38:]
    bad = good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
    assert frame.parse(bad) is None


def test_a_sum_that_was_never_filled_in_is_believed_where_the_kernel_says_so() -> None:
    sent = frame.datagram(b"hello", MAC)
    good = sent[:34] + sent[36:38] + sent[34:36] + sent[38:]
    partial = good[:40] + b"\x12\x34" + good[42:]
    assert frame.parse(partial) is None
    assert frame.parse(partial, verified=True) == frame.Datagram(b"hello", MAC)


@given(st.binary(max_size=120), st.booleans())
def test_no_frame_is_a_crash(data: bytes, verified: bool) -> None:
    for head in (b"", b"\xff" * 6 + MAC + b"\x08\x00", b"\xff" * 6 + MAC + b"\x08\x06", b"\xff" * 6 + MAC + b"\x08\x00\x45"):
        found = frame.parse(head + data, verified=verified)
        assert found is None or isinstance(found, frame.Datagram | frame.Arp)


def test_a_probe_and_an_announcement() -> None:
    address = IPv4Address("192.168.1.10")
    assert frame.parse(frame.arp(MAC, frame.ANY, address)) == frame.Arp(MAC, frame.ANY, address)
    assert frame.arp(MAC, address, address)[14:] == bytes.fromhex(
        "0001 0800 06 04 0001" + MAC.hex() + "c0a8010a 000000000000 c0a8010a"
    )
