"""From a server's answer to a lease: what makes no sense is replaced as RFC 2131 says, or the answer is dropped."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_interface

from wefted.model.dhcp import FOREVER, DhcpLease, LeasedRoute

from .message import (
    CLASSLESS_ROUTES,
    DNS,
    DOMAIN,
    LEASE_TIME,
    MASK,
    MTU,
    NOBODY,
    REBINDING,
    RENEWAL,
    ROUTER,
    SERVER,
    Message,
    decode_routes,
)

SMALLEST_MTU = 68
"""Bytes (RFC 2132, section 5.1)."""


def lease_of(answer: Message, mac: str = "") -> DhcpLease | None:
    """Return the lease that an ACK (or OFFER) stands for; None without an address, a duration or a server.

    `mac` is where the answer came from. `obtained` is left to the caller, who knows when it asked.
    """
    server, duration = answer.address(SERVER), answer.number(LEASE_TIME)
    if server is None or not duration or not _is_unicast(answer.yiaddr):
        return None
    renewal, rebinding = _times(answer, duration)
    gateway, routes = _ways(answer)
    mtu = answer.number(MTU) or 0
    return DhcpLease(
        address=ip_interface((answer.yiaddr, _length(answer))),
        server=server,
        server_mac=mac,
        duration=duration,
        renewal=renewal,
        rebinding=rebinding,
        gateway=gateway,
        routes=routes,
        dns=tuple(a for a in answer.addresses(DNS) if _is_unicast(a)),
        domain=answer.text(DOMAIN),
        mtu=mtu if mtu >= SMALLEST_MTU else 0,
    )


def _is_unicast(address: IPv4Address) -> bool:
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or address.is_reserved)


def _length(answer: Message) -> int:
    """Return the prefix length; without a mask the one of the address's class (RFC 950)."""
    mask = answer.address(MASK)
    ones = f"{int(mask):032b}".rstrip("0") if mask is not None else ""
    if ones and "0" not in ones:
        return len(ones)
    first = answer.yiaddr.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24


def _times(answer: Message, duration: int) -> tuple[int, int]:
    """Return T1 and T2; by default half and seven eighths of the duration (RFC 2131, section 4.4.5)."""
    if duration == FOREVER:
        return FOREVER, FOREVER
    rebinding = answer.number(REBINDING) or 0
    if not 0 < rebinding <= duration:
        rebinding = duration * 7 // 8
    renewal = answer.number(RENEWAL) or 0
    if not 0 < renewal <= rebinding:
        renewal = min(duration // 2, rebinding)
    return renewal, rebinding


def _ways(answer: Message) -> tuple[IPv4Address | None, tuple[LeasedRoute, ...]]:
    """Return the gateway and the routes; where there are classless routes, routers do not count (RFC 3442)."""
    found = decode_routes(answer.options.get(CLASSLESS_ROUTES, b""))
    if not found:
        return next((a for a in answer.addresses(ROUTER) if _is_unicast(a)), None), ()
    default = found.pop(IPv4Network("0.0.0.0/0"), NOBODY)
    routes = tuple(
        LeasedRoute(destination=network, via=None if via == NOBODY else via)
        for network, via in found.items()
        if not (network.is_multicast or network.is_loopback)
    )
    return (default if _is_unicast(default) else None), routes
