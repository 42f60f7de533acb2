"""Hosts that are joined by commands of the user's, as flannel's backend of the same name does it. Pure.

    pre_startup      before this host has a block                none; what it says is announced
    post_startup     once this host has its block                NETWORK SUBNET IPV6SUBNET PUBLIC_IP PUBLIC_IPV6 are this host's
    subnet_add       for each block of another host              SUBNET or IPV6SUBNET and PUBLIC_IP, PUBLIC_IPV6 are the other's
    subnet_remove    when it is gone                             the same

On its standard input a command of a peer finds what the peer announces. Each is a line for `sh -c`, as flannel's documentation
says (flannel itself no longer uses a shell, and breaks its own examples). What was run is remembered, so it is run once: again
only when its text changes, or when the host has been booted, for then what it made is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wefted.errors import UsageError
from wefted.model.command import Command
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network, Segment
from wefted.model.objects import IPAddress, KernelObject

from . import checks


class ExtensionBackend:
    """Runs a command for each block of another host."""

    name = "extension"
    needs: tuple[str, ...] = ()
    layers: tuple[int, ...] = (3,)
    options: Mapping[str, str] = {
        "subnet_add": "command for each block of another host",
        "subnet_remove": "command when such a block is gone",
        "post_startup": "command once this host has a block",
        "pre_startup": "command before this host has a block; the others' commands read what it says",
    }

    def validate(self, network: Network) -> None:
        """Raise `Unsupported` for layer 2, `UsageError` without a subnet or a command."""
        checks.layer(network, self.layers)
        checks.some_subnet(network)
        if not network.option("subnet_add"):
            raise UsageError(f"network {network.name!r}: backend extension needs a command", "add -o subnet_add='ip route ...'")

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return 0: what the commands make is not known; `--mtu` says otherwise."""
        return 0

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return what this host's first command said, without the white space around it."""
        said = segment.said.strip()
        return {"data": said} if said else {}

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return "": whether there is a way is the command's business, and its failure is told as such."""
        return ""

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterator[KernelObject]:
        """Yield a command for this host, and one for each block of another."""
        network = segment.network
        first = before_lease(network)
        if first is not None and (segment.leases or is_flannel(network)):  # whoever is in flannel's network wants a lease
            yield first
        everywhere = [("NETWORK", str(subnet.prefix)) for subnet in network.subnets[:1]]
        if network.option("post_startup") and segment.leases:
            own = [pair for lease in segment.leases for pair in _subnet(lease)]
            environment = tuple(sorted((*everywhere, *own, *_public(segment.node.addresses))))
            yield Command(
                network=network.name, subject="this host", run=network.option("post_startup"), environment=environment
            )  # fmt: skip
        for peer in peers:
            yield Command(
                network=network.name, subject=str(peer.block), run=network.option("subnet_add"),
                undo=network.option("subnet_remove"), stdin=peer.get("data"),
                environment=tuple(sorted((*everywhere, *_subnet(peer), *_public(peer.underlay)))),
            )  # fmt: skip


def before_lease(network: Network) -> Command | None:
    """Return the command whose output this host's leases announce, None where the network has none."""
    line = network.option("pre_startup") if network.backend == "extension" else ""
    return Command(network=network.name, subject="this host's lease", run=line, announced=True) if line else None


def _subnet(lease: Lease) -> tuple[tuple[str, str], ...]:
    return (("SUBNET" if lease.block.version == 4 else "IPV6SUBNET", str(lease.block)),)


def _public(addresses: Sequence[IPAddress]) -> tuple[tuple[str, str], ...]:
    first = {address.version: address for address in reversed(addresses)}
    return tuple((name, str(first[version])) for version, name in ((4, "PUBLIC_IP"), (6, "PUBLIC_IPV6")) if version in first)
