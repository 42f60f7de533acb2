"""What the use cases of one host share: its stores, its kernel, its view of the cluster and its endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from wefted.drivers import DRIVERS
from wefted.errors import Conflict, NotFound, Unreachable, Unsupported, UsageError
from wefted.interfaces import FrameLink, Kernel, Passage, Programs, Runtime, Store
from wefted.ipam.allocator import AddressBook
from wefted.model import codec
from wefted.model.flannel_network import is_flannel
from wefted.model.nearest import guess
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.node import HostFacts, Node
from wefted.model.objects import IPAddress, IPNetwork, KernelObject, Key, Netns
from wefted.model.records import OLDEST, Delete, Item, Op, Put, Snapshot

from . import hostkeys, keys
from .cluster import ClusterView
from .intent import supported
from .places import Places
from .planner import follows_underlay, plan_node, segment_of, uses_links
from .reconcile import Reconciler, Report
from .worker import Worker

log = logging.getLogger("wefted.engine")


@dataclass
class Host:
    """Opened once by the wiring. Everything that changes it holds `lock`."""

    node: Node
    facts: HostFacts
    local: Store
    cluster: Store
    cluster_url: str
    kernel: Kernel
    worker: Worker
    runtimes: Mapping[str, Runtime]
    book: AddressBook
    shared: bool
    """Whether the cluster store is another one than the local state, so that what it says must be cached here."""
    live: bool = False
    """Whether an agent keeps this object: then what was planned before is known to be in place."""
    docker_user: Passage | None = None
    """The way through Docker's firewall, on hosts that may have one."""
    domain: str = "weft.internal"
    """What the names of containers end with."""
    dns: dict[str, Any] = field(default_factory=dict)
    """How the name server is: keys as in `status`."""
    docker: dict[str, Any] = field(default_factory=dict)
    """How Docker's plugin is, for `doctor`: plugin, networks, asks, error."""
    view: ClusterView = field(default_factory=ClusterView)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    containers: dict[str, set[str]] = field(default_factory=dict)
    """Container -> the ids of its endpoints: an attach must not look at all the others."""
    places: Places = field(default_factory=Places)
    """How full the bridges of each network are."""
    members: dict[str, set[str]] = field(default_factory=dict)
    """Network -> the ids of its endpoints on this host."""
    inside: dict[str, set[str]] = field(default_factory=dict)
    """Identity of a sandbox -> the ids of the endpoints in it: two names may mean one namespace."""
    segments: dict[str, Segment] = field(default_factory=dict)
    """By network, until something in the cluster changes."""
    failures: dict[str, str] = field(default_factory=dict)
    """Endpoint id -> why its attachment does not work."""
    store_error: str = ""
    last_pass: dict[str, Any] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unpublished: set[str] = field(default_factory=set)
    """Endpoint ids whose published record may differ from ours."""
    published: asyncio.Event = field(default_factory=asyncio.Event)
    renamed: set[str] = field(default_factory=set)
    """Keys (as in the cluster store) of endpoints that changed since somebody last asked, ours and others'."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an endpoint, or where this host has gateways, may have changed."""
    open_link: Callable[[Netns, str, IPAddress | None], FrameLink] | None = None
    """Opens a link of a namespace for DHCP, blocking; with an address, also for packets from it."""
    find_key: Callable[[str], str] | None = None
    """Returns the public WireGuard key of a file, "" for the host's own, and makes it if need be; blocking."""
    make_programs: Callable[[], Programs] | None = None
    """Makes what runs DHCP clients that are programs."""
    dhcp_timeout: float = 20.0
    """Seconds that an attach waits for a lease."""
    leased: set[str] = field(default_factory=set)
    """The ids of the endpoints whose address comes by DHCP."""
    leases: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one of them may have changed."""

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.kernel)
        self.book.describe = self._container_of

    @cached_property
    def programs(self) -> Programs:
        """Return what runs programs in namespaces. Raises `Unsupported` where nothing does."""
        if self.make_programs is None:
            raise Unsupported("this host runs no programs in namespaces")
        return self.make_programs()

    # -- reading ---------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the local records, the cached cluster, and the cluster itself when it answers."""
        records = await self.local.read(keys.LOCAL_ENDPOINTS)
        for item in records.items.values():
            endpoint = codec.loads(Endpoint, item.value or b"")
            self._enter(endpoint)
        await self.book.load()
        if self.shared:
            self.view.replace(await self._cached())
            self.view.revision = await self._last_revision()
        await self.refresh()

    async def reach(self) -> None:
        """Raise `Unreachable` while the cluster is away: before the lock is taken, for attaches must not wait for that."""
        if self.shared:
            await self.cluster.read(keys.NUMBER)

    async def refresh(self) -> set[str]:
        """Read the whole cluster; when it does not answer, keep what is known and remember why."""
        try:
            snapshot = await self.cluster.read("")
        except Unreachable as error:
            self.store_error = error.message
            return set()
        return await self.take(snapshot)

    async def take(self, seen: Snapshot | tuple[Item, ...]) -> set[str]:
        """Take what the cluster's watch delivered into the view and the cache; return the keys that changed."""
        self.store_error = ""
        if isinstance(seen, Snapshot):
            if self.shared and seen.revision < self.view.revision:
                seen = await self._restored()
            changed = self.view.replace(seen)
            values = {key: item.value for key, item in seen.items.items()}
        else:
            changed = self.view.update(seen)
            values = {item.key: item.value for item in seen}
        self._rename(key for key in changed if key.startswith(keys.ENDPOINTS))
        if any(not key.startswith(keys.ENDPOINTS) for key in changed):
            self.segments.clear()
        if self.shared and changed:
            await self._cache(changed, values)
        return changed

    async def commit(self, ops: Iterable[Op]) -> int:
        """Write to the cluster and into the view at once, so that the next step of this host already sees it."""
        todo = list(ops)
        revision = await self.cluster.write(todo)
        written = tuple(
            Item(op.key, op.value if isinstance(op, Put) else None, revision) for op in todo if isinstance(op, Put | Delete)
        )
        await self.take(written)
        return revision

    async def network(self, name: str) -> Network:
        """Return a network by name; ask the cluster once more before saying that there is none."""
        if name not in self.view.networks:
            await self.refresh()
        found = self.view.networks.get(name)
        if found is None:
            close = guess(name, self.view.networks)
            raise NotFound(f"there is no network {name!r}{close}", "see them all: wefted network ls")
        return found

    def segment(self, network: Network) -> Segment:
        """Return a network as this node sees it; the same object until a lease, the network or the node changes."""
        found = self.segments.get(network.name)
        if found is None or found.network is not network:
            leases, facts = self.view.leases_of(network.name), self.facts
            found = segment_of(network, self.node, leases, facts.links, facts.takes_programs)
            self.segments[network.name] = found
        return found

    async def look(self) -> HostFacts:
        """Return the facts with the addresses, links and firewalls that the host has now; its underlay is as at the start."""
        fresh = await self.worker(self.kernel.probe)
        return replace(fresh, device=self.facts.device, underlay=self.facts.underlay, mtu=self.facts.mtu)

    async def require(self, network: Network) -> None:
        """Raise `Unsupported` where this host lacks what a network needs; a program may have been installed since."""
        try:
            supported(network, self.facts)
        except Unsupported:
            if network.backend != "wireguard":
                raise
            self.facts = replace(self.facts, features=(await self.look()).features)
            supported(network, self.facts)

    # -- the kernel ------------------------------------------------------------------------------------------------

    def desired(self) -> dict[Key, KernelObject]:
        """Return everything that the kernel should hold."""
        known = [network for network in self.view.networks.values() if network.driver in DRIVERS]
        leases, facts = list(self.view.leases.values()), self.facts
        return plan_node(self.node, known, leases, self.endpoints.values(), facts.links, facts.takes_programs)

    async def see_links(self, networks: Iterable[Network]) -> None:
        """See how the links of this host are now, if what one of these networks needs depends on them."""
        if not any(uses_links(network) for network in networks):
            return
        links = (await self.worker(self.kernel.probe)).links
        if links != self.facts.links:
            self.facts = replace(self.facts, links=links)
            self.segments.clear()

    async def see_underlay(self) -> None:
        """See which addresses the underlay has now, if the way to some peer depends on them; peers hear of it."""
        if not self.node.underlay or not any(map(follows_underlay, self.view.networks.values())):
            return
        try:
            facts = await self.worker(self.kernel.probe, self.node.addresses[0])
        except UsageError:
            return  # its first address is gone for the moment: what was planned is as good as anything else
        seen = replace(self.node, underlay=facts.underlay, device=facts.device, mtu=facts.mtu)
        if seen != self.node:
            self.node = seen
            self.segments.clear()
            self.announce(())
            self.moved.set()

    def open_prefixes(self) -> tuple[IPNetwork, ...]:
        """Return the networks of flannel's here: all their containers may send to each other, also in a bridge of Docker's."""
        joined = [network for network in self.view.networks.values() if is_flannel(network)]
        return tuple(sorted((s.prefix for n in joined for s in n.subnets), key=str))

    async def converge(self, namespaces: Iterable[Netns] | None = None) -> Report:
        """Make the kernel match; hold the lock, for a plan that is older than an attach would undo it."""
        await self.see_links(self.view.networks.values())
        await self.see_underlay()
        await hostkeys.learn_quietly(self, self.view.networks.values())
        report = await self.worker(self.reconciler.converge, self.desired(), namespaces)
        for outcome in report.failures:
            log.warning("not done", extra={"change": str(outcome.change), "error": outcome.error})
        self.last_pass = {
            "at": round(time.time(), 3),
            "changes": len(report.changes),
            "failures": [f"{o.change}: {o.error}" for o in report.failures],
        }
        return report

    async def exchange(self, before: Mapping[Key, KernelObject], after: Mapping[Key, KernelObject]) -> Report:
        """Go from one plan to another: first what is new or other, then, if all of that was done, what is gone."""
        report = await self.worker(self.reconciler.ensure, {k: v for k, v in after.items() if before.get(k) != v})
        if not report.failures:
            await self.worker(self.reconciler.remove, {k: v for k, v in before.items() if k not in after})
        return report

    # -- endpoints -------------------------------------------------------------------------------------------------

    async def keep(self, endpoints: Iterable[Endpoint], ops: Iterable[Op] = ()) -> None:
        """Write endpoints (with further local operations) durably, then remember them."""
        todo = list(endpoints)
        addresses = list(ops)
        revision = await self.local.write([*addresses, *(Put(keys.local_endpoint(e.id), codec.dumps(e)) for e in todo)])
        self.book.written(addresses, revision)
        for endpoint in todo:
            self._enter(endpoint)
        self._rename(keys.published(self.node.id, e.id) for e in todo)
        self.announce(e.id for e in todo)

    async def drop(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget endpoints and free their addresses, in one write."""
        todo = list(endpoints)
        ops: list[Op] = [Delete(keys.local_endpoint(e.id)) for e in todo]
        for endpoint in todo:
            ops += self.book.free(endpoint.id)
        if ops:
            self.book.written(ops, await self.local.write(ops))
        for endpoint in todo:
            self._leave(endpoint.id)
            self.failures.pop(endpoint.id, None)
        self._rename(keys.published(self.node.id, e.id) for e in todo)
        self.announce(e.id for e in todo)

    def announce(self, identifiers: Iterable[str]) -> None:
        """Note that the cluster must hear of these endpoints; `wefted.engine.publisher` tells it. Alone, nobody needs to."""
        if not self.shared:
            return
        self.unpublished.update(identifiers)
        self.published.set()

    def take_renamed(self) -> set[str]:
        """Return the keys in `renamed`, and begin anew."""
        found, self.renamed = self.renamed, set()
        return found

    def node_name(self, node_id: str) -> str:
        """Return the name of a host, this one's own included."""
        return self.node.name if node_id == self.node.id else self.view.node_name(node_id)

    def of(self, container: str) -> list[Endpoint]:
        """Return the endpoints of a container, by its full name (`netns:c1`) or its bare one."""
        if ":" in container:
            return [self.endpoints[i] for i in self.containers.get(container, ())]
        return [e for e in self.endpoints.values() if e.container.partition(":")[2] == container]

    def members_of(self, network: str) -> list[Endpoint]:
        """Return the endpoints of a network on this host, in no order."""
        return [self.endpoints[i] for i in self.members.get(network, ())]

    def another_of(self, network: str, beside: Collection[str]) -> Endpoint | None:
        """Return an attached endpoint of a network whose id is not in `beside`, if there is one."""
        return next((e for e in self.members_of(network) if e.attached and e.id not in beside), None)

    def _rename(self, published: Iterable[str]) -> None:
        self.renamed.update(published)
        self.moved.set()

    def _enter(self, endpoint: Endpoint) -> None:
        self._leave(endpoint.id)
        self.endpoints[endpoint.id] = endpoint
        self.places.enter(endpoint)
        self.containers.setdefault(endpoint.container, set()).add(endpoint.id)
        self.members.setdefault(endpoint.network, set()).add(endpoint.id)
        if endpoint.identity:
            self.inside.setdefault(endpoint.identity, set()).add(endpoint.id)
        if endpoint.dhcp is not None:
            self.leased.add(endpoint.id)
            self.leases.set()

    def _leave(self, identifier: str) -> None:
        known = self.endpoints.pop(identifier, None)
        if known is None:
            return
        self.places.leave(known)
        for table, key in ((self.containers, known.container), (self.members, known.network), (self.inside, known.identity)):
            table.get(key, set()).discard(identifier)
            if not table.get(key):
                table.pop(key, None)
        if known.dhcp is not None:
            self.leased.discard(identifier)
            self.leases.set()

    def _container_of(self, owner: str) -> str:
        endpoint = self.endpoints.get(owner)
        return endpoint.container if endpoint is not None else owner

    # -- the cache of the cluster -----------------------------------------------------------------------------------

    async def _cached(self) -> Snapshot:
        """Return the cluster as it was last seen, so that whatever the cluster says is newer."""
        cached = await self.local.read(keys.LOCAL_CLUSTER)
        items = {}
        for item in cached.items.values():
            key = item.key.removeprefix(keys.LOCAL_CLUSTER)
            items[key] = Item(key, item.value, OLDEST)
        return Snapshot(0, items)

    async def _cache(self, changed: set[str], values: Mapping[str, bytes | None]) -> None:
        ops: list[Op] = []
        for key in changed:
            value = values.get(key)
            name = keys.LOCAL_CLUSTER + key
            ops.append(Delete(name) if value is None else Put(name, value))
        ops.append(Put(keys.LOCAL_REVISION, str(self.view.revision).encode()))
        await self.local.write(ops)

    async def _last_revision(self) -> int:
        found = (await self.local.read(keys.LOCAL_REVISION)).items.get(keys.LOCAL_REVISION)
        return int(found.value) if found is not None and found.value else 0

    async def _restored(self) -> Snapshot:
        """Return the cluster as it is now; where the store has lost its data, give back to it first what this host remembers.

        A store whose revision went backwards was made anew or from an old backup. Networks do not end by that: their containers
        run. Every host writes what is missing, and the first one wins.
        """
        snapshot = await self.cluster.read("")
        if snapshot.revision >= self.view.revision:
            return snapshot
        log.warning("the cluster store has lost its data; writing it again", extra={"revision": snapshot.revision})
        records = dict(self.view.records())
        records[keys.NUMBER] = str(max((n.number for n in self.view.networks.values()), default=0)).encode()
        for key, value in records.items():
            with contextlib.suppress(Conflict):
                await self.cluster.write([Put(key, value, expect=0)])
        self.view = ClusterView()
        self.segments.clear()
        return await self.cluster.read("")
