"""The Internet checksum (RFC 1071), of IPv4, UDP and ICMPv6 alike."""

from __future__ import annotations


def checksum(data: bytes) -> int:
    """Return the 16-bit checksum of octets; over data that holds a right one it is 0."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
