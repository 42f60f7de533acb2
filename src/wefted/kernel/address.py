"""Addresses on links (`struct ifaddrmsg`, linux/if_addr.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import ip_interface
from struct import Struct

from wefted.model.objects import IPInterface, KernelObject
from wefted.model.route import Address

from .marks import PROTOCOL, addresses_have_protocol
from .netlink import CREATE, EXCL, Message, NetlinkSocket, as_int, attribute, attributes, u8
from .reading import Reading
from .transaction import Transaction

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
FAMILY = {4: 2, 6: 10}
"""AF_INET and AF_INET6, by IP version."""

_ADDRESS, _LOCAL, _BROADCAST, _CACHE, _FLAGS, IFA_PROTO = 1, 2, 4, 6, 8, 11
_NODAD, _PERMANENT = 0x02, 0x80
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST = 0, 253, 254

_HEADER = Struct("=BBBBI")
_LIFETIMES = Struct("=IIII")
"""struct ifa_cacheinfo: seconds for which the address is preferred and valid, then two time stamps."""
_FOREVER = 0xFFFFFFFF
_KERNEL_MADE = (1, 2, 3)
"""IFAPROT_KERNEL_LO, _RA, _LL (linux/if_addr.h)."""
_HAS_PROTOCOL = addresses_have_protocol()


class AddressHandler:
    """Adds and removes addresses."""

    def create(self, wanted: Address, tx: Transaction) -> None:
        """Add an address; IPv6 without duplicate address detection, IPv4 with a broadcast address if there can be one."""
        tx.queue(wanted.ns, Message(RTM_NEWADDR, CREATE | EXCL, _body(wanted, tx.index(wanted.ns, wanted.link))))
        if wanted.announce:
            tx.then(partial(tx.announce, wanted.ns, wanted.link, wanted.address.ip))

    def update(self, old: KernelObject, new: Address, tx: Transaction) -> None:
        """Replace: there is nothing of an address that could change."""
        self.delete(new, tx)
        self.create(new, tx)

    def delete(self, old: Address, tx: Transaction) -> None:
        interface = old.address
        body = _HEADER.pack(FAMILY[interface.version], interface.network.prefixlen, 0, 0, tx.index(old.ns, old.link))
        tx.queue(old.ns, Message(RTM_DELADDR, 0, body + attribute(_LOCAL, interface.ip.packed)))


def read_addresses(reading: Reading) -> Iterator[Address]:
    """Yield the addresses with our mark."""
    for index, interface, protocol, permanent in dump(reading.socket):
        ours = protocol == PROTOCOL if _HAS_PROTOCOL else permanent and reading.is_ours(index)
        if ours:
            yield Address(ns=reading.ns, link=reading.name(index), address=interface)


def dump(sock: NetlinkSocket) -> Iterator[tuple[int, IPInterface, int, bool]]:
    """Yield (interface index, address, protocol, permanent) for every address of a namespace."""
    for body in sock.dump(RTM_GETADDR, whole_dump()):
        _, length, flags, scope, index = _HEADER.unpack_from(body)
        found = attributes(body, _HEADER.size)
        # A point-to-point address has its own end in IFA_LOCAL and the other one in IFA_ADDRESS.
        packed = found.get(_LOCAL) or found.get(_ADDRESS)
        if packed:
            # The kernel's own link-local addresses are permanent, but nobody configured them.
            permanent = bool(as_int(found.get(_FLAGS), flags) & _PERMANENT) and scope == SCOPE_UNIVERSE
            yield index, ip_interface((packed, length)), as_int(found.get(IFA_PROTO)), permanent


def whole_dump() -> bytes:
    """Return the body of a request for every address of a namespace."""
    return _HEADER.pack(0, 0, 0, 0, 0)


def addresses_on(bodies: Iterable[bytes], index: int) -> list[bytes]:
    """Return those of a dump that somebody has given to a link: not what the kernel makes itself, nor routers announce.

    They are in the order in which they are to be given again: the kernel lists the newest IPv6 address first.
    """
    found = [
        body
        for body in bodies
        if _HEADER.unpack_from(body)[4] == index
        and as_int(attributes(body, _HEADER.size).get(IFA_PROTO)) not in (*_KERNEL_MADE, PROTOCOL)
    ]
    ipv4 = [body for body in found if body[0] == FAMILY[4]]
    return ipv4 + [body for body in reversed(found) if body[0] == FAMILY[6]]


def with_index(body: bytes, index: int, seconds: int) -> Message | None:
    """Return the message that gives an address of a dump to the link `index`, `seconds` later; None if it has run out since."""
    family, length, flags, scope, _ = _HEADER.unpack_from(body)
    found = attributes(body, _HEADER.size)
    lifetimes = found.get(_CACHE)
    if lifetimes is not None:
        preferred, valid, *stamps = _LIFETIMES.unpack(lifetimes)
        if valid != _FOREVER and valid <= seconds:
            return None
        left = [time if time == _FOREVER else max(0, time - seconds) for time in (preferred, valid)]
        found[_CACHE] = _LIFETIMES.pack(*left, *stamps)
    rest = b"".join(attribute(kind, data) for kind, data in found.items())
    return Message(RTM_NEWADDR, CREATE | EXCL, _HEADER.pack(family, length, flags, scope, index) + rest)


def _body(wanted: Address, index: int) -> bytes:
    interface = wanted.address
    packed = interface.ip.packed
    flags = _NODAD if interface.version == 6 else 0
    header = _HEADER.pack(FAMILY[interface.version], interface.network.prefixlen, flags, _scope(interface), index)
    parts = [header, attribute(_LOCAL, packed), attribute(_ADDRESS, packed), u8(IFA_PROTO, PROTOCOL)]
    if interface.version == 4 and interface.network.prefixlen < 31:
        parts.append(attribute(_BROADCAST, interface.network.broadcast_address.packed))
    return b"".join(parts)


def _scope(interface: IPInterface) -> int:
    if interface.ip.is_loopback:
        return SCOPE_HOST
    return SCOPE_LINK if interface.ip.is_link_local else SCOPE_UNIVERSE
