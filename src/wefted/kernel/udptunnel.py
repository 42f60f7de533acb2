"""UDP tunnels in the kernel: eBPF programs on one set of maps for all tunnels of the host (see `bpf/udp.bpf.c`).

Nothing is pinned and nothing is remembered here: a filter holds its program, the program its maps. So packets pass while no
wefted runs, and the next one finds everything again by the names of the filters:

    wefted udp 1f2e3d4c tunnel_out br-0123456789ab     egress of a TUN device of ours; the bridge that is joined directly
    wefted udp 1f2e3d4c bridge_out                     ingress of that bridge
    wefted udp 1f2e3d4c underlay_in                    ingress of the underlay
    wefted udp 1f2e3d4c port_out                       ingress of the bridge's ports that share the tunnel's block (`udpport`)
    wefted udp 1f2e3d4c sums_in                        ingress of the far end of `wefted-sums`, where there is one
    the XDP program `underlay_xdp`                     where the underlay's driver takes it

The word in the middle is the version of the programs. A TUN device whose filter has another one, or none, is made anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TypeVar

from wefted.model.objects import KernelObject
from wefted.model.tunnel import UdpPeer, UdpTunnel

from . import udpsums
from .bpf import udp
from .bpf.call import program, program_maps
from .bpf.udp import BRIDGE_OUT, PORT_OUT, SUMS_IN, TUNNEL_OUT, UNDERLAY_IN, UNDERLAY_XDP, Owner, Settings, Tables
from .classifier import (
    BLOCKS,
    EGRESS,
    EXISTS,
    INGRESS,
    attach,
    attached,
    detach,
    hooks,
    is_bare,
    links_with_hooks,
    no_hooks,
)
from .ifinfo import RawLink
from .marks import SUMS_LINKS, UDP_FILTER
from .netlink import Message, NetlinkSocket, Refused
from .netns import Namespaces
from .offload import leave_sums_to_the_kernel
from .transaction import GONE, Transaction
from .udpport import block_of
from .udpscan import Place, Scan, is_our_xdp, place_of, scan_programs
from .xdp import attach_native, detach_native, may_unwrap

_T = TypeVar("_T")
_R = TypeVar("_R")
PRIORITY = 0x7766
"""Of our filters on links that others use too: theirs come first."""


class UdpPrograms:
    """Makes, finds and removes tunnels by programs in the kernel."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces

    def make(self, wanted: UdpTunnel, tx: Transaction) -> None:
        """Attach all programs of a tunnel, or those that are missing. Raises `Refused`."""
        tun, underlay = tx.index(wanted.ns, wanted.link), tx.index(wanted.ns, wanted.device)
        tx.flush(wanted.ns)
        sock = tx.socket(wanted.ns)
        scan = scan_programs(sock)
        bridge = scan.bridge(wanted.bridge)
        near, far = self._detour(sock, scan, scan.links[underlay])
        with closing(_tables(scan) or _fresh()) as tables, _loaded(tables) as loaded:
            own = {block for block, owner in tables.owners() if owner == Owner(tun)}
            for block in own - set(wanted.blocks):
                tables.drop_owner(block)
            native = self._native(sock, scan.links[underlay], loaded)
            source = next((b.network_address for b in wanted.blocks if isinstance(b.network_address, IPv4Address)), None)
            settings = Settings(underlay, bridge, wanted.port, wanted.local, source, native, near, scan.mac(bridge))
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
            _attach_to_ports(sock, tun, loaded[PORT_OUT])
            tables.set_tunnel(tun, settings)
        _sweep(sock, scan_programs(sock))

    def join_bridges(self, names: set[str], sock: NetlinkSocket) -> None:
        """Let tunnels that were made before their bridges pass the stack by from now on. Raises `Refused`."""
        if not links_with_hooks(sock):
            return
        scan = scan_programs(sock)
        _, version = udp.shipped()
        waiting = {index: place.bridge for index, place in scan.live(version).items() if place.bridge in names}
        tables = _tables(scan) if waiting else None
        if tables is None:
            return
        with closing(tables), _loaded(tables) as loaded:
            for tun, name in waiting.items():
                settings, bridge = tables.tunnel(tun), scan.bridge(name)
                if settings is not None and bridge:
                    _attach(sock, bridge, INGRESS, loaded[BRIDGE_OUT], BRIDGE_OUT, "")
                    tables.set_tunnel(tun, replace(settings, bridge=bridge, mac=scan.mac(bridge)))

    def unmake(self, old: UdpTunnel, tx: Transaction) -> None:
        """Detach the tunnel's program, and whatever serves no other tunnel. Raises `Refused`."""
        tx.flush(old.ns)
        sock = tx.socket(old.ns)
        scan = scan_programs(sock)
        for place in [p for p in scan.places if p.part == TUNNEL_OUT and scan.links[p.index].name == old.link]:
            _ask(sock, no_hooks(place.index))  # with its share in the ports' block
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
        scan = scan_programs(sock, links)
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
            yield from self._read_set(sock, scan, version, tables, found)
            if found.keys() - live.keys():
                yield _broken("")

    def _read_set(
        self, sock: NetlinkSocket, scan: Scan, version: str, tables: Tables, found: dict[int, Settings]
    ) -> Iterator[KernelObject]:
        owners = list(tables.owners())
        for index, place in scan.live(version).items():
            name = scan.links[index].name
            if index not in found:
                yield _broken(name)
                continue
            blocks = tuple(sorted((b for b, owner in owners if owner == Owner(index)), key=_by_number))
            tunnel = self._tunnel(scan, version, place, found[index], blocks)
            yield tunnel if _is_at_ports(sock, scan, index, version) else replace(tunnel, intact=False)
        for block, owner in owners:
            if owner.remote is not None and owner.tun in scan.links:
                yield UdpPeer(link=scan.links[owner.tun].name, block=block, remote=owner.remote, port=owner.port)

    def _tunnel(self, scan: Scan, version: str, place: Place, settings: Settings, blocks: tuple[object, ...]) -> UdpTunnel:
        underlay = scan.links.get(settings.underlay)
        bridge = scan.bridge(place.bridge)
        intact = (
            underlay is not None
            and scan.at(UNDERLAY_IN, version, settings.underlay) is not None
            and (not bridge or ((settings.bridge, settings.mac) == (bridge, scan.mac(bridge))))
            and (not bridge or scan.at(BRIDGE_OUT, version, bridge) is not None)
            and (settings.native == 1) == (settings.underlay in scan.native)
            and bool(settings.native) == self._wants_native(underlay)
            and self._is_summed(scan, version, settings.sums, underlay)
        )
        return UdpTunnel(
            link=scan.links[place.index].name, device=underlay.name if underlay is not None else "", local=settings.local,
            port=settings.port, bridge=place.bridge, blocks=blocks, intact=intact,  # type: ignore[arg-type]
            way="ebpf, xdp" if settings.native == 1 else "ebpf, tc",
        )  # fmt: skip

    def _is_summed(self, scan: Scan, version: str, near: int, underlay: RawLink) -> bool:
        """Tell whether packets take the detour that the underlay needs, and no other."""
        if not self._inside(udpsums.needs_sums, underlay):
            return near == 0
        there, far = scan.sums()
        return 0 < near == there and scan.at(SUMS_IN, version, far) is not None

    def _detour(self, sock: NetlinkSocket, scan: Scan, underlay: RawLink) -> tuple[int, int]:
        """Make the detour where the underlay needs one; return the indexes of its ends. Raises `Refused`."""
        if not self._inside(udpsums.needs_sums, underlay):
            return 0, 0
        if not all(scan.sums()):
            udpsums.make(sock)
        found = scan_programs(sock).sums()
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
            if is_our_xdp(underlay.xdp):
                detach_native(sock, underlay.index)
            return 0
        return 1 if attach_native(sock, underlay.index, loaded[UNDERLAY_XDP], ours=is_our_xdp(underlay.xdp)) else 2

    @contextmanager
    def _of_tunnel(self, peer: UdpPeer, tx: Transaction) -> Iterator[tuple[int, Tables]]:
        tun = tx.index(peer.ns, peer.link)
        tx.flush(peer.ns)
        _, version = udp.shipped()
        found = next((a for a in attached(tx.socket(peer.ns), tun, EGRESS) if place_of(tun, EGRESS, a, version)), None)
        if found is None:
            raise Refused(errno.ENOENT, f"there is no UDP tunnel at {peer.link}")
        with program(found.program) as fd, closing(Tables(program_maps(fd))) as tables:
            yield tun, tables


