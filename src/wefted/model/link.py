"""Links: the network devices that wefted makes, and the state of those that it only uses.

`__str__` prints a line in the manner of `ip link`, which is how plans are shown and tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from .objects import HOST, IPAddress, KernelObject, Key, Netns

_OPEN = frozenset({"mtu", "mac", "device"})

LINK_GROUP = 0x77656674
"""IFLA_GROUP of every link of ours, the letters "weft": the firewall knows our links by it, whatever they are called."""
HANDED_GROUP = LINK_GROUP + 2
"""Of links that are handed over: ours as long as they are in the host's namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(KernelObject):
    """A device of ours, up from the moment it is made. `mtu` in bytes; 0 leaves the kernel's choice."""

    rank: ClassVar[int] = 20

    name: str
    mtu: int = 0
    up: bool = True
    """False in what was read from the kernel: somebody took the link down, and it is to be repaired. Also False in what is
    handed over: as long as it is the host's, it would answer for the host's addresses, with the container's MAC."""
    alias: str = field(default="", compare=False)
    """For people only (`ip link` shows it): the kernel ignores it in the create call, so it is no mark."""
    handed: bool = field(default=False, compare=False)
    """Whether it is for somebody who takes it away to another namespace: there it is his, and here nobody misses it."""

    @property
    def key(self) -> Key:
        return ("link", self.ns, self.name)

    def satisfied_by(self, actual: KernelObject) -> bool:
        """Tell whether `actual` will do: MTU, MAC and device that were left open may have any value."""
        if type(self) is not type(actual):
            return False
        return all(
            getattr(self, f.name) == getattr(actual, f.name)
            for f in fields(self)
            if f.compare and (f.name not in _OPEN or getattr(self, f.name))
        )

    def _line(self, *words: object) -> str:
        mtu = ("mtu", self.mtu) if self.mtu else ()
        return " ".join(str(w) for w in (*_at(self.ns), "link", self.name, *words, *mtu) if w != "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(Link):
    """A Linux bridge without spanning tree and without forward delay."""

    rank: ClassVar[int] = 10

    mac: str = ""

    def __str__(self) -> str:
        return self._line("type bridge", *_opt("address", self.mac))


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth(Link):
    """A pair: `name` here, `peer_name` created directly inside `peer_ns` (moving it there would cost 16 ms).

    The far end carries no mark: it is the same device, and it dies with this one.
    """

    master: str = ""
    peer_ns: Netns = field(default=HOST, compare=False)
    peer_name: str = field(default="eth0", compare=False)
    peer_mac: str = field(default="", compare=False)
    hairpin: bool = False
    """Whether its bridge may send a frame back out of the port that it came in by."""
    isolated: bool = False
    """Whether its bridge keeps frames of other isolated ports from it, and its own from them."""
    guest: bool = False
    """Whether its bridge is somebody else's: it takes the bridge's MAC and MTU, so that the bridge keeps both."""

    def __str__(self) -> str:
        return self._line("type veth", *_opt("master", self.master), "peer", self.peer_name, "netns", self.peer_ns or "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortVlan(KernelObject):
    """What makes a bridge port of ours an access port: its own frames are untagged, in the bridge they carry `tag` (802.1Q)."""

    rank: ClassVar[int] = 25

    link: str
    tag: int

    @property
    def key(self) -> Key:
        return ("port vlan", self.ns, self.link)

    def __str__(self) -> str:
        return " ".join(str(w) for w in (*_at(self.ns), "port", self.link, "access vlan", self.tag))


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan(Link):
    """A macvlan in `ns`, whose `parent` is a link of the host."""

    parent: str
    mode: str = "bridge"
    mac: str = ""

    def __str__(self) -> str:
        return self._line("type macvlan mode", self.mode, "link", self.parent, *_opt("address", self.mac))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dummy(Link):
    """A link in `ns` that leads nowhere; what is sent by it is dropped."""

    mac: str = ""

    def __str__(self) -> str:
        return self._line("type dummy", *_opt("address", self.mac))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipvlan(Link):
    """An ipvlan in `ns`, whose `parent` is a link of the host; it has its parent's MAC."""

    parent: str
    mode: str = "l2"

    def __str__(self) -> str:
        return self._line("type ipvlan mode", self.mode, "link", self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan(Link):
    """An 802.1Q sub-interface in `ns`, whose `parent` is a link of the host."""

    rank: ClassVar[int] = 15

    parent: str
    tag: int
    mac: str = ""

    def __str__(self) -> str:
        return self._line("type vlan id", self.tag, "link", self.parent, *_opt("address", self.mac))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipoib(Link):
    """A child of an InfiniBand link of the host (`parent`) in `ns`, in the partition `pkey`; the card gives it its MAC."""

    parent: str
    pkey: int
    mode: str = "datagram"

    def __str__(self) -> str:
        return self._line("type ipoib pkey", f"{self.pkey:#06x}", "mode", self.mode, "link", self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan(Link):
    """A multicast-free VXLAN device (RFC 7348): peers are forwarding entries, never a group."""

    rank: ClassVar[int] = 15

    vni: int
    local: IPAddress
    device: str = ""
    """The underlay link; empty where the kernel shall route."""
    port: int = 4789
    learning: bool = False
    gbp: bool = False
    """Group Policy: a header with room for a packet's firewall mark (draft-smith-vxlan-group-policy)."""
    mac: str = ""
    master: str = ""

    def __str__(self) -> str:
        return self._line(
            "type vxlan id", self.vni, "local", self.local, *_opt("dev", self.device), "dstport", self.port,
            "learning" if self.learning else "nolearning", "gbp" if self.gbp else "", *_opt("address", self.mac),
            *_opt("master", self.master),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipip(Link):
    """An IPv4-in-IPv4 tunnel (RFC 2003) without a far end of its own: routes say where its packets go."""

    rank: ClassVar[int] = 15

    local: IPAddress

    def __str__(self) -> str:
        return self._line("type ipip local", self.local)


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLink(Link):
    """A host's own link, lent to a sandbox: it goes back to the host as `origin` when it is deleted here."""

    origin: str

    def __str__(self) -> str:
        return self._line("moved from host link", self.origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState(KernelObject):
    """The settings of a link that is not marked as ours: a container's `lo` and `eth0`, a host's uplink. Never deleted."""

    rank: ClassVar[int] = 30
    owned: ClassVar[bool] = False

    name: str
    up: bool = True
    mtu: int = 0
    mac: str = ""
    kind: str = field(default="", compare=False)
    """Only in what was read: the kernel's word for a virtual device (bridge, veth, bond), else the hardware's (ether)."""
    link_local: bool = field(default=True, compare=False)
    """Whether the kernel gives it an IPv6 link-local address when it comes up. A port of a bridge that does not need one is
    better without: its neighbour and multicast messages are flooded to every other port, so attaches cost ever more."""
    master: str = ""
    """The bridge that it shall be a port of (the far end of a pair that joins two bridges); empty leaves it where it is."""

    @property
    def key(self) -> Key:
        return ("link state", self.ns, self.name)

    def satisfied_by(self, actual: KernelObject) -> bool:
        return (
            isinstance(actual, LinkState)
            and self.up == actual.up
            and self.mtu in (0, actual.mtu)
            and self.mac in ("", actual.mac)
            and self.master in ("", actual.master)
        )

    def __str__(self) -> str:
        mtu = ("mtu", self.mtu) if self.mtu else ()
        mac = ("address", self.mac) if self.mac else ()
        settings = ("up" if self.up else "down", *_opt("master", self.master), *mac, *mtu)
        return " ".join(str(w) for w in (*_at(self.ns), "set", self.name, *settings))


def _opt(word: str, value: object) -> tuple[object, ...]:
    return (word, value) if value else ()


def _at(ns: Netns) -> tuple[str, ...]:
    return ("netns", ns) if ns else ()
