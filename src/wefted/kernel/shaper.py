"""Token buckets (`struct tcmsg`, linux/rtnetlink.h; `struct tc_tbf_qopt`, linux/pkt_sched.h). Ours are told by their handle."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from struct import Struct

from wefted.model.objects import KernelObject
from wefted.model.shaping import Shaper

from .marks import SHAPER_HANDLE
from .netlink import CREATE, EXCL, REPLACE, Message, attribute, attributes, nested, text, u32
from .reading import Reading
from .transaction import Transaction

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS = 1, 2
_PARMS, _RATE64, _BURST = 1, 4, 6
_HEADER = Struct("=BxxxiIII")
_RATE = Struct("=BBHhHI")
_PARAMETERS = Struct("=12s12sIII")
_ETHERNET = 1
_LATENCY = 0.025
"""Seconds that a packet may wait for tokens before others are dropped."""
_LARGEST = 0xFFFFFFFF
_NOT_THERE = frozenset({errno.EINVAL})
"""What the kernel says to the deletion of a handle that the link does not have."""


class ShaperHandler:
    """Adds, changes and removes them. One that somebody else has put there is in the way, and stays."""

    def create(self, wanted: Shaper, tx: Transaction) -> None:
        tx.queue(wanted.ns, Message(RTM_NEWQDISC, CREATE | EXCL, _body(wanted, tx)))

    def update(self, old: KernelObject, new: Shaper, tx: Transaction) -> None:
        tx.queue(new.ns, Message(RTM_NEWQDISC, CREATE | REPLACE, _body(new, tx)))

    def delete(self, old: Shaper, tx: Transaction) -> None:
        header = _HEADER.pack(0, tx.index(old.ns, old.link), SHAPER_HANDLE, _ROOT, 0)
        tx.queue(old.ns, Message(RTM_DELQDISC, 0, header), forgive=_NOT_THERE)


def read_shapers(reading: Reading) -> Iterator[Shaper]:
    """Yield the token buckets with our handle."""
    for body in reading.socket.dump(RTM_GETQDISC, _HEADER.pack(0, 0, 0, 0, 0)):
        _, index, handle, parent, _ = _HEADER.unpack_from(body)
        if handle == SHAPER_HANDLE and parent == _ROOT:
            options = attributes(attributes(body, _HEADER.size).get(_OPTIONS, b""))
            rate = int.from_bytes(options.get(_RATE64, b""), "little")
            if not rate and _PARMS in options:
                rate = _RATE.unpack_from(options[_PARMS])[5]
            yield Shaper(ns=reading.ns, link=reading.name(index), rate=rate)


def _body(shaper: Shaper, tx: Transaction) -> bytes:
    index = tx.index(shaper.ns, shaper.link)
    limit = min(_LARGEST, int(shaper.rate * _LATENCY) + shaper.burst)
    rate = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(_LARGEST, shaper.rate))
    parameters = _PARAMETERS.pack(rate, b"", limit, 0, 0)
    wide = attribute(_RATE64, shaper.rate.to_bytes(8, "little")) if shaper.rate > _LARGEST else b""
    burst = u32(_BURST, min(_LARGEST, shaper.burst))
    options = nested(_OPTIONS, attribute(_PARMS, parameters), wide, burst)
    return _HEADER.pack(0, index, SHAPER_HANDLE, _ROOT, 0) + text(_KIND, "tbf") + options
