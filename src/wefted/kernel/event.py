"""Which notifications of the kernel may concern us. Pure: bytes in, yes or no out.

A busy host sends thousands: learned neighbours, carriers, statistics, routes of a BGP daemon, tables of another firewall.
"""

from __future__ import annotations

from struct import Struct

from .address import ADDRESS_HEADER_SIZE, IFA_PROTO, RTM_DELADDR, RTM_NEWADDR
from .fdb import AF_BRIDGE
from .ifinfo import BRPORT_MODE, IFLA_PROTINFO, RTM_DELLINK, RTM_NEWLINK, decode, family, header
from .marks import PROTOCOL, is_our_table
from .neighbor import HEADER, NDA_DST, NDA_PROTOCOL, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH
from .netlink import PORTS, REPLACE, as_int, as_text, attributes
from .nft import HEADER_SIZE, NFT_MSG_NEWGEN, NFTA_GEN_ID, NFTA_TABLE_NAME, SUBSYSTEM
from .route import RTM_DELROUTE, RTM_NEWROUTE
from .rule import RTM_DELRULE, RTM_NEWRULE

_ROUTE = Struct("=BBBBBBBBI")
_NEW = frozenset({RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWNEIGH, RTM_NEWRULE})
_KERNEL_MADE = (1, 3)
"""IFA_PROTO of the addresses that the kernel gives to loopback and, link-local, to every link that comes up."""


class Filter:
    """Tells what matters, and remembers of each link what was seen last, because most link messages change nothing of it."""

    def __init__(self) -> None:
        self._links: dict[tuple[int | None, int, int], object] = {}

    def concerns(self, nsid: int | None, kind: int, flags: int, port: int, body: bytes) -> bool:
        """Tell whether an rtnetlink notification may concern us; what we made ourselves does not."""
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            return self._link_concerns(nsid, kind, body) and not (kind == RTM_NEWLINK and port in PORTS)
        if kind in _NEW and port in PORTS:
            return False
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return _route_concerns(flags, body)
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            return _neighbor_concerns(body)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return as_int(attributes(body, ADDRESS_HEADER_SIZE).get(IFA_PROTO)) not in _KERNEL_MADE
        return kind in (RTM_NEWRULE, RTM_DELRULE)

    def forget(self, nsid: int) -> None:
        """Drop a namespace that is gone: its number will be given to another one."""
        for key in [key for key in self._links if key[0] == nsid]:
            del self._links[key]

    def _link_concerns(self, nsid: int | None, kind: int, body: bytes) -> bool:
        link = decode(body)
        key = (nsid, family(body), link.index)
        if kind == RTM_DELLINK:
            self._links.pop(key, None)
            return family(body) != AF_BRIDGE  # a port that left its bridge is seen in the link's own message
        seen: object
        if family(body) == AF_BRIDGE:
            port = attributes(attributes(body, len(header())).get(IFLA_PROTINFO, b""))
            seen = as_int(port.get(BRPORT_MODE))
            # Every new port says so; only a change of what it said before is news.
            return self._replace(key, seen) not in (None, seen)
        seen = (link.name, link.up, link.mtu, link.mac, link.group, link.master, link.alias)
        return self._replace(key, seen) != seen

    def _replace(self, key: tuple[int | None, int, int], seen: object) -> object:
        before = self._links.get(key)
        self._links[key] = seen
        return before


class TableFilter:
    """Tells which nftables transactions concern us: the changes of one come first, its number last."""

    def __init__(self) -> None:
        self._ours = False

    def finished(self, kind: int, body: bytes) -> int | None:
        """Return the number of a transaction that is complete and changed a table of ours."""
        found = attributes(body, HEADER_SIZE)
        if kind != SUBSYSTEM | NFT_MSG_NEWGEN:
            # The table's name is attribute 1 of every kind of notification.
            self._ours = self._ours or is_our_table(as_text(found.get(NFTA_TABLE_NAME)))
            return None
        ours, self._ours = self._ours, False
        return int.from_bytes(found.get(NFTA_GEN_ID, b""), "big") if ours else None


def _route_concerns(flags: int, body: bytes) -> bool:
    """Ours, one that took the place of another (which the kernel does not report as deleted), or a default route."""
    _, length, _, _, _, protocol, _, _, _ = _ROUTE.unpack_from(body)
    return protocol == PROTOCOL or bool(flags & REPLACE) or length == 0


def _neighbor_concerns(body: bytes) -> bool:
    at, _, state, _, _ = HEADER.unpack_from(body)
    found = attributes(body, HEADER.size)
    if at == AF_BRIDGE:
        return NDA_DST in found and bool(state & NUD_PERMANENT)
    return bool(state & NUD_PERMANENT) or as_int(found.get(NDA_PROTOCOL)) == PROTOCOL
