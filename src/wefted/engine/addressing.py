"""Addresses for endpoints: blocks from the cluster, addresses from the blocks, gateways from where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from wefted.errors import Exhausted, InUse, UsageError
from wefted.ipam import allocator
from wefted.ipam.leases import block_length, choose_block
from wefted.model import naming, options, spec
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, Segment, Subnet
from wefted.model.objects import IPAddress, IPInterface
from wefted.model.records import Op

from . import hostkeys, strangers
from .announcing import announced
from .host import Host
from .planner import is_island


@dataclass(frozen=True, slots=True)
class Grant:
    """An endpoint with its addresses; the local writes that make them its own; whether a block was taken for it."""

    endpoint: Endpoint
    ops: tuple[Op, ...]
    fresh_lease: bool


class Addressing:
    """Uses the host's records; the lock is held."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def grant(self, network: Network, draft: Endpoint, wanted: Sequence[str], gateways: Sequence[str] = ()) -> Grant:
        """Give `draft` an address in each subnet: the ones that were asked for, else the lowest free.

        A network without subnets hands out none: what was asked for, with its prefix length, is all that `draft` gets.
        `gateways` replace those of the network. Raises `UsageError`, `InUse`, `Exhausted`.
        """
        own = _gateways(gateways)
        if not network.subnets:
            return Grant(_with_default(replace(draft, addresses=self._told(network, draft, wanted), gateways=own)), (), False)
        try:
            return await self._granted(network, draft, wanted, own)
        except BaseException:
            await self._host.book.load()  # forget what was claimed in memory and will not be written
            raise

    async def _granted(self, network: Network, draft: Endpoint, wanted: Sequence[str], own: Sequence[IPAddress]) -> Grant:
        chosen = self._chosen(network, [spec.address(text) for text in wanted])
        fresh = False
        ops: list[Op] = []
        addresses: list[IPInterface] = []
        gateways: list[IPAddress] = []
        for subnet in _served(network, draft):
            address, claimed, new = await self._vacant(network, subnet, draft.id, chosen.get(subnet))
            fresh = fresh or new
            ops += claimed
            interface, gateway = placed(self._host.segment(network), address)
            addresses.append(interface)
            if gateway is not None and not any(g.version == gateway.version for g in own):
                gateways.append(gateway)
        endpoint = replace(draft, addresses=tuple(addresses), gateways=(*own, *gateways))
        return Grant(_with_default(endpoint), tuple(ops), fresh)

    def _told(self, network: Network, draft: Endpoint, texts: Sequence[str]) -> tuple[IPInterface, ...]:
        """Return addresses that the user chose. Raises `InUse` where another container of the network has one of them."""
        addresses = tuple(dict.fromkeys(spec.interface_address(text) for text in texts))
        taken = {a.ip: e for e in self._host.members_of(network.name) for a in e.addresses}
        taken |= {
            a.ip: e
            for _, e in self._host.view.endpoints_elsewhere(self._host.node.id)
            if e.network == network.name
            for a in e.addresses
        }
        for address in addresses:
            other = taken.get(address.ip)
            if other is not None and other.id != draft.id:
                raise InUse(f"{address.ip} belongs to {other.container} in network {network.name!r}", "choose another address")
        return addresses

    async def give_back(self, network: Network) -> None:
        """Release this node's blocks of a network in which it has no endpoint."""
        host = self._host
        if is_flannel(network) or network.name in host.members:
            return
        for lease in host.segment(network).leases:
            await allocator.release(host.cluster, lease, island=is_island(network))
        await host.refresh()

    async def has_room(self, network: Network) -> bool:
        """Tell whether there is a free address in each subnet, in our blocks or in one that we can still take."""
        for subnet in network.subnets:
            segment = self._host.segment(network)
            length = block_length(subnet.prefix, options.integer(network, "block", 0, range(1, 129)) or None)
            taken = [lease.block for lease in self._host.view.leases_of(network.name)]
            another = not segment.leases if is_island(network) else choose_block(subnet, length, taken, None) is not None
            if not another and not self._host.book.has_room(segment, subnet):
                return False
        return True

    async def refresh(self) -> None:
        """Write our leases again where they were lost, or where our underlay or what we announce has changed."""
        host = self._host
        mine = [n for n in host.view.networks.values() if not is_flannel(n)]
        await hostkeys.learn_quietly(host, mine)
        for network in mine:
            for lease in host.segment(network).leases:
                current = replace(lease, underlay=host.node.addresses, data=await self._announced(network) or lease.data)
                if current != lease:
                    await self._remember(await allocator.refresh(host.cluster, current, island=is_island(network)))

    def _chosen(self, network: Network, addresses: Sequence[IPAddress]) -> dict[Subnet, IPAddress]:
        found: dict[Subnet, IPAddress] = {}
        for address in addresses:
            subnet = network.subnet_of(address)
            if subnet is None:
                prefixes = ", ".join(str(s.prefix) for s in network.subnets) or "none"
                raise UsageError(
                    f"{address} lies outside network {network.name!r} ({prefixes})", "leave --ip out, or choose one inside"
                )
            if subnet in found:
                raise UsageError(f"one address in each subnet: {found[subnet]} and {address} are both in {subnet.prefix}")
            found[subnet] = address
        return found

    async def _vacant(
        self, network: Network, subnet: Subnet, owner: str, explicit: IPAddress | None
    ) -> tuple[IPAddress, Sequence[Op], bool]:
        """Take an address; in somebody else's bridge one that nobody answers for. What was told is taken as it is."""
        theirs: list[IPAddress] = []
        while True:
            address, ops, fresh = await self.claim(network, subnet, owner, explicit)
            if explicit is not None or not network.guest_of or not await strangers.has(self._host, network.guest_of, address):
                return address, ops, fresh
            theirs.append(address)
            await self._host.book.load()
            for other in theirs:  # in memory alone: they may be free when we start the next time
                self._host.book.claim(f"stranger at {other}", self._host.segment(network), subnet, other)

    async def claim(
        self, network: Network, subnet: Subnet, owner: str, explicit: IPAddress | None
    ) -> tuple[IPAddress, Sequence[Op], bool]:
        """Take an address from our blocks, or from a further block where they are full or do not hold it."""
        host = self._host
        segment = host.segment(network)
        try:
            address, ops = host.book.claim(owner, segment, subnet, explicit)
        except Exhausted:
            lease = await self.acquire(network, subnet, explicit)
            address, ops = host.book.claim(owner, host.segment(network), subnet, explicit)
            return address, ops, lease is not None
        return address, ops, False

    async def acquire(self, network: Network, subnet: Subnet, containing: IPAddress | None = None) -> Lease:
        """Take a further block. Raises `Unreachable`, `InUse`, `Exhausted`."""
        host = self._host
        if is_flannel(network):
            raise Exhausted(
                f"flannel network {network.name!r}: the subnet of this host does not have this address, or is full",
                "a host has one subnet there: wefted flannel ls",
            )
        await hostkeys.learn(host, [network])
        length = block_length(subnet.prefix, options.integer(network, "block", 0, range(1, 129)) or None)
        lease = await allocator.acquire(
            host.cluster,
            network.name,
            subnet,
            host.node,
            length,
            containing=containing,
            owned=[lease.block for lease in host.segment(network).leases],
            data=await self._announced(network),
            island=is_island(network),
        )
        await self._remember(lease)
        return lease

    async def _announced(self, network: Network) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((await announced(self._host, network)).items()))

    async def _remember(self, lease: Lease) -> None:
        await self._host.refresh()


