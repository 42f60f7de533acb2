"""UDP tunnels in the kernel: eBPF programs on one set of maps for all tunnels of the host (see `bpf/udp.bpf.c`).

Nothing is pinned and nothing is remembered here: a filter holds its program, the program its maps. So packets pass while no
wefted runs, and the next one finds everything again by the names of the filters:

    wefted udp 1f2e3d4c tunnel_out br-0123456789ab     egress of a TUN device of ours; the bridge that is joined directly
    wefted udp 1f2e3d4c bridge_out                     ingress of that bridge
    wefted udp 1f2e3d4c underlay_in                    ingress of the underlay
    wefted udp 1f2e3d4c sums_in                        ingress of the far end of `wefted-sums`, where there is one
    the XDP program `underlay_xdp`                     where the underlay's driver takes it

The word in the middle is the version of the programs. A TUN device whose filter has another one, or none, is made anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TypeVar

from wefted.model.objects import KernelObject
from wefted.model.tunnel import UdpPeer, UdpTunnel

from . import udpsums
from .bpf import udp
from .bpf.call import program, program_maps, program_name
from .bpf.udp import BRIDGE_OUT, SUMS_IN, TUNNEL_OUT, UNDERLAY_IN, UNDERLAY_XDP, Owner, Settings, Tables
from .classifier import EGRESS, EXISTS, INGRESS, Attached, attach, attached, detach, hooks, is_bare, links_with_hooks, no_hooks
from .ifinfo import RTM_GETLINK, RawLink, decode, dump_request
from .marks import SUMS_LINKS, UDP_FILTER, is_our_group
from .netlink import Message, NetlinkSocket, Refused
from .netns import Namespaces
from .offload import leave_sums_to_the_kernel
from .transaction import GONE, Transaction
from .xdp import attach_native, detach_native, may_unwrap

_T = TypeVar("_T")
_R = TypeVar("_R")
PRIORITY = 0x7766
"""Of our filters on links that others use too: theirs come first."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One of our programs at a hook of a link."""

    index: int
    hook: int
    part: str
    version: str
    bridge: str
    found: Attached


@dataclass(slots=True)
class _Scan:
    """Where our programs are in a namespace."""

    links: dict[int, RawLink]
    places: list[_Place] = field(default_factory=list)
    native: dict[int, int] = field(default_factory=dict)
    """Link -> the identifier of our XDP program on it."""

    def at(self, part: str, version: str, index: int) -> _Place | None:
        return next((p for p in self.places if (p.part, p.version, p.index) == (part, version, index)), None)

    def live(self, version: str) -> dict[int, _Place]:
        """Return the TUN devices that have a program of this version."""
        return {p.index: p for p in self.places if p.part == TUNNEL_OUT and p.version == version}

    def sums(self) -> tuple[int, int]:
        """Return the indexes of the near and the far end of the detour; 0 for one that is missing."""
        found = {link.name: link.index for link in self.links.values() if udpsums.is_ours(link)}
        return found.get(SUMS_LINKS[0], 0), found.get(SUMS_LINKS[1], 0)

    def member(self, version: str) -> int:
        """Return the identifier of any program of this version, 0 where there is none."""
        return next((p.found.program for p in self.places if p.version == version), 0)


