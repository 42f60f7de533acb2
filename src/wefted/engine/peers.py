"""Single leases of other hosts that come, change or go: what they alone mean for the kernel, at once and without reading it.

A pass over the whole host reads a thousand routes for one that is new. It comes a moment later all the same, and has the last
word: what this step does not see, such as an entry that two hosts share, is repaired there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wefted.backends import BACKENDS
from wefted.model.lease import Lease
from wefted.model.network import Network
from wefted.model.objects import KernelObject, Key

from . import keys
from .diff import index
from .host import Host

FEW = 32
"""More leases than this at once are left to the pass."""


async def follow(host: Host, before: Mapping[str, Lease], changed: Iterable[str]) -> None:
    """Bring changed leases into the kernel; `before` are all leases as they were, by key. The lock is held."""
    touched = [key for key in changed if key.startswith(keys.LEASES)]
    if not 0 < len(touched) <= FEW:
        return
    now = host.view.leases
    known = [lease for key in touched for lease in (before.get(key), now.get(key)) if lease is not None]
    for name in {lease.network for lease in known}:
        network = host.view.networks.get(name)
        if network is None or network.backend not in BACKENDS or not host.segment(network).leases:
            continue
        nodes = {lease.node for lease in known if lease.network == name} - {host.node.id}
        await host.exchange(_planned(host, network, before.values(), nodes), _planned(host, network, now.values(), nodes))


def _planned(host: Host, network: Network, leases: Iterable[Lease], nodes: set[str]) -> dict[Key, KernelObject]:
    """Return what the backend plans for these nodes alone."""
    peers = [lease for lease in leases if lease.network == network.name and lease.node in nodes]
    return index(BACKENDS[network.backend].plan(host.segment(network), peers))
