"""One `read` of one namespace: its socket, its links by index, and the names that the other subjects need."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from struct import Struct

from wefted.model.link import Link, LinkState, MovedLink
from wefted.model.objects import HOST, KernelObject, Netns

from .ifinfo import HARDWARE, RTM_GETLINK, RawLink, decode, dump_request
from .linkkind import READERS
from .loan import Loan
from .marks import SUMS_LINKS, is_our_group
from .netlink import NetlinkSocket, as_text

_SIOCGIFNAME = 0x8910
_IFREQ = Struct("16si20x")


class Reading:
    """The links of a namespace, and what turns indexes into names. Implements `Names`."""

    def __init__(self, ns: Netns, sock: NetlinkSocket, host: NetlinkSocket, netns_of: Callable[[int], Netns | None]) -> None:
        self.ns = ns
        self.socket = sock
        self._host = host
        self._netns_of = netns_of
        self.links: dict[int, RawLink] = {link.index: link for link in map(decode, sock.dump(RTM_GETLINK, dump_request()))}

    def name(self, index: int) -> str:
        """Return the name of a link of this namespace, "" if there is none."""
        link = self.links.get(index)
        return link.name if link is not None else ""

    def is_ours(self, index: int) -> bool:
        """Tell whether the link carries our mark."""
        link = self.links.get(index)
        return link is not None and is_our_group(link.group, self.ns)

    def parent(self, link: RawLink) -> str:
        """Return the name of the link under this one: of this namespace, or of the host's."""
        if link.link_netns is None or self.ns == HOST:
            return self.name(link.parent)
        try:
            answer = fcntl.ioctl(self._host, _SIOCGIFNAME, _IFREQ.pack(b"", link.parent))
        except OSError:
            return ""
        return as_text(_IFREQ.unpack(answer)[0])

    def far_end(self, link: RawLink) -> tuple[Netns, str]:
        """Return where the far end of a veth is; a namespace that nobody has named yet is called `nsid:N`."""
        if link.link_netns is None:
            return self.ns, self.name(link.parent)
        known = self._netns_of(link.link_netns) if self.ns == HOST else None
        return known or Netns(f"nsid:{link.link_netns}"), ""


def read_links(reading: Reading) -> Iterator[KernelObject]:
    """Yield our links, and the state of all others."""
    for raw in reading.links.values():
        ours = is_our_group(raw.group, reading.ns)
        if ours and raw.name in SUMS_LINKS:
            continue  # it is a part of the tunnels
        if ours:
            yield _link(raw, reading)
        else:
            yield LinkState(
                ns=reading.ns,
                name=raw.name,
                up=raw.up,
                mtu=raw.mtu,
                mac=raw.mac,
                kind=raw.kind or HARDWARE.get(raw.hardware, ""),
                master=reading.name(raw.master),
            )


def _link(raw: RawLink, reading: Reading) -> Link:
    loan = Loan.parse(raw.alias)
    if loan is not None:
        return MovedLink(ns=reading.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias, origin=loan.origin)
    read = READERS.get(raw.kind)
    if read is None:
        # A kind that only another version of wefted makes: good enough to be deleted.
        return Link(ns=reading.ns, name=raw.name, mtu=raw.mtu, up=raw.up, alias=raw.alias)
    return read(raw, reading)
