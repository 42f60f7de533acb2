"""Routes (`struct rtmsg`, linux/rtnetlink.h)."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from struct import Struct

from wefted.model.objects import IPAddress, IPNetwork, KernelObject
from wefted.model.route import Route

from .address import FAMILY, SCOPE_LINK, SCOPE_UNIVERSE
from .marks import PROTOCOL
from .netlink import CREATE, EXCL, REPLACE, Message, NetlinkSocket, Refused, as_int, attribute, attributes, u32
from .reading import Reading
from .transaction import Transaction

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
MAIN_TABLE = 254

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 1, 4, 5, 6, 7, 9, 15, 18
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_RTNH_F_ONLINK = 0x4
_RTM_F_CLONED = 0x200
_CACHE, _NEXT_HOP_OBJECT = 12, 30
_LOCAL_TABLE = 255
_KERNEL_MADE = (1, 2, 9)
"""RTPROT_REDIRECT, _KERNEL, _RA: they come back by themselves."""
_SCOPE_ANY = 255
_TABLE_COMPAT = 252
_IPV6_METRIC = 1024
"""What the kernel makes of metric 0 in IPv6 (IP6_RT_PRIO_USER)."""

_HEADER = Struct("=BBBBBBBBI")
_VERSION = {family: version for version, family in FAMILY.items()}


class RouteHandler:
    """Adds, replaces and removes routes."""

    def create(self, wanted: Route, tx: Transaction) -> None:
        """Add a route. Raises `Refused` when its link is missing."""
        tx.queue(wanted.ns, Message(RTM_NEWROUTE, _new(wanted), _body(wanted, tx)))

    def update(self, old: KernelObject, new: Route, tx: Transaction) -> None:
        """Replace a route without a moment in which there is none; a blackhole cannot become another kind in place."""
        if isinstance(old, Route) and old.blackhole == new.blackhole and not new.first:
            tx.queue(new.ns, Message(RTM_NEWROUTE, CREATE | REPLACE, _body(new, tx)))
            return
        body = _body(new, tx)
        if isinstance(old, Route):
            self.delete(old, tx)
        tx.queue(new.ns, Message(RTM_NEWROUTE, _new(new), body))

    def delete(self, old: Route, tx: Transaction) -> None:
        """Remove a route of ours: the kernel compares the protocol too, so another one's stays."""
        metric = _metric(old)
        body = _header(old, _SCOPE_ANY if old.destination.version == 4 else 0) + _where(old)
        if metric:
            body += u32(RTA_PRIORITY, metric)
        tx.queue(old.ns, Message(RTM_DELROUTE, 0, body), forgive=frozenset({errno.ESRCH}))


def read_routes(reading: Reading) -> Iterator[Route]:
    """Yield the routes with our mark, of both families and all tables."""
    for version in (4, 6):
        for body in _dump(reading.socket, version, PROTOCOL):
            route = _route(body, reading)
            if route is not None:
                yield route


def default_links(sock: NetlinkSocket) -> Iterator[tuple[int, int]]:
    """Yield (metric, link index) of each default route of the main table, IPv4's first and the preferred first."""
    for version in (4, 6):
        yield from sorted(_defaults(sock, version))


def routes_by(bodies: Iterable[bytes], index: int) -> list[bytes]:
    """Return those of a dump that somebody has made by this link alone, the ones without a next hop first: others need them."""
    found = [body for body in bodies if _is_made_by(body, index)]
    return sorted(found, key=lambda body: not {RTA_GATEWAY, RTA_VIA}.isdisjoint(attributes(body, _HEADER.size)))


def _is_made_by(body: bytes, index: int) -> bool:
    _, _, _, _, table, protocol, _, kind, flags = _HEADER.unpack_from(body)
    found = attributes(body, _HEADER.size)
    return (
        kind == _RTN_UNICAST
        and not flags & _RTM_F_CLONED
        and protocol not in (*_KERNEL_MADE, PROTOCOL)
        and as_int(found.get(RTA_TABLE), table) != _LOCAL_TABLE
        and as_int(found.get(RTA_OIF)) == index
        and _NEXT_HOP_OBJECT not in found
    )


def route_again(body: bytes, index: int, flags: int) -> Message:
    """Return the message that makes a route of a dump again, by the link `index`."""
    found = attributes(body, _HEADER.size)
    found.pop(_CACHE, None)
    found[RTA_OIF] = index.to_bytes(4, sys.byteorder)
    *head, was = _HEADER.unpack_from(body)
    rest = b"".join(attribute(kind, data) for kind, data in found.items())
    return Message(RTM_NEWROUTE, flags, _HEADER.pack(*head, was & _RTNH_F_ONLINK) + rest)


def all_routes(sock: NetlinkSocket) -> list[bytes]:
    """Return a dump of every route of a namespace, of both families."""
    return [body for version in (4, 6) for body in _dump(sock, version, 0)]


