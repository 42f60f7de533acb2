"""Whether somebody whom we do not know has an address: asked of a bridge that is not ours, before an address is given out."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from wefted.errors import WeftedError
from wefted.interfaces import FrameLink
from wefted.model.objects import HOST, IPAddress

from .host import Host

PROBES = 2
PATIENCE = 0.04
"""Seconds after each probe. Who is on the same bridge answers within one; RFC 5227 waits for whole LANs, and for seconds."""


async def has(host: Host, bridge: str, address: IPAddress) -> bool:
    """Tell whether an ARP probe (RFC 5227, 2.1) from the host's end of `bridge` is answered for `address`.

    An address that nobody answers for is free as far as anybody can tell; so it is where nothing can be asked.
    """
    if host.open_link is None or not isinstance(address, IPv4Address):
        return False
    try:
        link = await host.worker(host.open_link, HOST, bridge, None)
    except WeftedError:
        return False
    try:
        return await _answered(link, address)
    finally:
        link.close()


async def _answered(link: FrameLink, address: IPv4Address) -> bool:
    from wefted.services.dhcp import frame

    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    mac = bytes.fromhex(link.mac.replace(":", ""))
    loop.add_reader(link.fileno(), ready.set)
    try:
        for _ in range(PROBES):
            try:
                link.send(frame.arp(mac, frame.ANY, address))
            except OSError:
                return False
            end = loop.time() + PATIENCE
            while (rest := end - loop.time()) > 0:
                ready.clear()
                while (found := link.receive()) is not None:
                    seen = frame.parse(found[0])
                    if isinstance(seen, frame.Arp) and seen.sender == address and seen.mac != mac:
                        return True
                try:
                    await asyncio.wait_for(ready.wait(), rest)
                except TimeoutError:
                    break
    finally:
        loop.remove_reader(link.fileno())
    return False