class UdpPrograms:
    """Makes, finds and removes tunnels by programs in the kernel."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces

    def make(self, wanted: UdpTunnel, tx: Transaction) -> None:
        """Attach all programs of a tunnel, or those that are missing. Raises `Refused`."""
        tun, underlay = tx.index(wanted.ns, wanted.link), tx.index(wanted.ns, wanted.device)
        tx.flush(wanted.ns)
        sock = tx.socket(wanted.ns)
        scan = _scan(sock)
        bridge = next((link.index for link in scan.links.values() if link.name == wanted.bridge and wanted.bridge), 0)
        near, far = self._detour(sock, scan, scan.links[underlay])
        with closing(_tables(scan) or _fresh()) as tables, _loaded(tables) as loaded:
            own = {block for block, owner in tables.owners() if owner == Owner(tun)}
            for block in own - set(wanted.blocks):
                tables.drop_owner(block)
            native = self._native(sock, scan.links[underlay], loaded)
            source = next((b.network_address for b in wanted.blocks if isinstance(b.network_address, IPv4Address)), None)
            settings = Settings(underlay, bridge, wanted.port, wanted.local, source, native, near)
            for block in wanted.blocks:
                tables.set_owner(block, Owner(tun))
            for part, index, hook, rest in (
                (UNDERLAY_IN, underlay, INGRESS, ""),
                (BRIDGE_OUT, bridge, INGRESS, ""),
                (SUMS_IN, far, INGRESS, ""),
                (TUNNEL_OUT, tun, EGRESS, wanted.bridge),
            ):
                if index:
                    _attach(sock, index, hook, loaded[part], part, rest)
            tables.set_tunnel(tun, settings)
        _sweep(sock, _scan(sock))

    def join_bridges(self, names: set[str], sock: NetlinkSocket) -> None:
        """Let tunnels that were made before their bridges pass the stack by from now on. Raises `Refused`."""
        if not links_with_hooks(sock):
            return
        scan = _scan(sock)
        _, version = udp.shipped()
        waiting = {index: place.bridge for index, place in scan.live(version).items() if place.bridge in names}
        tables = _tables(scan) if waiting else None
        if tables is None:
            return
        found = {link.name: link.index for link in scan.links.values()}
        with closing(tables), _loaded(tables) as loaded:
            for tun, name in waiting.items():
                settings = tables.tunnel(tun)
                if settings is not None and name in found:
                    _attach(sock, found[name], INGRESS, loaded[BRIDGE_OUT], BRIDGE_OUT, "")
                    tables.set_tunnel(tun, replace(settings, bridge=found[name]))

    def unmake(self, old: UdpTunnel, tx: Transaction) -> None:
        """Detach the tunnel's program, and whatever serves no other tunnel. Raises `Refused`."""
        tx.flush(old.ns)
        sock = tx.socket(old.ns)
        scan = _scan(sock)
        for place in [p for p in scan.places if p.part == TUNNEL_OUT and scan.links[p.index].name == old.link]:
            _detach(sock, place)
            scan.places.remove(place)
        _sweep(sock, scan)

    def set_peer(self, wanted: UdpPeer, tx: Transaction) -> None:
        """Tell the programs of a peer's block. Raises `Refused`."""
        with self._of_tunnel(wanted, tx) as (tun, tables):
            tables.set_owner(wanted.block, Owner(tun, wanted.remote, wanted.port))

    def drop_peer(self, old: UdpPeer, tx: Transaction) -> None:
        """Forget a block. Raises `Refused`."""
        with self._of_tunnel(old, tx) as (_, tables):
            tables.drop_owner(old.block)

    def read(self, sock: NetlinkSocket, links: dict[int, RawLink]) -> Iterator[KernelObject]:
        """Yield the tunnels and their peers; what is left of tunnels without a TUN device stands for one without a name."""
        scan = _scan(sock, links)
        if not scan.places and not scan.native and not any(scan.sums()):
            return
        _, version = udp.shipped()
        live = scan.live(version)
        stale = {p.index: p for p in scan.places if p.part == TUNNEL_OUT and p.version != version}
        yield from (_broken(links[index].name) for index in stale.keys() - live.keys())
        tables = _tables(scan)
        if tables is None:
            if not stale:
                yield _broken("")
            return
        with closing(tables):
            found = tables.tunnels()
            yield from self._read_set(scan, version, tables, found)
            if found.keys() - live.keys():
                yield _broken("")

    def _read_set(self, scan: _Scan, version: str, tables: Tables, found: dict[int, Settings]) -> Iterator[KernelObject]:
        owners = list(tables.owners())
        for index, place in scan.live(version).items():
            name = scan.links[index].name
            if index not in found:
                yield _broken(name)
                continue
            blocks = tuple(sorted((b for b, owner in owners if owner == Owner(index)), key=_by_number))
            yield self._tunnel(scan, version, place, found[index], blocks)
        for block, owner in owners:
            if owner.remote is not None and owner.tun in scan.links:
                yield UdpPeer(link=scan.links[owner.tun].name, block=block, remote=owner.remote, port=owner.port)

    def _tunnel(self, scan: _Scan, version: str, place: _Place, settings: Settings, blocks: tuple[object, ...]) -> UdpTunnel:
        underlay = scan.links.get(settings.underlay)
        bridge = next((link.index for link in scan.links.values() if link.name == place.bridge and place.bridge), 0)
        intact = (
            underlay is not None
            and scan.at(UNDERLAY_IN, version, settings.underlay) is not None
            and (not bridge or (settings.bridge == bridge and scan.at(BRIDGE_OUT, version, bridge) is not None))
            and (settings.native == 1) == (settings.underlay in scan.native)
            and bool(settings.native) == self._wants_native(underlay)
            and self._is_summed(scan, version, settings.sums, underlay)
        )
        return UdpTunnel(
            link=scan.links[place.index].name, device=underlay.name if underlay is not None else "", local=settings.local,
            port=settings.port, bridge=place.bridge, blocks=blocks, intact=intact,  # type: ignore[arg-type]
            way="ebpf, xdp" if settings.native == 1 else "ebpf, tc",
        )  # fmt: skip

    def _is_summed(self, scan: _Scan, version: str, near: int, underlay: RawLink) -> bool:
        """Tell whether packets take the detour that the underlay needs, and no other."""
        if not self._inside(udpsums.needs_sums, underlay):
            return near == 0
        there, far = scan.sums()
        return 0 < near == there and scan.at(SUMS_IN, version, far) is not None

    def _detour(self, sock: NetlinkSocket, scan: _Scan, underlay: RawLink) -> tuple[int, int]:
        """Make the detour where the underlay needs one; return the indexes of its ends. Raises `Refused`."""
        if not self._inside(udpsums.needs_sums, underlay):
            return 0, 0
        if not all(scan.sums()):
            udpsums.make(sock)
        found = _scan(sock).sums()
        if not all(found):
            raise Refused(errno.EEXIST, f"somebody else's link {SUMS_LINKS[0]} is in the way")
        self._inside(leave_sums_to_the_kernel, SUMS_LINKS[0])
        return found

    def _inside(self, work: Callable[[_T], _R], subject: _T) -> _R:
        with self._spaces.inside(self._spaces.home_fd):
            return work(subject)

    def _wants_native(self, underlay: RawLink) -> bool:
        return self._inside(may_unwrap, underlay)

    def _native(self, sock: NetlinkSocket, underlay: RawLink, loaded: dict[str, int]) -> int:
        """Let the card's driver unwrap where that is worth it; return what `Settings.native` says of it."""
        if not self._wants_native(underlay):
            if _is_our_xdp(underlay.xdp):
                detach_native(sock, underlay.index)
            return 0
        return 1 if attach_native(sock, underlay.index, loaded[UNDERLAY_XDP], ours=_is_our_xdp(underlay.xdp)) else 2

    @contextmanager
    def _of_tunnel(self, peer: UdpPeer, tx: Transaction) -> Iterator[tuple[int, Tables]]:
        tun = tx.index(peer.ns, peer.link)
        tx.flush(peer.ns)
        _, version = udp.shipped()
        found = next((a for a in attached(tx.socket(peer.ns), tun, EGRESS) if _place(tun, EGRESS, a, version)), None)
        if found is None:
            raise Refused(errno.ENOENT, f"there is no UDP tunnel at {peer.link}")
        with program(found.program) as fd, closing(Tables(program_maps(fd))) as tables:
            yield tun, tables


