"""What this host's leases tell its peers: what the backend announces, which may be what a command of the user's says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wefted.backends import BACKENDS, before_lease
from wefted.errors import KernelError
from wefted.model.command import Command
from wefted.model.network import Network
from wefted.model.objects import HOST, Change

from .host import Host
from .planner import segment_of


async def announced(host: Host, network: Network) -> Mapping[str, str]:
    """Return what a lease of this host says in a network; the lock is held where a command has to be run for it.

    Raises `KernelError` when that command fails; then no lease may be written.
    """
    segment = segment_of(network, host.node, ())
    command = before_lease(network)
    if command is not None:
        await host.network(network.name)  # a pass that does not see the network takes its command for one that is over
        segment = replace(segment, said=await host.worker(_said, host, command))
    return BACKENDS[network.backend].announce(segment)


def _said(host: Host, command: Command) -> str:
    """Return what a command has said, run now unless it was before."""
    before = host.kernel.read(HOST).objects.get(command.key)
    if before != command:
        (outcome,) = host.kernel.apply([Change(before, command)])
        if outcome.error:
            raise KernelError(
                f"network {command.network!r}: the command that comes before a lease failed: {outcome.error}",
                f"nothing was taken; the command: {command.run}",
                outcome.errno,
            )
        before = host.kernel.read(HOST).objects.get(command.key)
    return before.output if isinstance(before, Command) else ""
