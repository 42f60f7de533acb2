"""Where the programs of UDP tunnels are in a namespace, told by the names of their filters (see `udptunnel`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import udpsums
from .bpf.call import program, program_name
from .bpf.udp import TUNNEL_OUT, UNDERLAY_XDP
from .classifier import EGRESS, INGRESS, Attached, attached, links_with_hooks
from .ifinfo import RTM_GETLINK, RawLink, decode, dump_request
from .marks import SUMS_LINKS, UDP_FILTER, is_our_group
from .netlink import NetlinkSocket, Refused


@dataclass(frozen=True, slots=True)
class Place:
    """One of our programs at a hook of a link."""

    index: int
    hook: int
    part: str
    version: str
    bridge: str
    found: Attached


@dataclass(slots=True)
class Scan:
    """Where our programs are in a namespace."""

    links: dict[int, RawLink]
    places: list[Place] = field(default_factory=list)
    blocks: dict[int, int] = field(default_factory=dict)
    """Link -> the block at its ingress, 0 for none."""
    native: dict[int, int] = field(default_factory=dict)
    """Link -> the identifier of our XDP program on it."""

    def at(self, part: str, version: str, index: int) -> Place | None:
        return next((p for p in self.places if (p.part, p.version, p.index) == (part, version, index)), None)

    def bridge(self, name: str) -> int:
        """Return the index of a bridge, 0 where there is none of that name."""
        return next((link.index for link in self.links.values() if link.name == name and name), 0)

    def mac(self, bridge: int) -> str:
        return self.links[bridge].mac if bridge else ""

    def live(self, version: str) -> dict[int, Place]:
        """Return the TUN devices that have a program of this version."""
        return {p.index: p for p in self.places if p.part == TUNNEL_OUT and p.version == version}

    def sums(self) -> tuple[int, int]:
        """Return the indexes of the near and the far end of the detour; 0 for one that is missing."""
        found = {link.name: link.index for link in self.links.values() if udpsums.is_ours(link)}
        return found.get(SUMS_LINKS[0], 0), found.get(SUMS_LINKS[1], 0)

    def member(self, version: str) -> int:
        """Return the identifier of any program of this version, 0 where there is none."""
        return next((p.found.program for p in self.places if p.version == version), 0)


def scan_programs(sock: NetlinkSocket, links: dict[int, RawLink] | None = None) -> Scan:
    """Look where our programs are: on TUN devices of ours, and at the ingress of links other than ports of ours."""
    if links is None:
        links = {link.index: link for link in map(decode, sock.dump(RTM_GETLINK, dump_request()))}
    hooked = links_with_hooks(sock)
    scan = Scan(links, blocks=hooked, native={link.index: link.xdp for link in links.values() if is_our_xdp(link.xdp)})
    for index in hooked.keys() & links.keys():
        link = links[index]
        ours = is_our_group(link.group)
        if ours and link.master:
            continue
        hook = EGRESS if ours and link.kind == "tun" else INGRESS
        scan.places += [place for found in attached(sock, index, hook) if (place := place_of(index, hook, found)) is not None]
    return scan


def place_of(index: int, hook: int, found: Attached, version: str = "") -> Place | None:
    """Return what a filter's name says, if it is one of ours (and of this version)."""
    if not found.name.startswith(UDP_FILTER):
        return None
    words = found.name.removeprefix(UDP_FILTER).split(" ")
    if len(words) < 2 or (version and words[0] != version):
        return None
    return Place(index, hook, words[1], words[0], words[2] if len(words) > 2 else "", found)


def is_our_xdp(identifier: int) -> bool:
    if not identifier:
        return False
    try:
        with program(identifier) as fd:
            return program_name(fd) == UNDERLAY_XDP
    except Refused:
        return False
