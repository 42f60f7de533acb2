"""The attribute codec, and what is made of answers."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.kernel import netlink
from wefted.kernel.netlink import Message, Refused


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=12))
def test_attributes_are_read_as_they_were_written(wanted: dict[int, bytes]) -> None:
    data = b"header__" + b"".join(netlink.attribute(kind, value) for kind, value in wanted.items())
    assert len(data) % 4 == 0
    assert netlink.attributes(data, 8) == wanted


@given(st.binary(max_size=200))
def test_damaged_bytes_are_read_without_an_error(data: bytes) -> None:
    assert all(isinstance(value, bytes) for value in netlink.attributes(data).values())
    assert all(len(body) <= len(data) for *_, body in netlink.messages(data))


def test_numbers_and_texts() -> None:
    assert netlink.u8(1, 7) == b"\x05\0\x01\0\x07\0\0\0"
    assert netlink.be16(15, 4789)[4:6] == struct.pack(">H", 4789)
    assert netlink.as_int(netlink.attributes(netlink.u16(2, 513))[2]) == 513
    assert netlink.as_int(None, 9) == 9
    assert netlink.as_text(netlink.attributes(netlink.text(3, "eth0"))[3]) == "eth0"
    assert netlink.as_mac(bytes(range(6))) == "00:01:02:03:04:05"


def test_nesting_is_marked_and_read_through() -> None:
    data = netlink.nested(18, netlink.u32(1, 5))
    assert struct.unpack_from("=HH", data)[1] == 18 | 0x8000
    assert netlink.attributes(netlink.attributes(data)[18]) == {1: struct.pack("=I", 5)}


@pytest.mark.parametrize("mac", ["", "02:00", "zz:00:00:00:00:01", "02:00:00:00:00:01:02"])
def test_what_is_no_mac_is_refused(mac: str) -> None:
    with pytest.raises(Refused) as caught:
        netlink.mac_bytes(mac)
    assert caught.value.errno == errno.EINVAL


@given(st.lists(st.integers(0, 9000), max_size=1500))
def test_batches_are_cut_where_they_outgrow_the_buffers(sizes: list[int]) -> None:
    batch = [Message(16, 0, bytes(size)) for size in sizes]
    chunks = list(netlink._chunks(batch))
    assert [message for chunk in chunks for message in chunk] == batch
    assert all(0 < len(chunk) <= 512 for chunk in chunks)
    assert all(len(chunk) == 1 or sum(20 + len(m.body) for m in chunk) <= 65536 for chunk in chunks)


def test_our_ports_are_told_from_process_ids_and_from_other_processes() -> None:
    ports = [port for port, _ in zip(netlink.PORTS, range(5000), strict=False)]
    assert all(port in netlink.PORTS for port in ports)
    assert all(port >= 0x40000000 for port in ports)
    assert 4242 not in netlink.PORTS
    assert ports[0] ^ 0x1000 not in netlink.PORTS


def test_a_refusal_explains_itself() -> None:
    assert Refused(errno.EEXIST, "from the kernel").explain("link a") == "File exists: from the kernel"
    assert Refused(errno.ENODEV).explain("link a") == "No such device: link a"
    assert "1023 ports" in Refused(errno.EXFULL).explain("link a")
    assert Refused(0, "install it").explain("nft") == "failed: install it"


def acknowledgement(number: int, flags: int, rest: bytes) -> bytes:
    return struct.pack("=i", -number) + rest


def test_the_kernels_own_text_is_found_with_and_without_the_request() -> None:
    text = netlink.text(1, "Too bad")
    request = struct.pack("=IHHII", 16 + 10, 16, 0, 1, 0) + bytes(12)
    whole = acknowledgement(22, 0x200, request + text)
    capped = acknowledgement(22, 0x300, request[:16] + text)
    assert netlink._verdict(0x200, whole) == (22, "Too bad")
    assert netlink._verdict(0x300, capped) == (22, "Too bad")
    assert netlink._verdict(0, acknowledgement(1, 0, request)) == (1, "")
