"""A kernel in memory that behaves as the real one as far as wefted can tell: refusals, and what goes when a link goes.

It passes `wefted.testing.kernel_contract`, like `LinuxKernel`. What others do to a host is done by its further methods.
"""

from __future__ import annotations

import errno
import os
import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from wefted.model.firewall import NftElement, NftTable, Sysctl
from wefted.model.link import Bridge, Link, LinkState, Macvlan, MovedLink, PortVlan, Veth, Vlan, Vxlan
from wefted.model.naming import mac_of
from wefted.model.node import HostFacts, HostLink
from wefted.model.objects import HOST, Change, IPAddress, KernelObject, Key, Netns, Outcome, State
from wefted.model.route import Address, ForwardingEntry, Neighbor, Route
from wefted.model.shaping import Shaper
from wefted.model.tunnel import UdpPeer, UdpPort, UdpTunnel
from wefted.model.wireguard import Wireguard, WireguardPeer

Place = tuple[Netns, str]

FEATURES = dict.fromkeys(
    (
        "bridge",
        "veth",
        "macvlan",
        "dummy",
        "ipvlan",
        "vlan",
        "vxlan",
        "ipip",
        "ipoib",
        "port-vlan",
        "tun",
        "bpf",
        "nft",
        "wireguard",
        "wireguard-kernel",
    ),
    "",
)
_HANGING = (Address, Route, Neighbor, ForwardingEntry, PortVlan, Shaper, UdpTunnel, UdpPeer, UdpPort, WireguardPeer)


