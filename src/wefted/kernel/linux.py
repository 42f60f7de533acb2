"""The kernel of this host: every kind of object by its handler, all of them behind `Kernel`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wefted.errors import KernelError
from wefted.model.command import Command
from wefted.model.firewall import NftElement, NftTable, Sysctl
from wefted.model.link import (
    Bridge,
    Dummy,
    Ipip,
    Ipoib,
    Ipvlan,
    Link,
    LinkState,
    Macvlan,
    MovedLink,
    PortVlan,
    Veth,
    Vlan,
    Vxlan,
)
from wefted.model.node import HostFacts
from wefted.model.objects import HOST, Change, IPAddress, KernelObject, Netns, Outcome, State
from wefted.model.route import Address, ForwardingEntry, Neighbor, Route, Rule
from wefted.model.shaping import Shaper
from wefted.model.tunnel import Tun, UdpPeer, UdpPort, UdpTunnel
from wefted.model.wireguard import Wireguard, WireguardPeer

from .address import AddressHandler, read_addresses
from .command import CommandHandler
from .fault import Fault
from .fdb import ForwardingHandler, read_forwarding
from .handler import Handler, Reader
from .lending import MovedLinkHandler
from .link import LinkHandler, LinkStateHandler
from .neighbor import NeighborHandler, is_learned, read_neighbors
from .netlink import NetlinkSocket, Refused
from .netns import Namespaces
from .nft import Firewall
from .portvlan import PortVlanHandler, read_port_vlans
from .probe import Prober
from .reading import Reading, read_links
from .route import RouteHandler, read_routes
from .rule import RuleHandler, read_rules
from .shaper import ShaperHandler, read_shapers
from .sysctl import SysctlHandler
from .transaction import Transaction
from .tun import TunHandler
from .udp import UdpPeerHandler, UdpTunnelHandler, UdpWays
from .udpport import UdpPortHandler, read_udp_ports
from .udprelay import UdpRelays
from .udptunnel import UdpPrograms
from .watch import Watch
from .wireguard import WireguardHandler, WireguardPeerHandler, WireguardWays

_LINKS = LinkHandler()
_HANDLERS: Mapping[type[KernelObject], Handler[Any]] = {
    **dict.fromkeys((Link, Bridge, Veth, Macvlan, Dummy, Ipip, Ipvlan, Ipoib, Vlan, Vxlan), _LINKS),
    LinkState: LinkStateHandler(),
    PortVlan: PortVlanHandler(),
    Address: AddressHandler(),
    Route: RouteHandler(),
    Rule: RuleHandler(),
    Neighbor: NeighborHandler(),
    ForwardingEntry: ForwardingHandler(),
    Shaper: ShaperHandler(),
    UdpPort: UdpPortHandler(),
}
"""A new kind of object is one line here, and one in `_READERS`."""

_READERS: Sequence[Reader] = (
    read_links,
    read_port_vlans,
    read_addresses,
    read_routes,
    read_rules,
    read_neighbors,
    read_forwarding,
    read_shapers,
    read_udp_ports,
)


class LinuxKernel:
    """The real kernel. Implements `Kernel`.

    `home` is the namespace that counts as the host's own, by default that of the thread that constructs this. What must be
    remembered until a reboot (the sysctls of before) is kept below `runtime_dir`. `relay` is how the process is started that
    carries UDP tunnels where programs cannot; with `datapath` "relay" it always does. `wireguard_key` is the file of this
    host's private key, by default one in `runtime_dir`.
    """

    def __init__(
        self,
        *,
        runtime_dir: str | Path = "/run/wefted",
        home: Netns = HOST,
        relay: Sequence[str] = (),
        datapath: str = "auto",
        wireguard_key: str | Path = "",
    ) -> None:
        self._spaces = Namespaces(home)
        self._socket = self._spaces.socket(self._spaces.home_fd)
        self._fault = Fault.from_environment()
        self._sysctls = SysctlHandler(Path(runtime_dir), self._spaces, self._fault)
        self._commands = CommandHandler(Path(runtime_dir), self._spaces, self._fault)
        self._firewall = Firewall(self._spaces, self._fault)
        self._prober = Prober(Path(runtime_dir), self._spaces, self._firewall, datapath)
        relays = UdpRelays(Path(runtime_dir), home, relay)
        self._udp = UdpWays(UdpPrograms(self._spaces), relays, lambda: self._prober.features()["bpf"])
        self._wireguard = WireguardWays(
            self._spaces,
            Path(runtime_dir),
            home,
            Path(wireguard_key or Path(runtime_dir, "wireguard.key")),
            lambda: self._prober.features()["wireguard-kernel"],
        )
        self._watch = Watch(self._spaces, self._firewall)
        self._handlers = MappingProxyType({
            **_HANDLERS, MovedLink: MovedLinkHandler(Path(runtime_dir), self._spaces, self._fault),
            Tun: TunHandler(self._spaces), UdpTunnel: UdpTunnelHandler(self._udp), UdpPeer: UdpPeerHandler(self._udp),
            Wireguard: WireguardHandler(self._wireguard, self._spaces), WireguardPeer: WireguardPeerHandler(self._wireguard),
            Command: self._commands, Sysctl: self._sysctls, NftTable: self._firewall, NftElement: self._firewall,
        })  # fmt: skip
        self._sandbox_sends = 0
        self._closed = False

    @property
    def sends(self) -> int:
        """How many netlink sends there were: an attach takes two."""
        return self._socket.sends + self._sandbox_sends

    def probe(self, advertise: IPAddress | None = None) -> HostFacts:
        """Return what this host has and can do. Raises `UsageError` without privileges, or for a foreign `advertise`."""
        return self._prober.probe(self._socket, advertise)

    def read(self, ns: Netns) -> State:
        """Return what is ours in `ns`, and the state of the other links. Raises `KernelError`."""
        try:
            return State.of(ns, self._read(ns))
        except Refused as refused:
            if refused.errno == errno.ENOENT and ns != HOST:
                return State(ns, exists=False)
            raise _public(refused, f"reading {ns or 'the host'}") from None

    def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Make the changes, in order and in few sends; one outcome for each."""
        self._watch.begin(changes)
        refusals = self._transact(changes)
        again = self._settle(changes, refusals)
        if again:
            for number, refused in self._transact([changes[number] for number in again], replace=True).items():
                refusals[again[number]] = refused
        outcomes = [_outcome(change, refusals.get(number)) for number, change in enumerate(changes)]
        self._watch.end(outcomes)
        return outcomes

    def watch(self) -> Iterator[Netns]:
        """Yield namespaces in which something changed that may concern us, until `close`. For a thread of its own."""
        return self._watch.start()

    def close(self) -> None:
        """Release everything and end `watch`."""
        if self._closed:
            return
        self._closed = True
        self._watch.stop()
        self._firewall.close()
        self._socket.close()
        self._spaces.close()

    def _transact(self, changes: Sequence[Change], *, replace: bool = False) -> dict[int, Refused]:
        with closing(self._transaction(changes)) as tx:
            for number, change in enumerate(changes):
                tx.begin(number)
                if tx.goes_with_its_link(change):
                    continue
                try:
                    self._dispatch(change, tx, replace)
                except Refused as refused:
                    tx.refuse(refused)
            tx.finish()
            self._join_bridges(changes, tx)
            self._firewall.commit(tx)
        self._sandbox_sends += tx.sends
        return tx.refusals

    def _join_bridges(self, changes: Sequence[Change], tx: Transaction) -> None:
        """Tell the tunnels of bridges that were made here; where that fails, the next pass does it."""
        made = {
            c.new.name for n, c in enumerate(changes) if isinstance(c.new, Bridge) and c.old is None and n not in tx.refusals
        }
        if made:
            with suppress(Refused):
                self._udp.programs.join_bridges(made, self._socket)

    def _transaction(self, changes: Sequence[Change]) -> Transaction:
        watch = self._watch
        return Transaction(self._spaces, self._socket, changes, self._fault, watch.register, watch.number)

    def _dispatch(self, change: Change, tx: Transaction, replace: bool) -> None:
        handler = self._handlers[type(change.subject)]
        if change.new is None:
            handler.delete(change.old, tx)
        elif change.old is None and not replace:
            handler.create(change.new, tx)
        else:
            handler.update(change.old or change.new, change.new, tx)

    def _settle(self, changes: Sequence[Change], refusals: dict[int, Refused]) -> list[int]:
        """Forgive creations of what is there already, equal and ours; return those that may replace what was learned."""
        states: dict[Netns, State] = {}
        again = []
        for number in [n for n, refused in refusals.items() if refused.errno == errno.EEXIST]:
            new = changes[number].new
            if new is None or isinstance(new, NftTable | NftElement):
                continue
            if new.ns not in states:
                states[new.ns] = self._read_netlink(new.ns)
            actual = states[new.ns].objects.get(new.key)
            if actual is not None and new.satisfied_by(actual):
                del refusals[number]
            elif isinstance(new, Neighbor) and self._is_learned(new):
                del refusals[number]
                again.append(number)
        return again

    def _is_learned(self, neighbor: Neighbor) -> bool:
        with self._sandbox(neighbor.ns) as sock:
            links = Reading(neighbor.ns, sock, self._socket, self._watch.netns_of).links.values()
            index = next((link.index for link in links if link.name == neighbor.link), 0)
            return is_learned(sock, index, neighbor)

    def _read_netlink(self, ns: Netns) -> State:
        try:
            return State.of(ns, self._netlink_objects(ns))
        except Refused:
            return State(ns, exists=False)

    def _read(self, ns: Netns) -> Iterator[KernelObject]:
        yield from self._netlink_objects(ns)
        if ns == HOST:
            yield from self._sysctls.read()
            yield from self._commands.read()
            yield from self._firewall.read()

    def _netlink_objects(self, ns: Netns) -> Iterator[KernelObject]:
        with self._sandbox(ns) as sock:
            reading = Reading(ns, sock, self._socket, self._watch.netns_of)
            for reader in (*_READERS, self._udp.read, self._wireguard.read):
                yield from reader(reading)

    @contextmanager
    def _sandbox(self, ns: Netns) -> Iterator[NetlinkSocket]:
        """Lend a socket in `ns`; the host's stays open, one for a sandbox costs 40 microseconds. Raises `Refused`."""
        if ns == HOST:
            yield self._socket
            return
        fd = self._spaces.open(ns)
        try:
            self._watch.register(ns, fd)
            with closing(self._spaces.socket(fd)) as sock:
                yield sock
                self._sandbox_sends += sock.sends
        finally:
            os.close(fd)


def _outcome(change: Change, refused: Refused | None) -> Outcome:
    if refused is None:
        return Outcome(change)
    return Outcome(change, refused.explain(str(change.subject)), refused.errno)


def _public(refused: Refused, what: str) -> KernelError:
    hint = "run wefted as root" if refused.errno == errno.EPERM else ""
    return KernelError(f"{what} failed: {refused.explain(what)}", hint, refused.errno)