def _scan(sock: NetlinkSocket, links: dict[int, RawLink] | None = None) -> _Scan:
    """Look where our programs are: on TUN devices of ours, and at the ingress of links other than ports of ours."""
    if links is None:
        links = {link.index: link for link in map(decode, sock.dump(RTM_GETLINK, dump_request()))}
    scan = _Scan(links, native={link.index: link.xdp for link in links.values() if _is_our_xdp(link.xdp)})
    for index in links_with_hooks(sock) & links.keys():
        link = links[index]
        ours = is_our_group(link.group)
        if ours and link.master:
            continue
        hook = EGRESS if ours and link.kind == "tun" else INGRESS
        scan.places += [place for found in attached(sock, index, hook) if (place := _place(index, hook, found)) is not None]
    return scan


def _place(index: int, hook: int, found: Attached, version: str = "") -> _Place | None:
    """Return what a filter's name says, if it is one of ours (and of this version)."""
    if not found.name.startswith(UDP_FILTER):
        return None
    words = found.name.removeprefix(UDP_FILTER).split(" ")
    if len(words) < 2 or (version and words[0] != version):
        return None
    return _Place(index, hook, words[1], words[0], words[2] if len(words) > 2 else "", found)


def _tables(scan: _Scan) -> Tables | None:
    """Return the maps of the programs of our version that are attached, None where there is none."""
    _, version = udp.shipped()
    identifier = scan.member(version)
    if not identifier:
        return None
    with program(identifier) as fd:
        return Tables(program_maps(fd))