class _Refusal(Exception):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class FakeKernel:
    """Implements `Kernel`. `applied` is every change that was made; `refuse` makes it refuse changes of some objects."""

    def __init__(self, facts: HostFacts | None = None) -> None:
        self.facts = facts or HostFacts(features=FEATURES)
        self.applied: list[Change] = []
        self.refuse: dict[Key, int] = {}
        """errno by the key of the object."""
        self._spaces: dict[Netns, dict[Key, KernelObject]] = {}
        self._peers: dict[Place, Place] = {}
        self._lent: dict[str, LinkState] = {}
        """What links that are lent look like at home, by their name there."""
        self._sysctls: dict[str, str] = {}
        self._watchers: list[queue.SimpleQueue[Netns | None]] = []
        self._closed = False
        self.add_namespace(HOST)

    def probe(self, advertise: IPAddress | None = None) -> HostFacts:
        """Return the facts that it was made with, and the links of the host as they are."""
        return replace(self.facts, links=self.facts.links or tuple(self._host_links()))

    def _host_links(self) -> Iterator[HostLink]:
        for item in self._spaces[HOST].values():
            if isinstance(item, Link | LinkState):
                uplink = item.name == self.facts.device
                yield HostLink(
                    name=item.name, ours=isinstance(item, Link), mac=getattr(item, "mac", ""), default=uplink,
                    hardware=772 if item.name == "lo" else 1, addresses=self.facts.underlay if uplink else (),
                )  # fmt: skip

    def read(self, ns: Netns) -> State:
        """Return everything in `ns`: nothing here is anybody else's but link states."""
        found = self._spaces.get(ns)
        return State(ns, exists=False) if found is None else State(ns, dict(found))

    def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Make the changes, one after the other."""
        return [self._outcome(change) for change in changes]

    def watch(self) -> Iterator[Netns]:
        """Yield the namespaces that the methods for others changed."""
        events: queue.SimpleQueue[Netns | None] = queue.SimpleQueue()
        self._watchers.append(events)
        if self._closed:
            events.put(None)
        return iter(events.get, None)

    def close(self) -> None:
        """End every `watch`."""
        self._closed = True
        for events in self._watchers:
            events.put(None)

    def add_namespace(self, ns: Netns) -> None:
        """Make a namespace as the kernel does: with a loopback that is down."""
        loopback = LinkState(ns=ns, name="lo", up=ns == HOST, mtu=65536, mac="00:00:00:00:00:00")
        self._spaces[ns] = {loopback.key: loopback}

    def remove_namespace(self, ns: Netns) -> None:
        """Let a namespace die: veths go with it, links that were lent are then in the host's, under the name they had there."""
        for lent in [o for o in self._spaces[ns].values() if isinstance(o, MovedLink)]:
            self.strand(ns, lent.name)
        for item in list(self._spaces[ns].values()):
            if isinstance(item, Link | LinkState):
                self._unlink((ns, item.name))
        del self._spaces[ns]
        self._wake(ns, HOST)

    def strand(self, ns: Netns, name: str) -> None:
        """Let the kernel put a lent link into the host's namespace, down, and as `devN` where its name is taken."""
        lent = self._spaces[ns].pop(("link", ns, name))
        assert isinstance(lent, MovedLink)
        self._hanging_go((ns, name))
        free = (n for n in (name, *(f"dev{i}" for i in range(100))) if not self._has_link((HOST, n)))
        self._put(replace(lent, ns=HOST, name=next(free), up=False))
        self._wake(ns, HOST)

    def add_link(self, link: LinkState) -> None:
        """Make a link that is not ours."""
        self._put(link)
        self._wake(link.ns)

    def discard(self, key: Key) -> None:
        """Let somebody else remove an object, with everything that goes with it."""
        for ns, found in list(self._spaces.items()):
            item = found.get(key)
            if item is not None:
                self._drop(item)
                self._wake(ns)

    def take_down(self, ns: Netns, name: str) -> None:
        """Let somebody else take a link down."""
        for item in [o for o in self._spaces[ns].values() if isinstance(o, Link | LinkState) and o.name == name]:
            self._put(replace(item, up=False))
        self._wake(ns)

    def _wake(self, *namespaces: Netns) -> None:
        for events in self._watchers:
            for ns in namespaces:
                events.put(ns)

    def _outcome(self, change: Change) -> Outcome:
        try:
            self._change(change)
        except _Refusal as refusal:
            return Outcome(change, f"{os.strerror(refusal.number)}: {refusal}", refusal.number)
        self.applied.append(change)
        return Outcome(change)

    def _change(self, change: Change) -> None:
        subject = change.subject
        if subject.key in self.refuse:
            raise _Refusal(self.refuse[subject.key], str(subject))
        if change.new is None:
            self._delete(subject)
            return
        if subject.ns not in self._spaces:
            raise _Refusal(errno.ENOENT, f"network namespace {subject.ns} is gone")
        if change.old is None:
            self._create(change.new)
        else:
            self._update(change.new)

    def _find(self, key: Key) -> KernelObject | None:
        return next((found[key] for found in self._spaces.values() if key in found), None)

    def _put(self, item: KernelObject) -> None:
        self._spaces[item.ns][item.key] = item

    def _has_link(self, place: Place) -> bool:
        ns, name = place
        return any((kind, ns, name) in self._spaces.get(ns, {}) for kind in ("link", "link state"))

    def _need_link(self, ns: Netns, name: str) -> None:
        if name and not self._has_link((ns, name)):
            raise _Refusal(errno.ENODEV, f"there is no link {name} in {ns or 'the host'}")

    # Creation

    def _create(self, new: KernelObject) -> None:
        actual = self._find(new.key)
        if actual is not None and not isinstance(new, LinkState | NftTable | Sysctl):
            if not new.satisfied_by(actual):
                raise _Refusal(errno.EEXIST, str(new))
            return
        if isinstance(new, Link):
            self._create_link(new)
        elif isinstance(new, LinkState):
            self._set(new)
        else:
            self._check(new)
            self._put(new)

    def _create_link(self, new: Link) -> None:
        if self._has_link((new.ns, new.name)):
            raise _Refusal(errno.EEXIST, f"there is a link {new.name} already")
        if isinstance(new, MovedLink):
            self._bring_home(new.origin)
        below = Netns(HOST) if not isinstance(new, Vxlan) else new.ns
        self._need_link(below, getattr(new, "parent", "") or getattr(new, "device", "") or getattr(new, "origin", ""))
        self._need_link(new.ns, getattr(new, "master", ""))
        if isinstance(new, Veth):
            self._create_peer(new)
        if isinstance(new, MovedLink):
            self._lend(new)
        self._put(_settled(new))

    def _create_peer(self, veth: Veth) -> None:
        place = (veth.peer_ns, veth.peer_name)
        if veth.peer_ns not in self._spaces:
            raise _Refusal(errno.ENOENT, f"network namespace {veth.peer_ns} is gone")
        if self._has_link(place):
            raise _Refusal(errno.EEXIST, f"there is a link {veth.peer_name} already")
        mac = veth.peer_mac or mac_of(*place)
        self._put(LinkState(ns=veth.peer_ns, name=veth.peer_name, up=False, mtu=veth.mtu or 1500, mac=mac))
        self._peers[place] = (veth.ns, veth.name)
        self._peers[veth.ns, veth.name] = place

    def _lend(self, new: MovedLink) -> None:
        state = self._spaces[HOST].pop(("link state", HOST, new.origin))
        assert isinstance(state, LinkState)
        self._hanging_go((HOST, new.origin))
        self._lent[new.origin] = state

    def _bring_home(self, origin: str) -> None:
        """Finish the way home of a link that is stranded."""
        for item in [o for o in self._spaces[HOST].values() if isinstance(o, MovedLink) and o.origin == origin]:
            self._return(item)

    def _check(self, new: KernelObject) -> None:
        """Refuse what the kernel would refuse."""
        if isinstance(new, _HANGING):
            self._need_link(new.ns, new.link)
        if isinstance(new, UdpTunnel):
            self._need_link(new.ns, new.device)
        if isinstance(new, UdpPeer) and ("udp tunnel", new.ns, new.link) not in self._spaces[new.ns]:
            raise _Refusal(errno.ENOENT, f"there is no UDP tunnel at {new.link}")
        if isinstance(new, WireguardPeer) and not isinstance(self._find(("link", new.ns, new.link)), Wireguard):
            raise _Refusal(errno.ENODEV, f"there is no WireGuard device {new.link}")
        if isinstance(new, Route):
            self._check_route(new)
        if isinstance(new, ForwardingEntry) and not isinstance(self._find(("link", new.ns, new.link)), Vxlan):
            raise _Refusal(errno.EOPNOTSUPP, str(new))
        if isinstance(new, NftTable):
            self._empty(new)
        if isinstance(new, NftElement) and ("nft table", new.ns, new.family, new.table) not in self._spaces[new.ns]:
            raise _Refusal(errno.ENOENT, str(new))
        if isinstance(new, Sysctl):
            self._sysctls.setdefault(new.name, "0")

    def _check_route(self, route: Route) -> None:
        if route.link and not self._is_up(route.ns, route.link):
            raise _Refusal(errno.ENETDOWN, str(route))
        if route.via is not None and not route.onlink and not self._is_reachable(route.ns, route.via):
            raise _Refusal(errno.ENETUNREACH, str(route))

    def _is_up(self, ns: Netns, name: str) -> bool:
        found = self._spaces[ns].get(("link state", ns, name)) or self._spaces[ns].get(("link", ns, name))
        return isinstance(found, Link | LinkState) and found.up

    def _is_reachable(self, ns: Netns, via: IPAddress) -> bool:
        found = self._spaces[ns].values()
        networks = [o.address.network for o in found if isinstance(o, Address)]
        networks += [o.destination for o in found if isinstance(o, Route) and o.via is None and not o.blackhole]
        return any(via in network for network in networks)

    # Change

    def _update(self, new: KernelObject) -> None:
        if isinstance(new, LinkState):
            self._set(new)
        elif isinstance(new, Link):
            self._update_link(new)
        else:
            self._check(new)
            self._put(new)

    def _update_link(self, new: Link) -> None:
        actual = self._find(new.key)
        if type(actual) is not type(new) or any(getattr(actual, f, "") != getattr(new, f, "") for f in _FIXED):
            self._unlink((new.ns, new.name))
            self._create_link(new)
            return
        self._need_link(new.ns, getattr(new, "master", ""))
        assert isinstance(actual, Link)
        self._put(_settled(new, actual))

    def _set(self, new: LinkState) -> None:
        actual = self._spaces[new.ns].get(new.key)
        if not isinstance(actual, LinkState):
            raise _Refusal(errno.ENODEV, f"there is no link {new.name} in {new.ns or 'the host'}")
        self._need_link(new.ns, new.master)
        chosen: dict[str, Any] = {name: getattr(new, name) or getattr(actual, name) for name in ("mtu", "mac", "master")}
        self._put(replace(actual, up=new.up, **chosen))
        if not new.up:
            for route in [o for o in self._spaces[new.ns].values() if isinstance(o, Route) and o.link == new.name]:
                del self._spaces[new.ns][route.key]

    # Removal

    def _delete(self, old: KernelObject) -> None:
        actual = self._find(old.key)
        if actual is not None and actual.owned:
            self._drop(actual)
        elif isinstance(old, MovedLink):
            self._bring_home(old.origin)

    def _drop(self, item: KernelObject) -> None:
        if isinstance(item, MovedLink):
            self._return(item)
        elif isinstance(item, Link | LinkState):
            self._unlink((item.ns, item.name))
        else:
            if isinstance(item, NftTable):
                self._empty(item)
            self._spaces[item.ns].pop(item.key, None)

    def _empty(self, table: NftTable) -> None:
        found = self._spaces[table.ns]
        for item in [
            o for o in found.values() if isinstance(o, NftElement) and (o.family, o.table) == (table.family, table.name)
        ]:
            del found[item.key]

    def _return(self, lent: MovedLink) -> None:
        """Give a lent link its name back, and what it had."""
        if (lent.ns, lent.name) != (HOST, lent.origin) and self._has_link((HOST, lent.origin)):
            raise _Refusal(errno.EEXIST, f"the host has another link {lent.origin} now")
        self._spaces[lent.ns].pop(lent.key)
        self._hanging_go((lent.ns, lent.name))
        self._put(self._lent.pop(lent.origin))

    def _unlink(self, place: Place) -> None:
        """Remove a link, its far end, the links on top of it, and what hangs on all of them."""
        ns, name = place
        for kind in ("link", "link state"):
            self._spaces.get(ns, {}).pop((kind, ns, name), None)
        self._hanging_go(place)
        peer = self._peers.pop(place, None)
        if peer is not None:
            self._peers.pop(peer, None)
            self._unlink(peer)
        for upper in [o for found in self._spaces.values() for o in found.values() if isinstance(o, Link | LinkState)]:
            if isinstance(upper, Link) and _below(upper) == place:
                self._unlink((upper.ns, upper.name))
            elif getattr(upper, "master", "") == name and upper.ns == ns:
                self._put(replace(upper, **_NO_MASTER))

    def _hanging_go(self, place: Place) -> None:
        found = self._spaces.get(place[0], {})
        for item in [o for o in found.values() if isinstance(o, _HANGING) and o.link == place[1]]:
            del found[item.key]


_FIXED = ("parent", "mode", "tag", "pkey", "vni", "local", "device", "port", "learning", "origin")
_NO_MASTER: dict[str, Any] = {"master": ""}


def _below(link: Link) -> Place | None:
    if isinstance(link, Vxlan):
        return (link.ns, link.device) if link.device else None
    parent = getattr(link, "parent", "")
    return (HOST, parent) if parent else None


def _settled(new: Link, actual: Link | None = None) -> Link:
    """Fill in what the kernel chooses where it is left open."""
    chosen: dict[str, Any] = {"mtu": new.mtu or (actual.mtu if actual else 1500)}
    if isinstance(new, Bridge | Macvlan | Vlan | Vxlan):
        chosen["mac"] = new.mac or getattr(actual, "mac", "") or mac_of(new.ns, new.name)
    return replace(new, **chosen)
