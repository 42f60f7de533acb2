"""Forwarding entries of VXLAN devices: which host a MAC is behind (linux/neighbour.h, family AF_BRIDGE).

Every permanent entry with a remote on a VXLAN device of ours is ours; what the device learned is not permanent.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from wefted.model.objects import KernelObject
from wefted.model.route import FLOOD, ForwardingEntry

from .ifinfo import RawLink
from .marks import is_our_group
from .neighbor import HEADER, NDA_DST, NDA_LLADDR, NDA_PORT, NUD_PERMANENT, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from .netlink import APPEND, CREATE, REPLACE, Message, as_mac, attribute, attributes, be16, mac_bytes
from .reading import Reading
from .transaction import Transaction

AF_BRIDGE = 7
_NTF_SELF = 0x02


class ForwardingHandler:
    """Adds and removes entries. The whole table is ours, so an entry that is in the way is replaced."""

    def create(self, wanted: ForwardingEntry, tx: Transaction) -> None:
        """Add a remote: one more for the flood address, the only one for any other."""
        mode = APPEND if wanted.mac == FLOOD else REPLACE
        tx.queue(wanted.ns, Message(RTM_NEWNEIGH, CREATE | mode, _body(wanted, tx)))

    def update(self, old: KernelObject, new: ForwardingEntry, tx: Transaction) -> None:
        self.create(new, tx)

    def delete(self, old: ForwardingEntry, tx: Transaction) -> None:
        tx.queue(old.ns, Message(RTM_DELNEIGH, 0, _body(old, tx)))


def read_forwarding(reading: Reading) -> Iterator[ForwardingEntry]:
    """Yield the permanent entries of our VXLAN devices."""
    for link in reading.links.values():
        if link.kind == "vxlan" and is_our_group(link.group):
            yield from _of_device(reading, link)


def _of_device(reading: Reading, link: RawLink) -> Iterator[ForwardingEntry]:
    # The index in the header lets a strictly checking kernel dump this device alone, not every bridge port of the host.
    for body in reading.socket.dump(RTM_GETNEIGH, HEADER.pack(AF_BRIDGE, link.index, 0, 0, 0)):
        _, index, state, _, _ = HEADER.unpack_from(body)
        if index != link.index or not state & NUD_PERMANENT:
            continue
        found = attributes(body, HEADER.size)
        if NDA_DST in found:
            yield ForwardingEntry(
                ns=reading.ns,
                link=link.name,
                mac=as_mac(found.get(NDA_LLADDR)),
                remote=ip_address(found[NDA_DST]),
                port=int.from_bytes(found.get(NDA_PORT, b""), "big"),
            )


def _body(entry: ForwardingEntry, tx: Transaction) -> bytes:
    header = HEADER.pack(AF_BRIDGE, tx.index(entry.ns, entry.link), NUD_PERMANENT, _NTF_SELF, 0)
    port = be16(NDA_PORT, entry.port) if entry.port else b""
    return header + attribute(NDA_LLADDR, mac_bytes(entry.mac)) + attribute(NDA_DST, entry.remote.packed) + port
