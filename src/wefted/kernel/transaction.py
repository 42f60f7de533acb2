"""One `apply` on its way to the kernel: messages wait in one batch for each namespace and leave in as few sends as possible.

A batch is sent when another namespace depends on it (a sandbox's `eth0` exists only after the host's batch has made the veth),
when an interface index is needed that it will bring, and at the end. So an attach is two sends: one in the host's namespace,
one in the sandbox's.

Deleting a link makes the kernel wait for an RCU grace period (20 ms), once for each delete, but also only once for a whole
group of links. So several deletions in one namespace move into a group of their own and leave with ONE delete.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from struct import Struct

from wefted.model.link import Link, LinkState, MovedLink, PortVlan, Veth
from wefted.model.objects import HOST, Change, IPAddress, Netns
from wefted.model.route import Address, ForwardingEntry, Neighbor, Route
from wefted.model.shaping import Shaper
from wefted.model.tunnel import UdpPort
from wefted.model.wireguard import WireguardPeer

from .announce import announce
from .fault import Fault
from .ifinfo import delete_group, delete_named, echo, move_to_doomed
from .netlink import Message, NetlinkSocket, Refused, Reply
from .netns import Namespaces

GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})
"""What the kernel says when there is nothing to delete; that is as good as deleted."""

_HANGING = (Address, Route, Neighbor, ForwardingEntry, PortVlan, Shaper, UdpPort, WireguardPeer)

Place = tuple[Netns, str]
"""A link by namespace and name."""

_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933
_IFREQ = Struct("16si20x")


@dataclass(slots=True)
class _Queued:
    message: Message
    numbers: tuple[int, ...]
    """The changes that fail with it."""
    forgive: frozenset[int]
    makes: tuple[Place, ...]
    """The link that it makes and the far end, whose indexes its echo tells."""


@dataclass(slots=True)
class _Batch:
    queue: list[_Queued] = field(default_factory=list)
    doomed: list[tuple[int, str]] = field(default_factory=list)
    makes: set[Place] = field(default_factory=set)
    removes: set[Place] = field(default_factory=set)
    touches: set[Netns] = field(default_factory=set)
    """Other namespaces in which it makes something."""


_Condition = Callable[[Netns, _Batch], bool]


class Transaction:
    """The changes of one `apply`: what waits, what is known of interfaces, and what the kernel refused."""

    def __init__(
        self,
        spaces: Namespaces,
        host: NetlinkSocket,
        changes: Sequence[Change],
        fault: Fault,
        register: Callable[[Netns, int, int | None], None],
        number: Callable[[int], Message | None],
    ) -> None:
        self._spaces = spaces
        self._number = number
        self._register = register
        self._fault = fault
        self._changes = changes
        self._hanging = _places_going(changes)
        self._sockets: dict[Netns, NetlinkSocket] = {HOST: host}
        self._fds: dict[Netns, int] = {HOST: spaces.home_fd}
        self._unheard: set[Netns] = set()
        """Sandboxes that were opened here and are not registered for the watch yet."""
        self._batches: dict[Netns, _Batch] = {}
        self._later: dict[Netns, list[_Queued]] = {}
        self._indexes: dict[Place, int] = {}
        self._current = 0
        self._unmade: set[Place] = set()
        """Links that could not be made: what is there under their names is somebody else's."""
        self.born: dict[Place, LinkState] = {}
        """The far ends that were made here, as they are: what they have already needs not be set."""
        self.refusals: dict[int, Refused] = {}
        """By the number of the change; the first one of each stays."""
        self.deferred: dict[int, Change] = {}
        """Changes that are made after all netlink messages, in a transaction of their own."""
        self._then: list[tuple[int, Callable[[], None]]] = []
        self.sends = 0
        """How many sends went out in sandboxes."""

    def begin(self, number: int) -> None:
        """Let what is queued from now on belong to this change."""
        self._current = number

    def refuse(self, refused: Refused, number: int | None = None) -> None:
        """Note that a change failed, unless it is a deletion of what is gone already."""
        number = self._current if number is None else number
        if self._changes[number].new is None and refused.errno in GONE:
            return
        self.refusals.setdefault(number, refused)

    def spoil(self, places: Iterable[Place]) -> None:
        """Note that these links could not be made."""
        self._unmade.update(places)

    def require(self, ns: Netns, name: str) -> None:
        """Raise `Refused` (ENODEV) for a link that could not be made; sends first what makes it.

        There may be another one of that name, which belongs to somebody else and must not get what was meant for ours.
        """
        self._flush_if(lambda _, batch: (ns, name) in batch.makes)
        if (ns, name) in self._unmade:
            raise Refused(errno.ENODEV, f"{name} could not be made")

    def goes_with_its_link(self, change: Change) -> bool:
        """Tell whether a deletion needs no message, because it hangs on a link that goes in the same transaction."""
        old = change.old
        if change.new is not None or not isinstance(old, _HANGING):
            return False
        return (old.ns, old.link) in self._hanging

    def defer(self) -> None:
        """Leave the current change to what comes after all netlink messages."""
        self.deferred[self._current] = self._changes[self._current]

    def fd(self, ns: Netns) -> int:
        """Return a descriptor of a namespace. Raises `Refused` when it is gone."""
        if ns not in self._fds:
            self._fds[ns] = self._spaces.open(ns)
            self._unheard.add(ns)
        return self._fds[ns]

    def queue(
        self,
        ns: Netns,
        message: Message,
        *,
        makes: Iterable[Place] = (),
        removes: Iterable[Place] = (),
        forgive: frozenset[int] = frozenset(),
    ) -> None:
        """Let a message of the current change wait for the next send in `ns`; refusals in `forgive` count as done."""
        makes = tuple(makes)
        touches = {place[0] for place in makes} - {ns}
        self._flush_if(lambda other, batch: other != ns and ns in batch.touches)
        for other in touches:
            self.flush(other)
        batch = self._batch(ns)
        self._seal(ns)
        batch.queue += [_Queued(message, (), frozenset(), ()) for message in self._numberings(touches)]
        if self._changes[self._current].new is None:
            forgive |= GONE
        batch.queue.append(_Queued(message, (self._current,), forgive, makes))
        batch.makes.update(makes)
        self._remove(batch, removes)
        batch.touches |= touches

    def later(self, ns: Netns, message: Message) -> None:
        """Let a message wait for the next send in `ns` that happens anyway, or for the end."""
        self._later.setdefault(ns, []).append(_Queued(message, (self._current,), frozenset(), ()))

    def then(self, action: Callable[[], None]) -> None:
        """Let something be done after all messages, unless the current change was refused; it may fail without harm."""
        self._then.append((self._current, action))

    def announce(self, ns: Netns, link: str, address: IPAddress) -> None:
        """Tell the neighbours of an address. Raises `OSError`."""
        announce(self._spaces, self.fd(ns), link, address)

    def ask(self, ns: Netns, message: Message) -> list[bytes]:
        """Send what waits for `ns`, then ask at once. Raises `Refused`."""
        self.flush(ns)
        return self.socket(ns).ask(message)

    def dump(self, ns: Netns, kind: int, body: bytes) -> list[bytes]:
        """Send what waits for `ns`, then dump. Raises `Refused`."""
        self.flush(ns)
        return self.socket(ns).dump(kind, body)

    def removed(self, ns: Netns, name: str) -> None:
        """Forget the index of a link that has left by another way than this transaction's messages."""
        self._indexes.pop((ns, name), None)

    def doom(self, ns: Netns, name: str) -> None:
        """Delete a link of ours, together with others that are deleted before or after it."""
        self.fd(ns)
        self._flush_if(lambda other, batch: other != ns and ns in batch.touches)
        batch = self._batch(ns)
        batch.doomed.append((self._current, name))
        self._remove(batch, [(ns, name)])

    def exists(self, ns: Netns, name: str) -> bool:
        """Tell whether a link is there, or will be when what waits has been sent."""
        batch = self._batches.get(ns)
        if batch is not None and (ns, name) in batch.removes:
            return False
        return (ns, name) in self._indexes or self._look_up(ns, name) != 0

    def index(self, ns: Netns, name: str) -> int:
        """Return the index of a link; sends first what makes it. Raises `Refused` (ENODEV)."""
        self.require(ns, name)
        found = self._indexes.get((ns, name)) or self._look_up(ns, name)
        if not found:
            raise Refused(errno.ENODEV, f"there is no link {name} in {ns or 'the host'}")
        self._indexes[ns, name] = found
        return found

    def known_index(self, ns: Netns, name: str) -> int:
        """Return the index of a link if it is known without asking, else 0."""
        return self._indexes.get((ns, name), 0)

    def flush(self, ns: Netns) -> None:
        """Send what waits for one namespace."""
        self._seal(ns)
        batch = self._batches.pop(ns, None) or _Batch()
        if ns in self._later and not any(ns in other.touches for other in self._batches.values()):
            batch.queue += self._later.pop(ns)
        if not batch.queue:
            return
        try:
            replies = self._send(self.socket(ns), batch.queue)
        except Refused as refused:
            replies = [Reply(refused.errno, refused.text)] * len(batch.queue)
        for queued, reply in zip(batch.queue, replies, strict=True):
            self._settle(queued, reply)

    def finish(self) -> None:
        """Send everything that still waits, the host's first."""
        for ns in sorted({HOST, *self._batches, *self._later}):
            self.flush(ns)
        for number, action in self._then:
            if number not in self.refusals:
                with suppress(Refused, OSError):
                    action()

    def close(self) -> None:
        """Release the sandboxes."""
        for ns in self._unheard:
            self._register(ns, self._fds[ns], None)
        for ns, sock in self._sockets.items():
            if ns != HOST:
                self.sends += sock.sends
                sock.close()
        for ns, fd in self._fds.items():
            if ns != HOST:
                os.close(fd)

    def _batch(self, ns: Netns) -> _Batch:
        return self._batches.setdefault(ns, _Batch())

    def socket(self, ns: Netns) -> NetlinkSocket:
        """Return the socket of a namespace. Raises `Refused` when it is gone."""
        if ns not in self._sockets:
            self._sockets[ns] = self._spaces.socket(self.fd(ns))
        return self._sockets[ns]

    def _numberings(self, sandboxes: Iterable[Netns]) -> Iterator[Message]:
        """Yield what gives new sandboxes their numbers; no change fails with it."""
        for ns in sandboxes:
            message = self._number(self.fd(ns)) if ns in self._unheard else None
            if message is not None:
                yield message

    def _flush_if(self, condition: _Condition) -> None:
        for ns in [ns for ns, batch in self._batches.items() if condition(ns, batch)]:
            self.flush(ns)

    def _remove(self, batch: _Batch, places: Iterable[Place]) -> None:
        for place in places:
            batch.removes.add(place)
            self._indexes.pop(place, None)

    def _seal(self, ns: Netns) -> None:
        """Turn the links that wait for deletion into messages: one into a delete, several into a group delete."""
        batch = self._batches.get(ns)
        if batch is None or not batch.doomed:
            return
        doomed, batch.doomed = batch.doomed, []
        if len(doomed) == 1:
            number, name = doomed[0]
            batch.queue.append(_Queued(delete_named(name), (number,), GONE, ()))
            return
        for number, name in doomed:
            batch.queue.append(_Queued(move_to_doomed(name), (number,), GONE, ()))
        batch.queue.append(_Queued(delete_group(), tuple(number for number, _ in doomed), GONE, ()))

    def _send(self, sock: NetlinkSocket, queue: Sequence[_Queued]) -> list[Reply]:
        if not self._fault.armed:
            return sock.transact([queued.message for queued in queue])
        replies: list[Reply] = []
        for queued in queue:
            replies += sock.transact([queued.message])
            self._fault.changed()
        return replies

    def _settle(self, queued: _Queued, reply: Reply) -> None:
        if reply.errno and reply.errno not in queued.forgive:
            self.spoil(queued.makes)
            for number in queued.numbers:
                self.refuse(Refused(reply.errno, reply.text), number)
        for answer in reply.answers:
            self._learn(queued.makes, answer)

    def _learn(self, makes: tuple[Place, ...], answer: bytes) -> None:
        """Take the indexes from the echo of a new link, and from that of a veth the number that its far namespace got."""
        index, peer, nsid = echo(answer)
        self._indexes.update(zip(makes, (index, peer), strict=False))
        far = makes[-1][0] if makes else HOST
        if nsid is not None and far in self._unheard:
            self._unheard.discard(far)
            self._register(far, self._fds[far], nsid)

    def _look_up(self, ns: Netns, name: str) -> int:
        if len(name.encode()) > 15:
            raise Refused(errno.EINVAL, f"{name!r} is longer than the 15 bytes that a link's name may have")
        try:
            answer = fcntl.ioctl(self.socket(ns), _SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
        except OSError:
            return 0
        return int(_IFREQ.unpack(answer)[1])


def _places_going(changes: Sequence[Change]) -> set[Place]:
    """Return the links that these changes delete, and the far ends of veths among them."""
    places: set[Place] = set()
    for change in changes:
        old = change.old
        if change.new is not None or not isinstance(old, Link) or isinstance(old, MovedLink):
            continue
        places.add((old.ns, old.name))
        if isinstance(old, Veth) and old.peer_name:
            places.add((old.peer_ns, old.peer_name))
    return places
