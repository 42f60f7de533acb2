"""DHCP messages as bytes: the layout of RFC 2131 (figure 1), options by RFC 2132, long ones by RFC 3396.

    op htype hlen hops | xid | secs flags | ciaddr | yiaddr | siaddr | giaddr | chaddr | sname | file | cookie, options

Whatever a network delivers, `decode` returns a message or raises `Malformed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from struct import Struct

REQUEST, REPLY = 1, 2
BROADCAST = 0x8000
ETHERNET = 1
COOKIE = b"\x63\x82\x53\x63"
SHORTEST = 300
"""Bytes of a BOOTP message (RFC 1542, section 2.1): relays drop shorter ones."""
NOBODY = IPv4Address(0)

PAD, END, OVERLOAD = 0, 255, 52
MASK, ROUTER, DNS, HOSTNAME, DOMAIN, MTU = 1, 3, 6, 12, 15, 26
REQUESTED, LEASE_TIME, TYPE, SERVER, PARAMETERS, TEXT, LARGEST = 50, 51, 53, 54, 55, 56, 57
RENEWAL, REBINDING, CLIENT, CLASSLESS_ROUTES = 58, 59, 61, 121

_HEADER = Struct("!BBBBIHH4s4s4s4s16s64s128s4s")


class Kind(IntEnum):
    """The values of option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Malformed(ValueError):
    """Not a DHCP message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `options` holds the bytes of each option by its code, parts of long ones joined; option 53 is `kind`."""

    kind: Kind
    op: int = REQUEST
    xid: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOBODY
    yiaddr: IPv4Address = NOBODY
    siaddr: IPv4Address = NOBODY
    giaddr: IPv4Address = NOBODY
    chaddr: bytes = bytes(6)
    options: Mapping[int, bytes] = field(default_factory=dict)

    def number(self, code: int) -> int | None:
        """Return an option of one, two or four bytes, None where it is missing or of another length."""
        value = self.options.get(code, b"")
        return int.from_bytes(value, "big") if len(value) in (1, 2, 4) else None

    def address(self, code: int) -> IPv4Address | None:
        """Return the first address of an option."""
        return next(iter(self.addresses(code)), None)

    def addresses(self, code: int) -> tuple[IPv4Address, ...]:
        """Return the addresses of an option; none where its length is wrong."""
        value = self.options.get(code, b"")
        if len(value) % 4:
            return ()
        return tuple(IPv4Address(value[i : i + 4]) for i in range(0, len(value), 4))

    def text(self, code: int) -> str:
        """Return an option as text, without the zero byte at its end that some servers send (RFC 2132, section 2)."""
        value = self.options.get(code, b"").rstrip(b"\0").decode("ascii", "replace")
        return value if value.isprintable() else ""


def encode(message: Message) -> bytes:
    """Return the bytes of a message, padded to `SHORTEST`."""
    head = _HEADER.pack(
        message.op, ETHERNET, len(message.chaddr), 0, message.xid, message.secs, message.flags,
        message.ciaddr.packed, message.yiaddr.packed, message.siaddr.packed, message.giaddr.packed,
        message.chaddr, b"", b"", COOKIE,
    )  # fmt: skip
    options = {TYPE: bytes([message.kind]), **message.options}
    body = b"".join(_parts(code, value) for code, value in options.items()) + bytes([END])
    return (head + body).ljust(SHORTEST, b"\0")


def _parts(code: int, value: bytes) -> bytes:
    parts = [value[i : i + 255] for i in range(0, len(value), 255)] or [b""]
    return b"".join(bytes([code, len(part)]) + part for part in parts)


def decode(data: bytes) -> Message:
    """Return the message in `data`. Raises `Malformed`."""
    if len(data) < _HEADER.size:
        raise Malformed(f"{len(data)} bytes are no DHCP message")
    op, kind, length, _, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file, cookie = _HEADER.unpack_from(data)
    if cookie != COOKIE or kind != ETHERNET or length > 16:
        raise Malformed("this is BOOTP without options, or not for Ethernet")
    options = _options(data[_HEADER.size :], file, sname)
    number = options.pop(TYPE, b"")
    if len(number) != 1 or number[0] not in Kind._value2member_map_:
        raise Malformed("it does not say what kind of message it is")
    return Message(
        kind=Kind(number[0]), op=op, xid=xid, secs=secs, flags=flags,
        ciaddr=IPv4Address(ci), yiaddr=IPv4Address(yi), siaddr=IPv4Address(si), giaddr=IPv4Address(gi),
        chaddr=chaddr[:length], options=options,
    )  # fmt: skip


def _options(body: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """Return the options of all places in which they may stand, in the order of RFC 3396: options, file, sname."""
    found: dict[int, bytes] = {}
    _gather(body, found)
    overload = found.pop(OVERLOAD, b"\0")[:1]
    if overload in (b"\x01", b"\x03"):
        _gather(file, found)
    if overload in (b"\x02", b"\x03"):
        _gather(sname, found)
    return found


def _gather(area: bytes, found: dict[int, bytes]) -> None:
    for code, value in _walk(area):
        found[code] = found.get(code, b"") + value


def _walk(area: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield codes and values up to the end mark; one that is longer than what is left ends it too."""
    at = 0
    while at < len(area) and area[at] != END:
        if area[at] == PAD:
            at += 1
            continue
        length = area[at + 1] if at + 1 < len(area) else 256
        if at + 2 + length > len(area):
            return
        yield area[at], area[at + 2 : at + 2 + length]
        at += 2 + length


def encode_routes(routes: Mapping[IPv4Network, IPv4Address]) -> bytes:
    """Return option 121 (RFC 3442): length of the prefix, its significant bytes, the router; 0.0.0.0 for none."""
    parts = []
    for network, via in routes.items():
        parts.append(bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8] + via.packed)
    return b"".join(parts)


def decode_routes(value: bytes) -> dict[IPv4Network, IPv4Address]:
    """Return the routes of option 121, up to the first one that is broken."""
    found: dict[IPv4Network, IPv4Address] = {}
    at = 0
    while at < len(value) and value[at] <= 32:
        length = value[at]
        size = (length + 7) // 8
        if at + 5 + size > len(value):
            break
        prefix = value[at + 1 : at + 1 + size].ljust(4, b"\0")
        via = IPv4Address(value[at + 1 + size : at + 5 + size])
        found.setdefault(IPv4Network((prefix, length), strict=False), via)
        at += 5 + size
    return found
