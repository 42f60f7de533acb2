"""Endpoints that Docker asks for: a link that is handed over, and what is known of the container later.

libnetwork takes the far end of a pair, or the whole macvlan, ipvlan or VLAN, from the host's namespace, names it and gives it
the address that our IPAM chose, before the container's first instruction. Doing that ourselves would collide with the default
routes of other drivers in one container.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from wefted.drivers import DRIVERS, refuse_link, refuse_second
from wefted.errors import Exhausted, InUse, KernelError, NotFound, UsageError
from wefted.model import naming, spec
from wefted.model.link import LinkState, Veth
from wefted.model.network import Endpoint, Network, PortMapping, endpoint_id
from wefted.model.objects import HOST, IPAddress, KernelObject, Key, Netns
from wefted.runtime.namespace import identity_of

from .addressing import Addressing, placed
from .attachment import Attachment, refused
from .docker_networks import DockerNetworks, stand_in
from .docker_records import OWNER, DockerRecords
from .endpoints import Endpoints
from .host import Host
from .intent import free_ports, ports_from
from .planner import plan_endpoint
from .publishing import Publishing

log = logging.getLogger("wefted.docker")

FIRST_FREE_PORT, LAST_FREE_PORT = 49153, 65535
"""From which a published port is taken that names none, as Docker does."""
ORPHAN_AGE = 10.0
"""Seconds after which what Docker does not know is nobody's: between its calls there are milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWish:
    """A port to publish; of `numbers` the first one that is free."""

    numbers: range
    port: int
    protocol: str = "tcp"
    host_ip: IPAddress | None = None

    def mappings(self) -> Iterator[PortMapping]:
        """Yield what would do, the best first."""
        for number in self.numbers:
            yield PortMapping(host_port=number, port=self.port, protocol=self.protocol, host_ip=self.host_ip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What Docker tells of an endpoint when it is asked: its container."""

    container_id: str
    """Empty while the container is being started."""
    name: str
    aliases: tuple[str, ...] | None = None
    """None: not asked for."""


class DockerEndpoints:
    """Every method takes the host's lock itself."""

    def __init__(
        self, host: Host, records: DockerRecords, networks: DockerNetworks, endpoints: Endpoints, publishing: Publishing
    ) -> None:
        self._host = host
        self._records = records
        self._networks = networks
        self._endpoints = endpoints
        self._publishing = publishing
        self._addressing = Addressing(host)
        self._attachment = Attachment(host)
        self.joined = asyncio.Event()
        """Set when a container has come whose name is to be asked for."""
        self._orphans: dict[str, float] = {}
        """Endpoint ids and addresses' owners that Docker does not know -> since when."""

    # -- Docker's calls --------------------------------------------------------------------------------------------

    async def create(self, network_id: str, identifier: str, addresses: Sequence[str], mac: str, publishes: bool) -> Endpoint:
        """Write an endpoint down; `addresses` are Docker's, with their length, none: ours are taken. Raises `WeftedError`."""
        network = await self._networks.ready(network_id)
        async with self._host.lock:
            known = self._known(network_id, identifier)
            if known is not None:
                return known
            self._refuse(network, mac, publishes)
            draft = Endpoint(
                network=network.name,
                container=f"docker:{identifier[:12]}",
                made_for=made_for(identifier),
                plugged=True,
                mac=spec.mac(mac) if mac else "",
                bridge=self._host.places.choose(network, publishes=publishes),
            )
            refuse_second(network, draft, self._host.endpoints.values())
            if addresses and self._records.networks[network_id].ours:
                endpoint = self._with(draft, network, addresses)
                await self._host.keep([endpoint])
                return endpoint
            wanted = [text.partition("/")[0] for text in addresses]
            granted = await self._addressing.grant(network, draft, wanted)
            await self._host.keep([granted.endpoint], granted.ops)
            return granted.endpoint

    async def join(self, network_id: str, identifier: str, sandbox: str) -> tuple[Endpoint, Network]:
        """Make the links. Raises `WeftedError`, and then nothing of it is left."""
        network = await self._networks.ready(network_id)
        async with self._host.lock:
            endpoint = self._existing(network_id, identifier)
            ns = Netns(sandbox)
            joined = replace(endpoint, ns=ns, identity=identity_of(ns) or "")
            await self._host.see_links([network])
            refuse_link(network, self._host.facts)
            await self._host.keep([joined])
            report = await self._attachment.make(self._handed_over(network, joined), handing=True)
            if report.failures:
                await self._endpoints.following.left(joined)
                raise refused(joined, report)
            self.joined.set()
            return joined, network

    async def leave(self, network_id: str, identifier: str) -> None:
        """Remove the links; nothing happens where there are none."""
        async with self._host.lock:
            endpoint = self._known(network_id, identifier)
            if endpoint is not None and endpoint.attached:
                await self._endpoints.following.left(replace(endpoint, ports=()))

    async def delete(self, network_id: str, identifier: str) -> None:
        """Forget an endpoint; one that is unknown is forgotten already."""
        async with self._host.lock:
            endpoint = self._known(network_id, identifier)
            if endpoint is not None:
                await self._endpoints.detach([endpoint])

    async def publish(self, network_id: str, identifier: str, wishes: Iterable[PortWish]) -> None:
        """Publish ports. Raises `UsageError`, `InUse`."""
        async with self._host.lock:
            endpoint = self._existing(network_id, identifier)
            ports: list[PortMapping] = []
            for wish in wishes:
                ports.append(self._free(wish, endpoint, ports))
            bound = ports_from(map(str, ports), self._host.view.networks[endpoint.network])
            if bound != endpoint.ports:
                await self._publishing.republish(endpoint, bound)

    async def unpublish(self, network_id: str, identifier: str) -> None:
        """Take all ports of an endpoint back."""
        async with self._host.lock:
            endpoint = self._known(network_id, identifier)
            if endpoint is not None and endpoint.ports:
                await self._publishing.republish(endpoint, ())

    def _free(self, wish: PortWish, endpoint: Endpoint, ports: Iterable[PortMapping]) -> PortMapping:
        others = [e for e in self._host.endpoints.values() if e.ports and e.id != endpoint.id]
        others.append(replace(endpoint, made_for="", container="docker:itself", ports=tuple(ports)))
        refusal: InUse | None = None
        for choice in wish.mappings():
            try:
                free_ports([choice], endpoint.id, others)
            except InUse as error:
                refusal = refusal or error
            else:
                return choice
        raise refusal or Exhausted("no port was asked for")

    def _with(self, draft: Endpoint, network: Network, texts: Sequence[str]) -> Endpoint:
        """Return a draft with the addresses that our IPAM gave to Docker before."""
        segment = self._host.segment(network)
        own = [ip_interface(text) for text in texts]
        blocks = [lease.block for lease in segment.leases]
        for interface in own:
            if not any(interface.version == block.version and interface.ip in block for block in blocks):
                raise NotFound(f"{interface.ip} lies in no block of network {network.name!r} that this host owns")
        gateways = tuple(g for interface in own if (g := placed(segment, interface.ip)[1]) is not None)
        mac = draft.mac or naming.mac_of_address(own[0].ip)
        return replace(draft, addresses=tuple(own), gateways=gateways, default_route=bool(gateways), mac=mac)

    def _handed_over(self, network: Network, endpoint: Endpoint) -> dict[Key, KernelObject]:
        """Return an endpoint's objects with the far end where Docker takes it from."""
        objects = plan_endpoint(self._host.segment(network), endpoint)
        key = ("link", HOST, endpoint.link)
        pair = objects.get(key)
        if isinstance(pair, Veth):
            objects[key] = replace(pair, peer_ns=HOST, peer_name=endpoint.far_link)
        return objects

    def _refuse(self, network: Network, mac: str, publishes: bool) -> None:
        """Raise `UsageError` for what is asked of an endpoint and its network cannot have."""
        if publishes and not DRIVERS[network.driver].host_gateway:
            raise UsageError(
                f"network {network.name!r} cannot publish ports: with driver {network.driver} traffic does not pass the host",
                "leave -p out: the LAN reaches the container at its own address",
            )
        if mac and network.driver == "ipvlan":
            raise UsageError(
                f"network {network.name!r}: with driver ipvlan all containers have the MAC of the host's link",
                "leave --mac-address out",
            )

    def _existing(self, network_id: str, identifier: str) -> Endpoint:
        endpoint = self._known(network_id, identifier)
        if endpoint is None:
            raise NotFound(f"wefted knows no endpoint {identifier[:12]} of Docker", "restart the container")
        return endpoint

    def _known(self, network_id: str, identifier: str) -> Endpoint | None:
        known = self._records.networks.get(network_id)
        name = known.name if known is not None else ""
        return self._host.endpoints.get(endpoint_id(name, made_for(identifier)))

    # -- what Docker tells when it is asked ------------------------------------------------------------------------

    def nameless(self) -> set[str]:
        """Return Docker's identifiers of the networks in which a container's name is not known yet."""
        waiting = {e.network for e in self._host.endpoints.values() if e.plugged and e.attached and not e.engine_id}
        return {known.id for known in self._records.networks.values() if known.name in waiting}

    async def learn(self, network_id: str, members: Mapping[str, Member]) -> None:
        """Take the names of containers, by Docker's identifiers of their endpoints."""
        async with self._host.lock:
            for identifier, member in members.items():
                endpoint = self._known(network_id, identifier)
                if endpoint is not None:
                    await self._name(endpoint, member)

    def without_aliases(self, network_id: str, members: Mapping[str, Member]) -> list[str]:
        """Return the endpoints whose container runs and was not asked for its aliases yet: it always has one, its own name."""
        known = {i: self._known(network_id, i) for i, member in members.items() if member.container_id}
        return [i for i, endpoint in known.items() if endpoint is not None and not endpoint.aliases]

    async def _name(self, endpoint: Endpoint, member: Member) -> None:
        aliases = endpoint.aliases if member.aliases is None else tuple(_usable(member.aliases))
        ifname = endpoint.ifname if endpoint.engine_id or not endpoint.attached else await self._given_name(endpoint)
        named = replace(
            endpoint, container=f"docker:{member.name}", engine_id=member.container_id, aliases=aliases, ifname=ifname
        )
        if named != endpoint:
            self._host.containers.get(endpoint.container, set()).discard(endpoint.id)
            await self._host.keep([named])

    async def _given_name(self, endpoint: Endpoint) -> str:
        """Return the name that Docker gave an interface in its container: it counts them itself, and tells nobody."""
        if not DRIVERS[self._host.view.networks[endpoint.network].driver].host_gateway:
            return endpoint.ifname  # its link is ours in the container as well, and is known by its name
        try:
            state = await self._host.worker(self._host.kernel.read, endpoint.ns)
        except KernelError:
            return endpoint.ifname
        links = (item for item in state.objects.values() if isinstance(item, LinkState))
        return next((link.name for link in links if link.mac == endpoint.mac), endpoint.ifname)

    async def look(self) -> None:
        """Detach those whose sandbox is gone, as after a boot of the host, so that nothing is made for them."""
        async with self._host.lock:
            for endpoint in [e for e in self._host.endpoints.values() if e.plugged and e.attached and e.identity]:
                if identity_of(endpoint.ns) != endpoint.identity:
                    await self._endpoints.following.left(replace(endpoint, ports=()))

    async def forget_unknown(self, network_id: str, members: Iterable[str], age: float = ORPHAN_AGE) -> int:
        """Drop the endpoints and addresses of a network that Docker has forgotten for a while; return how many."""
        async with self._host.lock:
            known = self._records.networks.get(network_id)
            if known is None or not known.name:
                return 0
            alive = {endpoint_id(known.name, made_for(identifier)) for identifier in members}
            mine = [e for e in self._host.members_of(known.name) if e.plugged]
            doomed = self._old({e.id for e in mine if e.id not in alive}, f"{network_id} e", age)
            leaked = [e for e in mine if e.id in doomed]
            for endpoint in leaked:
                log.warning("docker has forgotten an endpoint", extra={"container": endpoint.container, "network": known.name})
            await self._endpoints.detach(leaked)
            return len(leaked) + await self._free_unused(known.name, network_id, age)

    async def forget_networks(self, alive: Iterable[str], age: float = ORPHAN_AGE) -> None:
        """Drop the networks that Docker has forgotten for a while, with their endpoints."""
        unknown = {i for i in self._records.networks if i not in set(alive)}
        for identifier in self._old(unknown, "networks", age):
            await self.forget_unknown(identifier, (), 0.0)
            await self._networks.delete(identifier)

    async def forget_pools(self, alive: Iterable[str], age: float = ORPHAN_AGE) -> None:
        """Drop the pools with which Docker has had no network for a while."""
        async with self._host.lock:
            known = set(alive)
            for identifier in self._old({i for i in self._records.pools if i not in known}, "pools", age):
                pool = self._records.pools[identifier]
                if pool.network not in self._records.networks:
                    await self._records.drop_pool(pool, self._host.book.forget(stand_in(pool)))

    async def _free_unused(self, name: str, network_id: str, age: float) -> int:
        """Free the addresses that were asked for and that no endpoint came for."""
        used = {a.ip for e in self._host.members_of(name) for a in e.addresses}
        book = self._host.book
        owners = {book.owner(name, a) for a in book.claimed(name, OWNER) if a not in used}
        doomed = self._old(owners, f"{network_id} a", age)
        for owner in doomed:
            ops = book.free(owner)
            book.written(ops, await self._host.local.write(ops))
        return len(doomed)

    def _old(self, missing: set[str], place: str, age: float) -> set[str]:
        """Return those of `missing` that have been missing at this place for long."""
        now = time.monotonic()
        prefix = f"{place} "
        for key in [k for k in self._orphans if k.startswith(prefix) and k.removeprefix(prefix) not in missing]:
            del self._orphans[key]
        return {m for m in missing if now - self._orphans.setdefault(prefix + m, now) >= age}


def made_for(identifier: str) -> str:
    """Return what the key of an endpoint's record follows from: the container's name is told later, and may change."""
    return f"docker/{identifier}"


def _usable(aliases: Iterable[str]) -> Iterable[str]:
    """Yield the aliases that are names of ours."""
    for text in aliases:
        try:
            yield spec.alias(text)
        except Exception:
            log.debug("no name", extra={"alias": text})