def _tables(scan: Scan) -> Tables | None:
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
    block = block_of(index) if part == TUNNEL_OUT else 0
    _transact(sock, [hooks(index, block), attach(index, hook, fd, _name(part, rest), PRIORITY, replace=True)])


def _attach_to_ports(sock: NetlinkSocket, tun: int, fd: int) -> None:
    """Put the program for containers' ports into the block that they share with a TUN device. Raises `Refused`."""
    _transact(sock, [attach(BLOCKS, block_of(tun), fd, _name(PORT_OUT), PRIORITY, replace=True, number=tun & 0xFFFF)])


def _is_at_ports(sock: NetlinkSocket, scan: Scan, tun: int, version: str) -> bool:
    """Tell whether that program is there."""
    block = scan.blocks.get(tun)
    return block == block_of(tun) and any(
        (place := place_of(tun, INGRESS, found, version)) is not None and place.part == PORT_OUT
        for found in attached(sock, BLOCKS, block)
    )


def _name(part: str, rest: str = "") -> str:
    _, version = udp.shipped()
    return f"{UDP_FILTER}{version} {part} {rest}".rstrip()


def _transact(sock: NetlinkSocket, messages: list[Message]) -> None:
    for reply in sock.transact(messages):
        if reply.errno and reply.errno not in EXISTS:
            raise Refused(reply.errno, reply.text)


def _detach(sock: NetlinkSocket, place: Place) -> None:
    """Take a program away, and the link's hooks with it when nobody else has anything there."""
    _ask(sock, detach(place.index, place.hook, place.found))
    if is_bare(sock, place.index):
        _ask(sock, no_hooks(place.index))


def _sweep(sock: NetlinkSocket, scan: Scan) -> None:
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


def _broken(name: str) -> UdpTunnel:
    """Return what stands for a tunnel that must be made anew, or swept where it has no name."""
    return UdpTunnel(link=name, device="", local=IPv4Address(0), port=0, intact=False)


def _ask(sock: NetlinkSocket, message: Message) -> None:
    reply = sock.transact([message])[0]
    if reply.errno and reply.errno not in GONE | {errno.EINVAL}:
        raise Refused(reply.errno, reply.text)


def _by_number(block: object) -> tuple[int, int]:
    return block.version, int(block.network_address)  # type: ignore[attr-defined]