def _fresh() -> Tables:
    found, _ = udp.shipped()
    return Tables({name: spec.create(name) for name, spec in found.maps.items()})


@contextmanager
def _loaded(tables: Tables) -> Iterator[dict[str, int]]:
    loaded = udp.programs(tables.descriptors)
    try:
        yield loaded
    finally:
        for fd in loaded.values():
            os.close(fd)


def _attach(sock: NetlinkSocket, index: int, hook: int, fd: int, part: str, rest: str) -> None:
    """Put a program at a hook, in place of the one that we had there. Raises `Refused`."""
    _, version = udp.shipped()
    name = f"{UDP_FILTER}{version} {part} {rest}".rstrip()
    replies = sock.transact([hooks(index), attach(index, hook, fd, name, PRIORITY, replace=True)])
    for reply in replies:
        if reply.errno and reply.errno not in EXISTS:
            raise Refused(reply.errno, reply.text)


def _detach(sock: NetlinkSocket, place: _Place) -> None:
    """Take a program away, and the link's hooks with it when nobody else has anything there."""
    _ask(sock, detach(place.index, place.hook, place.found))
    if is_bare(sock, place.index):
        _ask(sock, no_hooks(place.index))


def _sweep(sock: NetlinkSocket, scan: _Scan) -> None:
    """Remove whatever serves no tunnel: elements of the maps, programs on bridges and underlays, also of other versions."""
    _, version = udp.shipped()
    live = scan.live(version).keys()
    tables = _tables(scan)
    used: dict[int, Settings] = {}
    if tables is not None:
        with closing(tables):
            for tun in tables.tunnels().keys() - live:
                tables.drop_tunnel(tun)
            used = tables.tunnels()
    near, far = scan.sums()
    summed = near and any(s.sums == near for s in used.values())
    needed = {(UNDERLAY_IN, s.underlay) for s in used.values()} | {(BRIDGE_OUT, s.bridge) for s in used.values()}
    needed |= {(SUMS_IN, far)} if summed else set()
    for place in scan.places:
        if place.part != TUNNEL_OUT and (place.version != version or (place.part, place.index) not in needed):
            _detach(sock, place)
    for index in scan.native.keys() - {s.underlay for s in used.values() if s.native == 1}:
        detach_native(sock, index)
    if (near or far) and not summed:
        udpsums.remove(sock)


def _is_our_xdp(identifier: int) -> bool:
    if not identifier:
        return False
    try:
        with program(identifier) as fd:
            return program_name(fd) == UNDERLAY_XDP
    except Refused:
        return False


def _broken(name: str) -> UdpTunnel:
    """Return what stands for a tunnel that must be made anew, or swept where it has no name."""
    return UdpTunnel(link=name, device="", local=IPv4Address(0), port=0, intact=False)


def _ask(sock: NetlinkSocket, message: Message) -> None:
    reply = sock.transact([message])[0]
    if reply.errno and reply.errno not in GONE | {errno.EINVAL}:
        raise Refused(reply.errno, reply.text)


def _by_number(block: object) -> tuple[int, int]:
    return block.version, int(block.network_address)  # type: ignore[attr-defined]
