"""Ports of bridges whose containers' packets are wrapped before the bridge sees them (see `bpf/udp.bpf.c`, `port_out`).

A port has no program of its own: its clsact shares, at its ingress, a block of filters with the other ports and with the TUN
device of the tunnel (tc(8), "shared blocks"), where the tunnel's maker puts the program. So a port costs one message, and one
list of all queueing disciplines says which ports there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from wefted.model.objects import HOST, KernelObject
from wefted.model.tunnel import UdpPort

from .classifier import EXISTS, NOT_THERE, hooks, links_with_hooks, no_hooks
from .marks import BLOCK, BLOCK_MEMBER
from .netlink import Refused
from .reading import Reading
from .transaction import Transaction


class UdpPortHandler:
    """Joins ports to the block of a tunnel. Where somebody else has hooks at the port, they stay, and the bridge does it."""

    def create(self, wanted: UdpPort, tx: Transaction) -> None:
        """Join. Raises `Refused` without the port; without the tunnel it waits for the pass that makes both."""
        port = tx.index(wanted.ns, wanted.link)
        with suppress(Refused):
            tx.queue(wanted.ns, hooks(port, block_of(tx.index(wanted.ns, wanted.tunnel))), forgive=EXISTS)

    def update(self, old: KernelObject, new: UdpPort, tx: Transaction) -> None:
        """Leave the block of another tunnel, or of one that was made anew, and join."""
        tx.queue(new.ns, no_hooks(tx.index(new.ns, new.link)), forgive=NOT_THERE)
        self.create(new, tx)

    def delete(self, old: UdpPort, tx: Transaction) -> None:
        tx.queue(old.ns, no_hooks(tx.index(old.ns, old.link)), forgive=NOT_THERE)


def block_of(tun: int) -> int:
    """Return the number of the block of a tunnel, by the index of its TUN device."""
    return BLOCK | tun & BLOCK_MEMBER


def read_udp_ports(reading: Reading) -> Iterator[UdpPort]:
    """Yield our ports that have a block of ours; without the tunnel's name where its TUN device is gone."""
    ports = {link.index: link.name for link in reading.links.values() if link.master and reading.is_ours(link.index)}
    if reading.ns != HOST or not ports:
        return
    tunnels = {block_of(link.index): link.name for link in reading.links.values() if link.kind == "tun"}
    for index, block in links_with_hooks(reading.socket).items():
        if index in ports and block & ~BLOCK_MEMBER == BLOCK:
            yield UdpPort(link=ports[index], tunnel=tunnels.get(block, ""))