def placed(segment: Segment, address: IPAddress) -> tuple[IPInterface, IPAddress | None]:
    """Return an address with its prefix length, and the gateway that its container uses."""
    lease = next(lease for lease in segment.leases if lease.block.version == address.version and address in lease.block)
    interface = ip_interface((address, segment.prefixlen(lease)))
    if segment.single and segment.host_gateway:
        gateways = [g.ip for g in segment.gateways if g.network == interface.network]
        return interface, gateways[0] if gateways else None
    return interface, segment.gateway_of(lease)


def _gateways(texts: Sequence[str]) -> tuple[IPAddress, ...]:
    found = tuple(spec.address(text) for text in texts)
    if len({gateway.version for gateway in found}) < len(found):
        raise UsageError(f"one gateway for each IP version, not {', '.join(texts)}")
    return found


def _with_default(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose default route needs a gateway, and with its MAC."""
    has_default = endpoint.default_route and bool(endpoint.gateways)
    return replace(endpoint, default_route=has_default, mac=endpoint.mac or _mac(endpoint))


def _served(network: Network, draft: Endpoint) -> Sequence[Subnet]:
    """Return the subnets in which we choose the address: with DHCP the IPv6 ones alone."""
    return network.subnets if draft.dhcp is None else [subnet for subnet in network.subnets if subnet.prefix.version == 6]


def _mac(endpoint: Endpoint) -> str:
    """Return a MAC that follows from the address, so that peers' ARP entries outlive a restart."""
    if not endpoint.addresses:
        return naming.mac_of(endpoint.network, endpoint.container)
    return naming.mac_of_address(endpoint.addresses[0].ip)
