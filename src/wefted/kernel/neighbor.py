"""Permanent ARP and NDP entries (`struct ndmsg`, linux/neighbour.h)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from struct import Struct

from wefted.model.objects import KernelObject
from wefted.model.route import Neighbor

from .address import FAMILY
from .marks import PROTOCOL
from .netlink import CREATE, EXCL, REPLACE, Message, NetlinkSocket, as_int, as_mac, attribute, attributes, mac_bytes, u8
from .reading import Reading
from .transaction import Transaction

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDA_DST, NDA_LLADDR, NDA_PORT, NDA_PROTOCOL = 1, 2, 6, 12
NUD_PERMANENT = 0x80

HEADER = Struct("=BxxxiHBB")


class NeighborHandler:
    """Adds, replaces and removes permanent neighbours."""

    def create(self, wanted: Neighbor, tx: Transaction) -> None:
        """Add an entry; what the kernel itself learned about the address makes way (see `is_learned`)."""
        tx.queue(wanted.ns, Message(RTM_NEWNEIGH, CREATE | EXCL, _body(wanted, tx)))

    def update(self, old: KernelObject, new: Neighbor, tx: Transaction) -> None:
        tx.queue(new.ns, Message(RTM_NEWNEIGH, CREATE | REPLACE, _body(new, tx)))

    def delete(self, old: Neighbor, tx: Transaction) -> None:
        header = HEADER.pack(FAMILY[old.address.version], tx.index(old.ns, old.link), 0, 0, 0)
        tx.queue(old.ns, Message(RTM_DELNEIGH, 0, header + attribute(NDA_DST, old.address.packed)))


def read_neighbors(reading: Reading) -> Iterator[Neighbor]:
    """Yield the permanent entries with our mark."""
    for body in reading.socket.dump(RTM_GETNEIGH, HEADER.pack(0, 0, 0, 0, 0)):
        family, index, state, _, _ = HEADER.unpack_from(body)
        if not state & NUD_PERMANENT or family not in FAMILY.values():
            continue
        found = attributes(body, HEADER.size)
        if as_int(found.get(NDA_PROTOCOL)) == PROTOCOL and NDA_DST in found:
            address = ip_address(found[NDA_DST])
            yield Neighbor(ns=reading.ns, link=reading.name(index), address=address, mac=as_mac(found.get(NDA_LLADDR)))


def is_learned(sock: NetlinkSocket, index: int, neighbor: Neighbor) -> bool:
    """Tell whether the entry that stands in the way was only learned by the kernel, so that nobody asked for it."""
    for body in sock.dump(RTM_GETNEIGH, HEADER.pack(FAMILY[neighbor.address.version], 0, 0, 0, 0)):
        _, at, state, _, _ = HEADER.unpack_from(body)
        if at == index and attributes(body, HEADER.size).get(NDA_DST) == neighbor.address.packed:
            return not state & NUD_PERMANENT
    return True


def _body(neighbor: Neighbor, tx: Transaction) -> bytes:
    index = tx.index(neighbor.ns, neighbor.link)
    return b"".join((
        HEADER.pack(FAMILY[neighbor.address.version], index, NUD_PERMANENT, 0, 0),
        attribute(NDA_DST, neighbor.address.packed),
        attribute(NDA_LLADDR, mac_bytes(neighbor.mac)),
        u8(NDA_PROTOCOL, PROTOCOL),
    ))  # fmt: skip
