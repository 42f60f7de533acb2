"""Which notifications of the kernel may concern us. Pure: bytes in, yes or no out.

A busy host sends thousands: learned neighbours, carriers, statistics, routes of a BGP daemon, tables of another firewall.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from wefted.model.objects import HOST, Netns

from .address import IFA_PROTO, RTM_DELADDR, RTM_NEWADDR, SCOPE_HOST
from .classifier import RTM_DELQDISC, RTM_DELTFILTER, discipline, taken_away
from .expectation import Expectations
from .fdb import AF_BRIDGE
from .foreignfilter import HEADER_SIZE, SUBSYSTEM
from .foreigngate import FIREWALL, LOADING
from .ifinfo import BRPORT_ISOLATED, BRPORT_MODE, RTM_DELLINK, RTM_NEWLINK, RawLink, decode, family, port_info
from .marks import FILTERS, PROTOCOL, SHAPER_HANDLE, is_our_group, is_our_table
from .neighbor import HEADER, NDA_DST, NDA_PROTOCOL, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH
from .netlink import PORTS, REPLACE, as_int, as_text, attributes
from .nft import NFT_MSG_NEWGEN, NFTA_GEN_ID, NFTA_TABLE_NAME
from .route import RTA_OIF, RTM_DELROUTE, RTM_NEWROUTE
from .rule import RTM_DELRULE, RTM_NEWRULE

_ROUTE = Struct("=BBBBBBBBI")
_ADDRESS = Struct("=BBBBI")
_Place = tuple[Netns, int]
"""A link by namespace and index."""
_FOLLOWED = (FIREWALL[1], LOADING[1])
_KERNEL_MADE = (1, 3)
"""IFA_PROTO of the addresses that the kernel gives to loopback and, link-local, to every link that comes up."""


class Filter:
    """Tells what matters, and remembers of each link what was seen last, because most link messages change nothing of it."""

    def __init__(self, expected: Expectations) -> None:
        self._expected = expected
        self._links: dict[_Place, RawLink] = {}
        self._ports: dict[_Place, int] = {}

    def seed(self, links: Iterable[RawLink]) -> None:
        """Remember the host's links as they are."""
        self._links.update({(HOST, link.index): link for link in links})

    def concerns(self, ns: Netns, kind: int, flags: int, port: int, body: bytes) -> bool:
        """Tell whether an rtnetlink notification may concern us; what we made ourselves does not."""
        if kind == RTM_NEWLINK:
            return self._new_link(ns, body) and port not in PORTS
        if kind == RTM_DELLINK:
            return self._gone_link(ns, body)
        if port in PORTS:
            return False
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            index, news = _address(kind, body)
        elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
            index, news = _route(kind, flags, body)
        elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            index, news = _neighbor(body)
        elif kind in (RTM_DELQDISC, RTM_DELTFILTER):
            index, news = _traffic(kind, body)
        else:
            return kind in (RTM_NEWRULE, RTM_DELRULE)
        return news and not self._expected.is_going(ns, self._name(ns, index))

    def forget(self, ns: Netns) -> None:
        """Drop a namespace that is gone."""
        self._expected.forget(ns)
        for known in (self._links, self._ports):
            for place in [place for place in known if place[0] == ns]:
                del known[place]

    def _name(self, ns: Netns, index: int) -> str:
        link = self._links.get((ns, index))
        return link.name if link is not None else ""

    def _new_link(self, ns: Netns, body: bytes) -> bool:
        if family(body) == AF_BRIDGE:
            return self._bridge_port(ns, body)
        link = decode(body)
        before = self._links.get((ns, link.index))
        self._links[ns, link.index] = link
        if before is not None and _looks(before) == _looks(link):
            return False
        return not self._expected.is_met(ns, link, before is None, lambda index: self._name(ns, index))

    def _bridge_port(self, ns: Netns, body: bytes) -> bool:
        """Every new port says what it is; only a change of what it said before is news."""
        index, protinfo = port_info(body)
        port = attributes(protinfo)
        mode = as_int(port.get(BRPORT_MODE)) | as_int(port.get(BRPORT_ISOLATED)) << 1
        before = self._ports.get((ns, index))
        self._ports[ns, index] = mode
        return before not in (None, mode)

    def _gone_link(self, ns: Netns, body: bytes) -> bool:
        link = decode(body)
        self._ports.pop((ns, link.index), None)
        if family(body) == AF_BRIDGE:
            return False  # a port that left its bridge is seen in the link's own message
        self._links.pop((ns, link.index), None)
        return not self._expected.gone(ns, link.name)


class TableFilter:
    """Tells which nftables transactions concern us: the changes of one come first, its number last.

    What firewalld changes in its table concerns us too, for our table follows it.
    """

    def __init__(self) -> None:
        self._ours = False

    def finished(self, kind: int, body: bytes) -> int | None:
        """Return the number of a transaction that is complete and changed a table of ours, or one that ours follows."""
        found = attributes(body, HEADER_SIZE)
        if kind != SUBSYSTEM | NFT_MSG_NEWGEN:
            # The table's name is attribute 1 of every kind of notification.
            name = as_text(found.get(NFTA_TABLE_NAME))
            self._ours = self._ours or is_our_table(name) or name in _FOLLOWED
            return None
        ours, self._ours = self._ours, False
        return int.from_bytes(found.get(NFTA_GEN_ID, b""), "big") if ours else None


def _looks(link: RawLink) -> tuple[object, ...]:
    """Return what wefted compares: not statistics, and the carrier only of a TUN device of ours, whose process may end."""
    held = link.carrier and link.kind == "tun" and is_our_group(link.group)
    return link.name, link.up, link.mtu, link.mac, link.group, link.master, link.alias, link.xdp, held


def _address(kind: int, body: bytes) -> tuple[int, bool]:
    """Return the link's index, and whether it matters: not what the kernel makes itself, nor the coming of one of ours."""
    _, _, _, scope, index = _ADDRESS.unpack_from(body)
    protocol = as_int(attributes(body, _ADDRESS.size).get(IFA_PROTO))
    return index, protocol not in _KERNEL_MADE and scope != SCOPE_HOST and not (kind == RTM_NEWADDR and protocol == PROTOCOL)


def _route(kind: int, flags: int, body: bytes) -> tuple[int, bool]:
    """One of ours that goes, one that takes the place of another (not reported as deleted), or a default route."""
    _, length, _, _, _, protocol, _, _, _ = _ROUTE.unpack_from(body)
    index = as_int(attributes(body, _ROUTE.size).get(RTA_OIF))
    if protocol == PROTOCOL:
        return index, kind == RTM_DELROUTE
    return index, bool(flags & REPLACE) or length == 0


def _traffic(kind: int, body: bytes) -> tuple[int, bool]:
    """A filter or a shaper of ours that goes, or what they hang on: a link's hooks, or all filters of one."""
    if kind == RTM_DELTFILTER:
        index, name = taken_away(body)
        return index, name is None or name.startswith(FILTERS)
    index, handle, hooks = discipline(body)
    return index, hooks or handle == SHAPER_HANDLE


def _neighbor(body: bytes) -> tuple[int, bool]:
    """A permanent one, or one of ours. Forwarding entries name no sender, so those that we make are heard as well."""
    at, index, state, _, _ = HEADER.unpack_from(body)
    found = attributes(body, HEADER.size)
    permanent = bool(state & NUD_PERMANENT)
    if at == AF_BRIDGE:
        return index, permanent and NDA_DST in found
    return index, permanent or as_int(found.get(NDA_PROTOCOL)) == PROTOCOL
