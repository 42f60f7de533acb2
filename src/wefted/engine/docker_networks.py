"""Networks that Docker asks for: told at once what is wrong with them, made in the cluster as soon as their name is known.

Docker waits for nobody but this process while it makes a network, and does not say what it is called. So a request is checked
and written down; afterwards `settle` asks for the name, makes the network or joins the one that other hosts have made under
this name, and takes a block of it, so that a container that comes later needs nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from wefted.drivers import DRIVERS, refuse_link
from wefted.errors import Conflict, InUse, NotFound, Unreachable, Unsupported, UsageError, WeftedError
from wefted.model import spec
from wefted.model.network import Network, Subnet
from wefted.model.objects import HOST, IPNetwork
from wefted.model.plugin import DockerNetwork, DockerPool

from .addressing import Addressing
from .docker_records import DockerRecords
from .host import Host
from .intent import network_from, supported
from .networks import Networks
from .operations import NetworkCreate

log = logging.getLogger("wefted.docker")

PLUGGABLE = ("bridge", "macvlan", "ipvlan", "vlan")
"""The drivers whose interface can be handed over."""
MADE_BY = ("wefted.made-by", "docker")
"""The label of networks that go when the last Docker has removed them."""
PATIENCE = 5.0
"""Seconds that a container waits for its network's name, or for the cluster to have the network."""

Ask = Callable[[str], Awaitable[str]]
"""Returns Docker's name of a network by its identifier, or "" when it does not say."""


