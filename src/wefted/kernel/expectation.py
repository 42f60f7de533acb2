"""What we have just asked of links, so that the watch does not report our own work as news.

Most notifications about links carry no sender. But a link that looks exactly as we last wanted it is no news, whoever made it
so; and one that goes just after we began to delete it is none either. Written by the worker thread, read by the watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wefted.model.link import Link, LinkState, MovedLink, Veth
from wefted.model.objects import HOST, Change, Netns, Outcome

from .ifinfo import RawLink
from .marks import is_our_group

Place = tuple[Netns, str]


class Expectations:
    """The links that we want, and those that are on their way out."""

    def __init__(self) -> None:
        self._wanted: dict[Place, Link | LinkState] = {}
        self._going: set[Place] = set()

    def begin(self, changes: Iterable[Change]) -> None:
        """Note what is about to be changed; before the first message is sent."""
        for change in changes:
            if isinstance(change.new, Link | LinkState):
                self._wanted[change.new.ns, change.new.name] = change.new
                self._going.discard((change.new.ns, change.new.name))
            if isinstance(change.old, Link) and change.new is None:
                self._going.update(_places(change.old))
            if isinstance(change.new, MovedLink):
                self._going.add((HOST, change.new.origin))

    def end(self, outcomes: Iterable[Outcome]) -> None:
        """Forget what was refused: then every notification is news."""
        for outcome in outcomes:
            if not outcome.error:
                continue
            for item in (outcome.change.old, outcome.change.new):
                if isinstance(item, Link | LinkState):
                    self._wanted.pop((item.ns, item.name), None)
                    self._going.difference_update(_places(item))

    def is_met(self, ns: Netns, link: RawLink, born: bool, name: Callable[[int], str]) -> bool:
        """Tell whether a link looks as we wanted it; one that is just born may still be down."""
        wanted = self._wanted.get((ns, link.name))
        if (ns, link.name) in self._going:
            return True
        if wanted is None:
            return False
        if isinstance(wanted, Link) and not is_our_group(link.group):
            return False
        return (
            (link.up == wanted.up or (born and not link.up))
            and wanted.mtu in (0, link.mtu)
            and getattr(wanted, "mac", "") in ("", link.mac)
            and self._is_port_of(wanted, name(link.master))
        )

    @staticmethod
    def _is_port_of(wanted: Link | LinkState, master: str) -> bool:
        """Tell whether a link is a port of what it should be; one of others may be of anything, unless we said."""
        expected = getattr(wanted, "master", "")
        return expected == master or (isinstance(wanted, LinkState) and not expected)

    def is_going(self, ns: Netns, name: str) -> bool:
        """Tell whether we are deleting this link."""
        return (ns, name) in self._going

    def gone(self, ns: Netns, name: str) -> bool:
        """Forget a link; return whether it was us who deleted it."""
        self._wanted.pop((ns, name), None)
        ours = (ns, name) in self._going
        self._going.discard((ns, name))
        return ours

    def forget(self, ns: Netns) -> None:
        """Forget a namespace."""
        for place in [place for place in list(self._wanted) if place[0] == ns]:
            self._wanted.pop(place, None)
        self._going.difference_update([place for place in list(self._going) if place[0] == ns])


def _places(item: Link | LinkState) -> list[Place]:
    here = (item.ns, item.name)
    return [here, (item.peer_ns, item.peer_name)] if isinstance(item, Veth) and item.peer_name else [here]
