"""This host's public WireGuard keys, which its networks announce: known as soon as a network needs one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from wefted.errors import WeftedError
from wefted.model.network import Network

if TYPE_CHECKING:
    from .host import Host

log = logging.getLogger("wefted.engine")


async def learn(host: Host, networks: Iterable[Network]) -> None:
    """Let a host know its keys for these networks, made if need be. Raises `UsageError`, `KernelError` for a damaged file."""
    files = {network.option("key_file") for network in networks if network.backend == "wireguard"}
    unknown = sorted(files - {file for file, _ in host.node.wireguard})
    if not unknown or host.find_key is None:
        return
    found = [(file, await host.worker(host.find_key, file)) for file in unknown]
    host.node = replace(host.node, wireguard=tuple(sorted((*host.node.wireguard, *found))))
    host.segments.clear()
    host.announce(())


async def learn_quietly(host: Host, networks: Iterable[Network]) -> None:
    """Do the same where that can be done; a network without its key is not joined, which `status` tells of its peers."""
    try:
        await learn(host, networks)
    except WeftedError as error:
        log.warning("no WireGuard key", extra={"error": error.message})