class DockerNetworks:
    """Every method takes the host's lock itself."""

    def __init__(self, host: Host, records: DockerRecords, networks: Networks) -> None:
        self._host = host
        self._records = records
        self._networks = networks
        self._addressing = Addressing(host)
        self.wanted = asyncio.Event()
        """Set when there is something to settle."""
        self._settled = asyncio.Event()

    async def create(self, asked: DockerNetwork) -> None:
        """Take a network. Raises `UsageError` for one that cannot be; nothing is made yet."""
        if asked.id in self._records.networks:
            return
        refuse_driver(asked.driver or "bridge")
        name = spec.network_name(asked.name) if asked.name else f"docker-{asked.id[:12]}"
        facts = await self._host.look()
        async with self._host.lock:
            prefixes = {subnet.prefix for subnet in asked.subnets}
            others = {
                n: known
                for n, known in self._host.view.networks.items()
                if n != name and not prefixes & {subnet.prefix for subnet in known.subnets}
            }
            network = network_from(_request(asked, name), others, facts)
            known = {subnet.prefix for other in self._host.view.networks.values() for subnet in other.subnets}
            await self._fits(network)
            _refuse_choice(asked, network, known)
            if asked.name and asked.name in self._host.view.networks:
                _refuse_other(asked, self._host.view.networks[asked.name])
            pools = [replace(p, network=asked.id) for p in self._records.pools.values() if p.prefix in prefixes]
            await self._records.keep(replace(asked, ours=bool(pools)), *pools)
            for pool in pools:
                await self._host.local.write(self._host.book.forget(stand_in(pool)))
        self.wanted.set()

    async def delete(self, identifier: str) -> None:
        """Forget a network; the cluster hears of it later."""
        async with self._host.lock:
            known = self._records.networks.get(identifier)
            if known is not None:
                await self._records.drop_network(known)
        self.wanted.set()

    async def ready(self, identifier: str) -> Network:
        """Return our network as soon as it has a name and a block of this host. Raises `WeftedError` when that takes long."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            known = self._records.networks.get(identifier)
            if known is None:
                raise NotFound(
                    f"wefted knows no network {identifier[:12]} of Docker", "make it again: docker network rm, create"
                )
            if known.trouble:
                raise UsageError(known.trouble, "docker network rm it, and make it as the network of that name is")
            if self._is_settled(known):
                return self._host.view.networks[known.name]
            self.wanted.set()
            self._settled.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._settled.wait()
            except TimeoutError:
                raise self._late(known) from None

    async def settle(self, ask: Ask) -> bool:
        """Bring names, networks and blocks in line with what Docker has asked for; whether nothing is left to do."""
        self.wanted.clear()
        done = True
        for known in list(self._records.networks.values()):
            try:
                done &= await self._settle(known, ask)
            except (Unreachable, Conflict) as error:
                self._host.store_error = error.message
                done = False
            except UsageError as error:
                await self._trouble(known.id, error.message)
            except WeftedError as error:
                log.warning("network of docker", extra={"network": known.name, "error": error.message})
                done = False
            self._settled.set()
        for name in list(self._records.gone):
            try:
                await self._give_up(name)
            except (Unreachable, Conflict):
                done = False
        return done

    def _is_settled(self, known: DockerNetwork) -> bool:
        network = self._host.view.networks.get(known.name)
        if network is None or not known.name:
            return False
        blocks = [lease.block for lease in self._host.segment(network).leases]
        return all(any(b.version == s.prefix.version and b.overlaps(s.prefix) for b in blocks) for s in network.subnets)

    def _late(self, known: DockerNetwork) -> WeftedError:
        if not known.name:
            return WeftedError(
                f"Docker has not told the name of network {known.id[:12]} yet", "try again, or make it with -o network=NAME"
            )
        why = self._host.store_error or "the agent is busy"
        return Unreachable(f"network {known.name!r} is not ready on this host: {why}", "see: wefted status")

    async def _settle(self, known: DockerNetwork, ask: Ask) -> bool:
        if self._is_settled(known) and not known.trouble:
            return True
        name = known.name or await ask(known.id)
        if not name:
            return False
        if not known.name:
            await self._update(known.id, name=spec.network_name(name))
        await self._host.reach()
        async with self._host.lock:
            current = self._records.networks.get(known.id)
            if current is None:
                return True
            await self._host.refresh()
            network = self._host.view.networks.get(name) or await self._make(current)
            _refuse_other(current, network)
            await self._fits(network)
            await self._take_blocks(current, network)
            await self._host.converge({HOST})
        await self._update(known.id, trouble="")
        return True

    async def _fits(self, network: Network) -> None:
        """Raise `UsageError` for a network that Docker's containers cannot join on this host."""
        refuse_driver(network.driver)
        if network.option("host_access") == "on":
            raise Unsupported(
                f"network {network.name!r}: Docker's containers cannot have host_access, which is a neighbour inside each",
                "leave -o host_access=on out, or connect the container yourself: wefted network connect",
            )
        if network.option("ipam") == "dhcp":
            raise Unsupported(
                f"network {network.name!r}: Docker's containers cannot have addresses by DHCP: Docker wants them first",
                "leave -o ipam=dhcp out, or connect the container yourself: wefted network connect",
            )
        supported(network, self._host.facts)
        await self._host.see_links([network])
        refuse_link(network, self._host.facts)

    async def _trouble(self, identifier: str, message: str) -> None:
        known = self._records.networks.get(identifier)
        if known is not None and known.trouble != message:
            log.warning("network of docker", extra={"network": known.name, "error": message})
            await self._update(identifier, trouble=message)

    async def _update(self, identifier: str, **changes: str) -> None:
        async with self._host.lock:
            known = self._records.networks.get(identifier)
            if known is not None and (changed := replace(known, **changes)) != known:  # type: ignore[arg-type]
                await self._records.keep(changed)

    async def _make(self, known: DockerNetwork) -> Network:
        try:
            return await self._networks.make(_request(known, known.name))
        except InUse:
            await self._host.refresh()
            if (found := self._host.view.networks.get(known.name)) is not None:
                return found
            if known.asked:
                raise
        # Another host has chosen the same subnet a moment before.
        versions = {subnet.prefix.version for subnet in known.subnets}
        return await self._networks.make(replace(_request(known, known.name), subnets=(), ipv6=6 in versions))

    async def _take_blocks(self, known: DockerNetwork, network: Network) -> None:
        blocks = [lease.block for lease in self._host.segment(network).leases]
        for subnet in network.subnets:
            if not any(b.version == subnet.prefix.version and b.overlaps(subnet.prefix) for b in blocks):
                await self._addressing.acquire(network, self.local_subnet(known, subnet))

    def local_subnet(self, known: DockerNetwork, subnet: Subnet) -> Subnet:
        """Return a subnet with the range that this host's Docker was told to stay in."""
        told = next((s for s in known.subnets if s.prefix == subnet.prefix and s.ip_range is not None), None)
        return subnet if told is None else replace(subnet, ip_range=told.ip_range)

    async def _give_up(self, name: str) -> None:
        """Give this host's blocks of a network back, and remove it with the last ones where Docker had made it."""
        await self._host.reach()
        async with self._host.lock:
            await self._host.refresh()
            network = self._host.view.networks.get(name)
            if network is not None and name not in self._records.bound():
                await self._addressing.give_back(network)
                elsewhere = [e for _, e in self._host.view.endpoints_elsewhere(self._host.node.id) if e.network == name]
                if MADE_BY in network.labels and not elsewhere and not self._host.view.leases_of(name):
                    await self._networks.unmake(network)
                await self._host.converge({HOST})
            await self._records.settled(name)


