"""UDP tunnels: by programs in the kernel where it takes them, else by a process. Handlers that choose, and readers of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from wefted.model.objects import HOST, KernelObject
from wefted.model.tunnel import UdpPeer, UdpTunnel

from .netlink import Refused
from .reading import Reading
from .transaction import Transaction
from .udprelay import UdpRelays
from .udptunnel import UdpPrograms


class Way(Protocol):
    """One way to carry packets; every method may raise `Refused`."""

    def make(self, wanted: UdpTunnel, tx: Transaction) -> None:
        """Let packets pass, or make whole what is there."""

    def unmake(self, old: UdpTunnel, tx: Transaction) -> None:
        """Remove a tunnel; that there is none is no error."""

    def set_peer(self, wanted: UdpPeer, tx: Transaction) -> None:
        """Add a peer's block, or change where it is."""

    def drop_peer(self, old: UdpPeer, tx: Transaction) -> None:
        """Forget a block."""


@dataclass(frozen=True, slots=True)
class UdpWays:
    """Both ways, and which is in use: `missing` says why programs cannot be used, or ""."""

    programs: UdpPrograms
    relays: UdpRelays
    missing: Callable[[], str]

    @property
    def chosen(self) -> Way:
        return self.relays if self.missing() else self.programs

    @property
    def other(self) -> Way:
        return self.programs if self.missing() else self.relays

    def read(self, reading: Reading) -> Iterator[KernelObject]:
        """Yield what the chosen way carries, and as broken what the other one still does."""
        if reading.ns != HOST:
            return
        found = list(self.programs.read(reading.socket, reading.links))
        relayed = list(self.relays.read())
        mine, theirs = (relayed, found) if self.missing() else (found, relayed)
        yield from mine
        known = {item.link for item in mine if isinstance(item, UdpTunnel)}
        yield from (
            UdpTunnel(link=item.link, device="", local=item.local, port=0, intact=False)
            for item in theirs
            if isinstance(item, UdpTunnel) and item.link not in known
        )


class UdpTunnelHandler:
    """Makes tunnels the chosen way, and ends what the other way did."""

    def __init__(self, ways: UdpWays) -> None:
        self._ways = ways

    def create(self, wanted: UdpTunnel, tx: Transaction) -> None:
        """Make a tunnel. Raises `Refused`."""
        tx.require(wanted.ns, wanted.link)
        self._end_other(wanted, tx)
        self._ways.chosen.make(wanted, tx)

    def update(self, old: KernelObject, new: UdpTunnel, tx: Transaction) -> None:
        self.create(new, tx)

    def delete(self, old: UdpTunnel, tx: Transaction) -> None:
        """Remove it, whichever way it was made."""
        self._end_other(old, tx)
        self._ways.chosen.unmake(old, tx)

    def _end_other(self, tunnel: UdpTunnel, tx: Transaction) -> None:
        try:
            self._ways.other.unmake(tunnel, tx)
        except Refused:
            if not self._ways.missing():
                raise


class UdpPeerHandler:
    """Tells the tunnels of their peers' blocks."""

    def __init__(self, ways: UdpWays) -> None:
        self._ways = ways

    def create(self, wanted: UdpPeer, tx: Transaction) -> None:
        """Add or change a block. Raises `Refused`."""
        self._ways.chosen.set_peer(wanted, tx)

    def update(self, old: KernelObject, new: UdpPeer, tx: Transaction) -> None:
        self.create(new, tx)

    def delete(self, old: UdpPeer, tx: Transaction) -> None:
        self._ways.chosen.drop_peer(old, tx)
