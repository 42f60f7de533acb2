"""Links of the host that are lent to a sandbox, and go home as they were: after a detach, and after the sandbox has died.

A link is marked from before it leaves until everything that it had is back. So what `kill -9` leaves is told from the kernel:
a marked link in a sandbox is lent; a marked link in the host's namespace is on its way home, under whatever name. The kernel
puts it there when the sandbox dies: a hardware link is given to the initial namespace under the name that it had inside, or as
`devN` where that is taken (`default_device_exit_net` in net/core/dev.c); a virtual one dies.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from pathlib import Path

from wefted.model.link import LINK_GROUP, MovedLink
from wefted.model.objects import HOST, KernelObject, Netns

from .address import RTM_GETADDR, whole_dump
from .belongings import Belongings, Memories
from .fault import Fault
from .ifinfo import (
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    RTM_GETLINK,
    RTM_NEWLINK,
    RawLink,
    decode,
    delete_named,
    dump_request,
    header,
    up_header,
)
from .loan import Loan
from .marks import is_our_group
from .netlink import Message, Refused, attribute, mac_bytes, text, u32
from .netns import Namespaces
from .route import all_routes
from .transaction import GONE, Transaction
from .wireless import move_radio, radio_of

log = logging.getLogger("wefted.kernel")


class MovedLinkHandler:
    """Lends links and brings them home."""

    def __init__(self, runtime_dir: Path, spaces: Namespaces, fault: Fault) -> None:
        self._memories = Memories(runtime_dir)
        self._spaces = spaces
        self._fault = fault

    def create(self, wanted: MovedLink, tx: Transaction) -> None:
        """Remember what the link has, then move, rename, mark and raise it. Raises `Refused`."""
        if tx.exists(wanted.ns, wanted.name):
            tx.spoil([(wanted.ns, wanted.name)])
            raise Refused(errno.EEXIST, f"there is a link {wanted.name} already")
        tx.fd(wanted.ns)
        self._bring_home(wanted.origin, tx)
        link = self._look(HOST, wanted.origin, tx)
        self._remember(link, tx)
        try:
            self._lend(link, wanted, tx)
        except Refused:
            self._bring_home(wanted.origin, tx)
            raise

    def update(self, old: KernelObject, new: MovedLink, tx: Transaction) -> None:
        """Set the MTU and up; another origin means another link. Raises `Refused`."""
        if isinstance(old, MovedLink) and old.origin == new.origin:
            mtu = u32(IFLA_MTU, new.mtu) if new.mtu else b""
            tx.queue(new.ns, Message(RTM_NEWLINK, 0, up_header() + text(IFLA_IFNAME, new.name) + mtu))
            return
        if isinstance(old, MovedLink):
            self.delete(old, tx)
        else:
            tx.queue(new.ns, delete_named(new.name), removes=[(new.ns, new.name)], forgive=GONE)
        self.create(new, tx)

    def delete(self, old: MovedLink, tx: Transaction) -> None:
        """Bring the link home and give it back what it had. Raises `Refused`; then the link stays marked, where it is."""
        try:
            link = self._look(old.ns, old.name, tx)
        except Refused as refused:
            if refused.errno in GONE:
                self._bring_home(old.origin, tx)
            raise
        self._go_home(old.ns, link, old.origin, tx)

    def _lend(self, link: RawLink, wanted: MovedLink, tx: Transaction) -> None:
        """Mark the link, move it, then raise it: each by itself, since one message that fails half-way is half done."""
        mark = u32(IFLA_GROUP, LINK_GROUP) + _alias(str(Loan(link.name, link.up, link.mtu)))
        self._ask(HOST, up_header(link.index, up=False) + mark, tx)
        radio = radio_of(self._spaces, self._spaces.home_fd, link.index)
        if radio is None:
            name = text(IFLA_IFNAME, wanted.name)
            self._ask(HOST, header(link.index) + name + u32(IFLA_NET_NS_FD, tx.fd(wanted.ns)), tx)
        else:
            move_radio(self._spaces, self._spaces.home_fd, radio, tx.fd(wanted.ns))
            self._fault.changed()
        tx.removed(HOST, link.name)
        index = tx.index(wanted.ns, link.name if radio is not None else wanted.name)
        mtu = u32(IFLA_MTU, wanted.mtu) if wanted.mtu else b""
        self._ask(wanted.ns, header(index) + text(IFLA_IFNAME, wanted.name) + mtu, tx)
        self._ask(wanted.ns, up_header(index), tx)

    def _ask(self, ns: Netns, body: bytes, tx: Transaction) -> None:
        tx.ask(ns, Message(RTM_NEWLINK, 0, body))
        self._fault.changed()

    def _bring_home(self, origin: str, tx: Transaction) -> None:
        """Finish the way home of a link that is back in the host's namespace, whatever it is called there."""
        for body in tx.dump(HOST, RTM_GETLINK, dump_request()):
            link = decode(body)
            loan = Loan.parse(link.alias) if is_our_group(link.group) else None
            if loan is not None and loan.origin == origin:
                self._go_home(HOST, link, origin, tx)
                return

    def _go_home(self, ns: Netns, link: RawLink, origin: str, tx: Transaction) -> None:
        if (ns, link.name) != (HOST, origin):
            if tx.exists(HOST, origin):
                raise Refused(errno.EEXIST, f"the host has another link {origin} now, so the lent one cannot have its name")
            self._return(ns, link, origin, tx)
        index = tx.index(HOST, origin)
        had = self._memories.read(origin)
        if had is None:
            loan = Loan.parse(link.alias) or Loan(origin)
            had = Belongings(up=loan.up, mtu=loan.mtu)
        self._give_back(had, replace(link, name=origin, index=index), tx)
        self._ask(HOST, header(index) + u32(IFLA_GROUP, had.group) + _alias(had.alias), tx)
        self._memories.forget(origin)

    def _return(self, ns: Netns, link: RawLink, origin: str, tx: Transaction) -> None:
        """Take the link down, then home under its name; still marked."""
        self._ask(ns, up_header(link.index, up=False), tx)
        radio = radio_of(self._spaces, tx.fd(ns), link.index) if ns != HOST else None
        home = u32(IFLA_NET_NS_FD, tx.fd(HOST)) if ns != HOST and radio is None else b""
        self._ask(ns, header(link.index) + text(IFLA_IFNAME, origin) + home, tx)
        if radio is not None:
            move_radio(self._spaces, tx.fd(ns), radio, self._spaces.home_fd)
            self._fault.changed()
        tx.removed(ns, link.name)

    def _give_back(self, had: Belongings, link: RawLink, tx: Transaction) -> None:
        """Restore MAC, MTU, settings, state, addresses, routes. What the kernel refuses by now is logged and left."""
        mac = attribute(IFLA_ADDRESS, mac_bytes(had.mac)) if had.mac not in ("", link.mac) else b""
        mtu = u32(IFLA_MTU, had.mtu) if had.mtu not in (0, link.mtu) else b""
        self._ask(HOST, header(link.index) + mac + mtu, tx)
        with self._spaces.inside(self._spaces.home_fd):
            had.restore_settings(link.name)  # those of IPv6 are there only with an MTU of 1280 or more
        self._ask(HOST, up_header(link.index, had.up), tx)
        for message in had.messages(link.index):
            try:
                tx.ask(HOST, message)
            except Refused as refused:
                if refused.errno != errno.EEXIST:
                    log.warning("not given back", extra={"link": link.name, "error": refused.explain("an address or a route")})
            self._fault.changed()

    def _remember(self, link: RawLink, tx: Transaction) -> None:
        addresses = tx.dump(HOST, RTM_GETADDR, whole_dump())
        routes = all_routes(tx.socket(HOST))
        with self._spaces.inside(self._spaces.home_fd):
            had = Belongings.of(link, addresses, routes)
        self._memories.write(link.name, had)
        self._fault.changed()

    @staticmethod
    def _look(ns: Netns, name: str, tx: Transaction) -> RawLink:
        index = tx.index(ns, name)
        return decode(tx.ask(ns, Message(RTM_GETLINK, 0, header(index)))[0])


def _alias(value: str) -> bytes:
    return text(IFLA_IFALIAS, value) if value else attribute(IFLA_IFALIAS, b"")
