"""The addresses of a host's links, and the one by which it would reach another: what a program asks before it has an agent."""

from __future__ import annotations

import socket
from contextlib import closing
from ipaddress import ip_address

from wefted.model.objects import IPAddress, IPInterface

from .address import dump
from .ifinfo import RTM_GETLINK, decode, dump_request
from .netlink import NetlinkSocket


def addresses() -> list[tuple[str, IPInterface]]:
    """Return the name of the link and the address, for each one of this namespace but loopback and link-local ones."""
    with closing(NetlinkSocket()) as sock:
        names = {link.index: link.name for link in map(decode, sock.dump(RTM_GETLINK, dump_request()))}
        found = [(names.get(index, ""), interface) for index, interface, _, _ in dump(sock)]
    return [(name, i) for name, i in found if name and not (i.ip.is_loopback or i.ip.is_link_local)]


def towards(target: IPAddress) -> IPAddress | None:
    """Return the address from which this host would send to `target`, or None where it has no route; nothing is sent."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), 9))
        except OSError:
            return None
        return ip_address(probe.getsockname()[0])