def _defaults(sock: NetlinkSocket, version: int) -> Iterator[tuple[int, int]]:
    for body in _dump(sock, version, 0):
        _, length, _, _, table, _, _, kind, _ = _HEADER.unpack_from(body)
        found = attributes(body, _HEADER.size)
        if length == 0 and kind == _RTN_UNICAST and as_int(found.get(RTA_TABLE), table) == MAIN_TABLE:
            # The first next hop of a multipath route begins with struct rtnexthop, its index at byte 4.
            index = as_int(found.get(RTA_OIF)) or as_int(found.get(RTA_MULTIPATH, b"")[4:8])
            if index:
                yield as_int(found.get(RTA_PRIORITY)), index


def _dump(sock: NetlinkSocket, version: int, protocol: int) -> list[bytes]:
    """Dump one family; kernels that check strictly leave out other protocols themselves."""
    try:
        found = sock.dump(RTM_GETROUTE, _HEADER.pack(FAMILY[version], 0, 0, 0, 0, protocol, 0, 0, 0))
    except Refused as refused:
        # ENOENT: no table was ever made; EOPNOTSUPP and EAFNOSUPPORT: a kernel without this family.
        if refused.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            return []
        raise
    return [body for body in found if protocol in (0, body[5]) and body[0] == FAMILY[version]]


def _route(body: bytes, reading: Reading) -> Route | None:
    family, length, _, _, table, _, _, kind, flags = _HEADER.unpack_from(body)
    if flags & _RTM_F_CLONED or kind not in (_RTN_UNICAST, _RTN_BLACKHOLE):
        return None
    found = attributes(body, _HEADER.size)
    blackhole = kind == _RTN_BLACKHOLE
    metric = as_int(found.get(RTA_PRIORITY))
    source = found.get(RTA_PREFSRC)
    return Route(
        ns=reading.ns,
        destination=_network(_VERSION[family], found.get(RTA_DST), length),
        # IPv6 reports loopback as the link of a blackhole.
        link="" if blackhole else reading.name(as_int(found.get(RTA_OIF))),
        via=_via(found),
        onlink=bool(flags & _RTNH_F_ONLINK),
        source=ip_address(source) if source else None,
        metric=0 if family == FAMILY[6] and metric == _IPV6_METRIC else metric,
        table=as_int(found.get(RTA_TABLE), table),
        blackhole=blackhole,
    )


def _network(version: int, packed: bytes | None, length: int) -> IPNetwork:
    if version == 4:
        return IPv4Network((packed or bytes(4), length))
    return IPv6Network((packed or bytes(16), length))


def _via(found: dict[int, bytes]) -> IPAddress | None:
    packed = found.get(RTA_GATEWAY) or found.get(RTA_VIA, b"")[2:]
    return ip_address(packed) if packed else None


def _body(route: Route, tx: Transaction) -> bytes:
    scope = SCOPE_LINK if route.via is None and not route.blackhole and route.destination.version == 4 else SCOPE_UNIVERSE
    parts = [_header(route, scope), _where(route)]
    if route.link:
        parts.append(u32(RTA_OIF, tx.index(route.ns, route.link)))
    if route.via is not None:
        parts.append(_gateway(route, route.via))
    if route.source is not None:
        parts.append(attribute(RTA_PREFSRC, route.source.packed))
    if route.metric:
        parts.append(u32(RTA_PRIORITY, route.metric))
    return b"".join(parts)


def _new(route: Route) -> int:
    """Return the flags of a new route. Without EXCL it stands before others of its metric, as `ip route prepend` has it."""
    return CREATE if route.first else CREATE | EXCL


def _header(route: Route, scope: int) -> bytes:
    table = route.table if route.table < 256 else _TABLE_COMPAT
    kind = _RTN_BLACKHOLE if route.blackhole else _RTN_UNICAST
    flags = _RTNH_F_ONLINK if route.onlink else 0
    family = FAMILY[route.destination.version]
    return _HEADER.pack(family, route.destination.prefixlen, 0, 0, table, PROTOCOL, scope, kind, flags)


def _where(route: Route) -> bytes:
    table = u32(RTA_TABLE, route.table)
    return attribute(RTA_DST, route.destination.network_address.packed) + table if route.destination.prefixlen else table


def _gateway(route: Route, via: IPAddress) -> bytes:
    """Return the next hop; one of the other family goes into struct rtvia (RFC 5549)."""
    if via.version == route.destination.version:
        return attribute(RTA_GATEWAY, via.packed)
    return attribute(RTA_VIA, FAMILY[via.version].to_bytes(2, "little") + via.packed)


def _metric(route: Route) -> int:
    return route.metric or (_IPV6_METRIC if route.destination.version == 6 else 0)
