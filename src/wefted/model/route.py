"""What hangs on links: addresses, routes, rules, neighbours, forwarding entries. One class serves IPv4 and IPv6."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from .objects import IPAddress, IPInterface, IPNetwork, KernelObject, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(KernelObject):
    """An address on a link. IPv6 ones skip duplicate address detection: leases already make them unique."""

    rank: ClassVar[int] = 40

    link: str
    address: IPInterface
    announce: bool = field(default=False, compare=False)
    """Whether the neighbours are told as soon as it is there, who may remember another MAC for it."""

    @property
    def key(self) -> Key:
        return ("address", self.ns, self.link, self.address)

    def __str__(self) -> str:
        return _line(self, "address", self.address, "dev", self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(KernelObject):
    """A unicast route, or with `blackhole` one that drops. `metric` 0 is the kernel's default for the family."""

    rank: ClassVar[int] = 60

    destination: IPNetwork
    link: str = ""
    via: IPAddress | None = None
    onlink: bool = False
    source: IPAddress | None = None
    metric: int = 0
    table: int = 254
    blackhole: bool = False
    first: bool = field(default=False, compare=False)
    """Whether it stands before a route of somebody else to the same destination, which stays and is used when it has gone."""

    @property
    def key(self) -> Key:
        return ("route", self.ns, self.destination, self.table, self.metric)

    def satisfied_by(self, actual: KernelObject) -> bool:
        """Tell whether `actual` will do: a link that was left open may be the one that the kernel found for `via`."""
        return isinstance(actual, Route) and self == (actual if self.link else replace(actual, link=""))

    def __str__(self) -> str:
        words: list[object] = ["blackhole"] if self.blackhole else []
        words.append("default" if self.destination.prefixlen == 0 else self.destination)
        if self.via is not None:
            words += ["via", self.via]
        if self.link:
            words += ["dev", self.link]
        if self.source is not None:
            words += ["src", self.source]
        if self.metric:
            words += ["metric", self.metric]
        if self.table != 254:
            words += ["table", self.table]
        if self.onlink:
            words.append("onlink")
        family = () if self.destination.version == 4 else ("-6",)
        return _line(self, *family, "route", *words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(KernelObject):
    """A policy routing rule: packets that match look into `table`. `family` is 4 or 6; 0 and "" match everything."""

    rank: ClassVar[int] = 50

    priority: int
    table: int
    family: int = 4
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    fwmark: int = 0
    iif: str = ""

    @property
    def key(self) -> Key:
        return ("rule", self.ns, self.family, self.priority)

    def __str__(self) -> str:
        words: list[object] = [f"{self.priority}:", "from", self.source or "all"]
        if self.destination is not None:
            words += ["to", self.destination]
        if self.fwmark:
            words += ["fwmark", hex(self.fwmark)]
        if self.iif:
            words += ["iif", self.iif]
        return _line(self, *(("-6",) if self.family == 6 else ()), "rule", *words, "lookup", self.table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor(KernelObject):
    """A permanent ARP or NDP entry."""

    rank: ClassVar[int] = 55

    link: str
    address: IPAddress
    mac: str

    @property
    def key(self) -> Key:
        return ("neighbor", self.ns, self.link, self.address)

    def __str__(self) -> str:
        return _line(self, "neighbor", self.address, "lladdr", self.mac, "dev", self.link)


FLOOD = "00:00:00:00:00:00"
"""The MAC of a forwarding entry that gets broadcast, multicast and unknown unicast frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingEntry(KernelObject):
    """A permanent entry of a VXLAN device's table: frames to `mac` go to the host `remote`. `FLOOD` may have many remotes."""

    rank: ClassVar[int] = 55

    link: str
    mac: str
    remote: IPAddress
    port: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        return ("fdb", self.ns, self.link, self.mac, self.remote)

    def __str__(self) -> str:
        return _line(self, "fdb", self.mac, "dst", self.remote, "dev", self.link)


def _line(self: KernelObject, *words: object) -> str:
    at = ("netns", self.ns) if self.ns else ()
    return " ".join(str(w) for w in (*at, *words))
