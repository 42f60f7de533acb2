"""Wake up when something changes: in the host's namespace and in every sandbox that we have touched, with one socket.

NETLINK_LISTEN_ALL_NSID (kernel: net/netlink/af_netlink.c) lets a socket hear the other namespaces that have a number (nsid) in
its own; so each sandbox gets one, and the number comes with each notification. It is asked for only while somebody watches.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from struct import Struct

from wefted.model.objects import HOST, Change, Netns, Outcome

from . import notifyfilter
from .event import Filter, TableFilter
from .expectation import Expectations
from .ifinfo import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, decode, dump_request, family, link_index
from .netlink import Message, NetlinkSocket, messages
from .netns import Namespaces, identity
from .nft import NETLINK_NETFILTER, Firewall
from .nsid import RTM_DELNSID, Numbers, assign, number_in

_SOL_NETLINK, _ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 270, 1, 8
_ROUTE_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 28)
"""RTNLGRP_LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE, NSID."""
_NFTABLES_GROUP = 7
_SO_RCVBUFFORCE = 33
_BUFFER = 8 << 20
_READ = 65536
_NAP = 0.02
"""Seconds between a first notification and the reading: a burst is read in one go, not message by message."""

_INT = Struct("=i")
_Notification = tuple[int | None, int, int, int, bytes]
"""The number of its namespace, then type, flags, port and body of the message."""


class Watch:
    """The notifications of the kernel, as names of namespaces."""

    def __init__(self, spaces: Namespaces, firewall: Firewall) -> None:
        self._spaces = spaces
        self._firewall = firewall
        self._expected = Expectations()
        self._lock = threading.Lock()
        self._asker: NetlinkSocket | None = None
        self._numbers: Numbers | None = None
        self._identities: dict[Netns, str] = {}
        self._netns: dict[int, Netns] = {}
        self._wakers: list[int] = []
        self._stopped = False

    def start(self) -> Iterator[Netns]:
        """Listen from this moment on; the iterator blocks, and ends after `stop`."""
        with self._lock:
            if self._stopped:
                return iter(())
            listener = _Listener(self._spaces, self._firewall, self, self._expected)
            if self._asker is None:
                self._asker = self._spaces.socket(self._spaces.home_fd)
                self._numbers = Numbers(self._asker)
            listener.seed(self._asker)
            self._wakers.append(listener.waker)
        return listener.namespaces()

    def stop(self) -> None:
        """Let every iterator end. Any thread may call it."""
        with self._lock:
            self._stopped = True
            for waker in self._wakers:
                os.eventfd_write(waker, 1)
            self._wakers.clear()
            if self._asker is not None:
                self._asker.close()
                self._asker = None

    def finished(self, listener: _Listener) -> None:
        """Forget a listener that is about to close."""
        with self._lock:
            if listener.waker in self._wakers:
                self._wakers.remove(listener.waker)

    def register(self, ns: Netns, fd: int, nsid: int | None = None) -> None:
        """Hear what happens in a sandbox from now on, if somebody watches; `nsid`, where it is known, saves a send."""
        if ns == HOST or self._asker is None:
            return
        this = identity(fd)
        with self._lock:
            if self._asker is None or self._identities.get(ns) == this:
                return
            if nsid is None:
                nsid = assign(self._asker, fd)
            if nsid is not None:
                self._identities[ns] = this
                self._netns[nsid] = ns

    def number(self, fd: int) -> Message | None:
        """Return the message that gives a new sandbox its number, before anything is made there; None while nobody watches."""
        return self._numbers.give(fd) if self._numbers is not None else None

    def begin(self, changes: Sequence[Change]) -> None:
        """Note what we are about to change, so that it will be no news."""
        if self._asker is not None:
            self._expected.begin(changes)

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Note what became of it."""
        if self._asker is not None:
            self._expected.end(outcomes)

    def netns_of(self, nsid: int) -> Netns | None:
        """Return the sandbox with this number, if it is one that we have touched."""
        return self._netns.get(nsid)

    def dropped(self, nsid: int) -> Netns | None:
        """Forget a number that the kernel has taken back; return what it stood for."""
        with self._lock:
            ns = self._netns.pop(nsid, None)
            if ns is not None:
                self._identities.pop(ns, None)
            return ns

    def known(self) -> set[Netns]:
        """Return the host and every sandbox that is heard."""
        with self._lock:
            return {HOST, *self._netns.values()}