def stand_in(pool: DockerPool) -> str:
    """Return under which name the addresses of a pool are kept whose network is not one of ours."""
    return f"docker:{pool.id.replace('/', '-')}"


def _request(asked: DockerNetwork, name: str) -> NetworkCreate:
    return NetworkCreate(
        name=name,
        driver=asked.driver or "bridge",
        backend=asked.backend or "none",
        subnets=tuple(str(s.prefix) for s in asked.subnets),
        gateways=tuple(str(s.gateway) for s in asked.subnets if s.gateway is not None),
        auxiliary=tuple(str(a) for s in asked.subnets for a in s.auxiliary),
        mtu=asked.mtu,
        internal=asked.internal,
        masquerade=asked.masquerade,
        isolated=asked.isolated,
        options=asked.options,
        labels=(MADE_BY,),
    )


def refuse_driver(driver: str) -> None:
    """Raise `UsageError` for a driver whose interface Docker cannot move into the container; unknown ones are told later."""
    if driver in DRIVERS and driver not in PLUGGABLE:
        raise UsageError(
            f"a network of Docker cannot have the driver {driver!r}: Docker moves the interface itself",
            f"use -o driver= one of {', '.join(PLUGGABLE)}, or connect the container yourself: wefted network connect",
        )


def _refuse_choice(asked: DockerNetwork, network: Network, known: Collection[IPNetwork]) -> None:
    """Raise `UsageError` for a LAN whose addresses nobody has said: any of our choice would be another network's there."""
    guessed = [s.prefix for s in network.subnets if s.prefix not in known]
    if guessed and not asked.asked and not DRIVERS[network.driver].host_gateway:
        raise UsageError(
            f"a network with driver {network.driver} is in the LAN of the host's link, whose addresses Docker must be told",
            "for example: --subnet 192.168.1.0/24 --ip-range 192.168.1.128/25 --gateway 192.168.1.1",
        )


def _refuse_other(asked: DockerNetwork, network: Network) -> None:
    """Raise `InUse` where the network of this name is not what was asked for."""
    told = {"driver": (asked.driver, network.driver), "backend": (asked.backend, network.backend)}
    for word, (wanted, found) in told.items():
        if wanted and wanted != found:
            raise InUse(f"network {network.name!r} exists with {word} {found}, not {wanted}")
    if asked.internal != network.internal:
        raise InUse(f"network {network.name!r} exists, and is {'' if network.internal else 'not '}internal")
    wanted_prefixes = {subnet.prefix for subnet in asked.subnets}
    if asked.asked and not wanted_prefixes <= {subnet.prefix for subnet in network.subnets}:
        found_prefixes = ", ".join(str(subnet.prefix) for subnet in network.subnets)
        raise InUse(f"network {network.name!r} exists with subnet {found_prefixes}, not {', '.join(map(str, wanted_prefixes))}")
