"""The frames that tell neighbours of a new address, field by field as RFC 5227 and RFC 4861 draw them."""

from __future__ import annotations

from ipaddress import ip_address

from wefted.kernel.announce import frames

MAC = bytes.fromhex("02000000000a")


def test_an_ipv4_address_is_announced_as_a_request_and_as_a_reply() -> None:
    request, reply = frames(ip_address("192.0.2.9"), MAC)
    head = "ffffffffffff" + MAC.hex() + "0806" + "0001" + "0800" + "06" + "04"
    assert request.hex() == head + "0001" + MAC.hex() + "c0000209" + "000000000000" + "c0000209"
    assert reply.hex() == head + "0002" + MAC.hex() + "c0000209" + MAC.hex() + "c0000209"


def test_an_ipv6_address_is_advertised_to_all_nodes() -> None:
    (frame,) = frames(ip_address("2001:db8::9"), MAC)
    address = "20010db8" + "00" * 11 + "09"
    assert frame[:14].hex() == "333300000001" + MAC.hex() + "86dd"
    ip, message = frame[14:54], frame[54:]
    assert ip.hex() == "60000000" + f"{len(message):04x}" + "3aff" + address + "ff02" + "00" * 13 + "01"
    assert message[:2].hex() == "8800"
    assert message[4:].hex() == "20000000" + address + "0201" + MAC.hex()


def test_the_checksum_covers_the_pseudo_header() -> None:
    """Summed with its checksum, a message with the pseudo-header (RFC 8200, 8.1) gives all ones."""
    (frame,) = frames(ip_address("2001:db8:77::1:9"), MAC)
    ip, message = frame[14:54], frame[54:]
    covered = ip[8:40] + len(message).to_bytes(4, "big") + (58).to_bytes(4, "big") + message
    total = sum(int.from_bytes(covered[i : i + 2], "big") for i in range(0, len(covered), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