class _Listener:
    """The sockets of one iterator."""

    def __init__(self, spaces: Namespaces, firewall: Firewall, watch: Watch, expected: Expectations) -> None:
        self._watch = watch
        self._firewall = firewall
        self._filter = Filter(expected)
        self._tables = TableFilter()
        with spaces.inside(spaces.home_fd):
            self._route = _subscribed(socket.NETLINK_ROUTE, _ROUTE_GROUPS)
            self._nft = _netfilter()
        self._route.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        notifyfilter.attach(self._route)
        self.waker = os.eventfd(0, os.EFD_CLOEXEC)

    def seed(self, sock: NetlinkSocket) -> None:
        """Learn the host's links, so that only their changes are news."""
        self._filter.seed(map(decode, sock.dump(RTM_GETLINK, dump_request())))

    def namespaces(self) -> Iterator[Netns]:
        """Yield each namespace once for each time that something woke us; sandboxes before the host."""
        try:
            while True:
                self._poll(self.waker, *self._sockets)
                if self._poll(self.waker, timeout=_NAP):
                    return
                ready = self._poll(*self._sockets, timeout=0)
                changed: set[Netns] = set()
                for sock, drain in ((self._route, self._drain_route), (self._nft, self._drain_nft)):
                    if sock is not None and sock.fileno() in ready:
                        changed |= drain(sock)
                yield from sorted(changed, reverse=True)
        finally:
            self._watch.finished(self)
            self.close()

    def close(self) -> None:
        self._route.close()
        if self._nft is not None:
            self._nft.close()
        os.close(self.waker)

    @property
    def _sockets(self) -> tuple[int, ...]:
        return tuple(sock.fileno() for sock in (self._route, self._nft) if sock is not None)

    @staticmethod
    def _poll(*descriptors: int, timeout: float | None = None) -> set[int]:
        """Return those that have something to read, at the latest after `timeout` seconds."""
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)}

    def _drain_route(self, sock: socket.socket) -> set[Netns]:
        """Read everything that is there; when the kernel had to drop some, everything may have changed."""
        changed: set[Netns] = set()
        news: list[_Notification] = []
        while True:
            try:
                data, ancillary, _, _ = sock.recvmsg(_READ, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changed |= self._watch.known()
                continue
            nsid = _nsid(ancillary)
            news += [(nsid, kind, flags, port, body) for kind, flags, _, port, body in messages(data)]
        for nsid, kind, flags, port, body in _latest(news):
            if kind == RTM_DELNSID:
                changed |= self._gone(body)
                continue
            ns = HOST if nsid is None else self._watch.netns_of(nsid)
            if ns is not None and self._filter.concerns(ns, kind, flags, port, body):
                changed.add(ns)
        return changed

    def _gone(self, body: bytes) -> set[Netns]:
        nsid = number_in(body)
        ns = None if nsid is None else self._watch.dropped(nsid)
        if ns is None:
            return set()
        self._filter.forget(ns)
        return {ns}

    def _drain_nft(self, sock: socket.socket) -> set[Netns]:
        """Read everything that is there."""
        concerned = False
        while True:
            try:
                data = sock.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return {HOST} if concerned else set()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                concerned = True
                continue
            for kind, _, _, _, body in messages(data):
                generation = self._tables.finished(kind, body)
                concerned = concerned or (generation is not None and not self._firewall.is_own(generation))


def _latest(news: Sequence[_Notification]) -> list[_Notification]:
    """Return the notifications without what the batch says of a link between the first and the last word about it.

    A link that comes up is told of five times or more; what counts is how it was found and how it is now.
    """
    middle: dict[tuple[int | None, int, int], int | None] = {}
    kept: list[_Notification | None] = list(news)
    for number, (nsid, kind, _, _, body) in enumerate(news):
        if kind not in (RTM_NEWLINK, RTM_DELLINK):
            continue
        link = (nsid, link_index(body), family(body))
        if kind == RTM_DELLINK:
            middle.pop(link, None)
            continue
        before = middle.get(link)
        if before is not None:
            kept[before] = None
        middle[link] = number if link in middle else None
    return [one for one in kept if one is not None]


def _subscribed(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return sock


def _netfilter() -> socket.socket | None:
    """Return a socket that hears nftables, or None on a kernel without it."""
    try:
        return _subscribed(NETLINK_NETFILTER, (_NFTABLES_GROUP,))
    except OSError:
        return None


def _nsid(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the number of the namespace that a notification came from; None is our own."""
    for level, kind, data in ancillary:
        if level == _SOL_NETLINK and kind == _LISTEN_ALL_NSID:
            return int(_INT.unpack(data)[0])
    return None
