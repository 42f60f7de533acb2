"""The use cases of endpoints: connect, disconnect, publish; and what happens when their containers come and go.

An attach is written down before the kernel is touched: after a crash the next start completes it. If the kernel refuses, what
was made is removed and the record goes, so that a failed attach leaves the host as it was.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from wefted.drivers import refuse_link, refuse_second
from wefted.errors import InUse, KernelError, NotFound, UsageError
from wefted.model import spec
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST, Change, KernelObject, Key, Netns, Outcome
from wefted.model.route import Route
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.runtime import search

from .addressing import Addressing
from .again import asks_for_what_is, default_claim, refuse_plugged, same_interface
from .defaultroute import DefaultRoutes
from .dhcp import drafted
from .diff import index
from .host import Host
from .identities import Identities
from .ifnames import free_name, prefix_of
from .intent import free_ports, limits_from, ports_from, supported
from .leases import Leases
from .operations import Connect, Disconnect, Nothing
from .planner import further_bridges, own_objects, plan_endpoint, plan_network, uses_links
from .reconcile import Report
from .render import endpoint_json

log = logging.getLogger("wefted.engine")

MOST_INTERFACES = 64
DYING = 1.0
"""Seconds for which a namespace that has ended may hold its links: the kernel takes it down in the background (`cleanup_net`),
and so long no other macvlan of the parent can have its MAC."""
AGAIN = 0.01


class Endpoints:
    """Attach and detach, one at a time; each holds the host's lock."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.leases = Leases(host)
        self._addressing = Addressing(host)
        self._defaults = DefaultRoutes(host)
        self._identities = Identities(host, self.detach)

    async def list_all(self, _: Nothing) -> Any:
        host = self._host
        if not host.live:
            await host.refresh()
        mine = [(host.node.id, endpoint) for endpoint in host.endpoints.values()]
        rows = [endpoint_json(host, owner, e) for owner, e in (*mine, *host.view.endpoints_elsewhere(host.node.id))]
        return sorted(rows, key=lambda row: (row["network"], row["host"], row["container"]))

    # -- connect ---------------------------------------------------------------------------------------------------

    async def connect(self, request: Connect) -> Any:
        """Attach all of the containers, or none of them."""
        names = (request.ifname, request.host_ifname, request.aliases)
        particular = (request.ip, request.mac, request.publish, request.additional, *names)
        if len(request.containers) > 1 and any(particular):
            raise UsageError("addresses, names and ports belong to one container", "connect the containers one by one")
        async with self._host.lock:
            made, found = [], []
            try:
                for container in request.containers:
                    endpoint, fresh = await self.attach(request, container)
                    found.append(endpoint)
                    if fresh:
                        made.append(endpoint)
            except BaseException:
                await self.detach(made)
                raise
        await self.lease(found, made)
        host = self._host
        return [endpoint_json(host, host.node.id, host.endpoints.get(e.id, e)) for e in found]

    async def lease(self, found: list[Endpoint], made: list[Endpoint]) -> None:
        """Wait for the addresses that come by DHCP, without the lock; if they do not come, detach what was made."""
        try:
            await self.leases.acquire(found)
        except BaseException:
            async with self._host.lock:
                await self.detach([self._host.endpoints[e.id] for e in made if e.id in self._host.endpoints])
            raise

    async def attach(self, request: Connect, container: str) -> tuple[Endpoint, bool]:
        """Attach one container; the lock is held. Return its endpoint, and whether it is new."""
        host = self._host
        network = await host.network(request.network)
        supported(network, host.facts)
        ports = ports_from(request.publish, network, request.publish_from)
        sandbox = await search.find(host.runtimes, container, request.netns)
        members = [e for e in host.of(sandbox.container) if e.network == network.name]
        known = same_interface(members, request)
        if known is not None and known.transient and known.identity != sandbox.identity:
            await self.follow(known, sandbox)  # it is of one that ran before under this id, perhaps before the last boot
            members.remove(known)
        elif known is not None:
            return await self._again(known, request, sandbox), False
        draft = Endpoint(
            network=network.name,
            container=sandbox.container,
            ns=HOST if network.driver == "host" else sandbox.ns,
            identity=sandbox.identity,
            engine_id=sandbox.id,
            ifname=spec.interface_name(request.ifname) if request.ifname else self._free_name(network, sandbox.container),
            mac=spec.mac(request.mac) if request.mac else "",
            default_route=self._defaults.wins(
                network, sandbox.container, request.gateway_priority, default_claim(request.default_route)
            ),
            default_claim=request.default_route,
            host_ifname=spec.interface_name(request.host_ifname) if request.host_ifname else "",
            slot=request.ifname if members else "",
            transient=bool(request.netns),
            bandwidth=limits_from(request.bandwidth, network),
            gateway_priority=request.gateway_priority,
            routes=tuple(spec.route(text) for text in request.routes),
            aliases=tuple(spec.alias(text) for text in request.aliases),
            ports=ports,
            bridge=host.places.choose(network, publishes=bool(ports)),
        )
        draft = drafted(request, network, draft, host.node)
        self._unused_name(draft)
        draft = self._identities.distinct(draft)
        free_ports(ports, draft.id, host.endpoints.values())
        await host.see_links([network])
        refuse_second(network, draft, host.endpoints.values())
        refuse_link(network, host.facts)
        granted = await self._addressing.grant(network, draft, request.ip, request.gateways)
        endpoint = granted.endpoint
        try:
            losers = self._defaults.losers(endpoint)
            await host.keep([endpoint, *losers], granted.ops)
            await self._defaults.take_from(losers)
            endpoint = await self._realise(endpoint, named=bool(request.ifname), whole=granted.fresh_lease)
        except BaseException:
            await self._undo(endpoint, network, granted.fresh_lease)
            raise
        return endpoint, True

    async def _again(self, known: Endpoint, request: Connect, sandbox: Sandbox) -> Endpoint:
        """Connecting twice is fine as long as the second call asks for nothing else."""
        refuse_plugged([known], "docker network connect")
        other_address = not asks_for_what_is(known, request)
        other_name = (request.ifname or known.ifname, request.host_ifname or known.link) != (known.ifname, known.link)
        other_mac = request.mac and spec.mac(request.mac) != known.mac
        other_priority = request.gateway_priority not in (0, known.gateway_priority)
        other_dhcp = request.dhcp and (known.dhcp is None or known.dhcp.client != request.dhcp_client)
        if other_address or other_name or other_mac or other_priority or other_dhcp or request.netns:
            raise InUse(
                f"{known.container} is in network {known.network!r} already, as {known.ifname}"
                f" with {', '.join(map(str, known.addresses)) or 'no address'}",
                f"detach it first: wefted network disconnect {known.network} {known.container}",
            )
        elsewhere = (known.ns, known.identity) != (sandbox.ns, sandbox.identity)
        if elsewhere and self._host.view.networks[known.network].driver != "host":
            return await self._moved(known, sandbox)
        report = await self._ensure(known)
        self._note(known, report)
        return known

    async def _realise(self, endpoint: Endpoint, named: bool, whole: bool) -> Endpoint:
        """Make the kernel objects; give way where the container already has an interface of that name or a default route."""
        for _ in range(MOST_INTERFACES):
            report = await self._ensure(endpoint, whole)
            if not report.failures:
                return endpoint
            other = self._given_way(endpoint, report.failures, named)
            if other is None:
                raise refused(endpoint, report)
            await self.remove_objects([endpoint])
            endpoint = other
            await self._host.keep([endpoint])
        raise KernelError(f"{endpoint.container} has no free interface name")

    def _given_way(self, endpoint: Endpoint, failures: Iterable[Outcome], named: bool) -> Endpoint | None:
        network = self._host.view.networks[endpoint.network]
        for failure in (failure for failure in failures if failure.errno == errno.EEXIST):
            subject = failure.change.subject
            if isinstance(subject, Route) and subject.destination.prefixlen == 0 and endpoint.default_route:
                return replace(endpoint, default_route=False)
            if not named and subject.key in (("link", HOST, endpoint.link), ("link", endpoint.ns, endpoint.ifname)):
                return replace(endpoint, ifname=self._free_name(network, endpoint.container, endpoint.ifname))
        return None

    async def _ensure(self, endpoint: Endpoint, whole: bool = False) -> Report:
        host = self._host
        network = host.view.networks[endpoint.network]
        segment = host.segment(network)
        if whole or not host.live:
            objects = index(plan_network(segment, host.view.leases_of(network.name), (endpoint,)))
        else:
            objects = plan_endpoint(segment, endpoint)
        end = time.monotonic() + DYING
        report = await host.worker(host.reconciler.ensure, objects)
        while any(outcome.errno == errno.EADDRINUSE for outcome in report.failures) and time.monotonic() < end:
            await asyncio.sleep(AGAIN)
            report = await host.worker(host.reconciler.ensure, objects)
        return report

    async def _undo(self, endpoint: Endpoint, network: Network, fresh_lease: bool) -> None:
        await self.remove_objects([self._host.endpoints.get(endpoint.id, endpoint)])
        await self._host.drop([endpoint])
        await self.vacate([endpoint])
        await self._defaults.inherit(endpoint.container)
        if fresh_lease:
            await self._addressing.give_back(network)
        await self._abandon(network)

    # -- disconnect ------------------------------------------------------------------------------------------------

    async def disconnect(self, request: Disconnect) -> Any:
        """Detach containers, running or gone. Nothing happens unless all of them are in the network."""
        async with self._host.lock:
            network = await self._host.network(request.network)
            doomed = {e.id: e for e in self._members(network, request)}
            refuse_plugged(doomed.values(), "docker network disconnect")
            await self.detach(list(doomed.values()))
            await self._abandon(network)
        return {"disconnected": [endpoint.container for endpoint in doomed.values()]}

    async def detach(self, endpoints: list[Endpoint]) -> None:
        """Remove endpoints from the kernel, then from the records: a crash between leaves work to finish, never a leak."""
        if not endpoints:
            return
        await self.leases.release(endpoints)
        report = await self.remove_objects(endpoints)
        if report.failures:
            self.leases.stay(endpoints)
            raise KernelError(f"cannot detach: {report.failures[0].error}", errno=report.failures[0].errno)
        await self._host.drop(endpoints)
        await self.vacate(endpoints)
        for container in dict.fromkeys(endpoint.container for endpoint in endpoints):
            await self._defaults.inherit(container)

    async def remove_objects(self, endpoints: Collection[Endpoint]) -> Report:
        """Remove what exists in the kernel for these endpoints alone."""
        host = self._host
        objects: dict[Key, KernelObject] = {}
        going = {endpoint.id for endpoint in endpoints}
        for endpoint in endpoints:
            network = host.view.networks.get(endpoint.network)
            if network is not None:
                other = host.another_of(network.name, going) if uses_links(network) else None
                objects |= own_objects(host.segment(network), endpoint, other)
        return await host.worker(host.reconciler.remove, objects)

    async def _abandon(self, network: Network) -> None:
        """Remove what a network has on this host when neither a block nor an endpoint keeps it there."""
        host = self._host
        if not host.segment(network).leases and not any(e.network == network.name for e in host.endpoints.values()):
            await host.converge({HOST})

    async def vacate(self, endpoints: Iterable[Endpoint]) -> None:
        """Remove the bridges behind the last one in use; what cannot be removed now goes with the next pass."""
        host = self._host
        left: dict[str, int] = {}
        for endpoint in endpoints:
            left[endpoint.network] = max(endpoint.bridge, left.get(endpoint.network, 0))
        for name, last in left.items():
            used = host.places.last(name)
            if last > used and name in host.view.networks:
                segment = host.segment(host.view.networks[name])
                await host.worker(host.reconciler.remove, further_bridges(segment, used, last))

    # -- containers that come and go --------------------------------------------------------------------------------

    async def sandbox_changed(self, event: SandboxEvent) -> None:
        """Follow a container: its endpoints wait while it is gone, and are attached again, as they were, when it is back."""
        async with self._host.lock:
            await self._identities.follow(event)
            for endpoint in self._host.of(event.container):
                await (self.find(endpoint) if endpoint.transient else self.follow(endpoint, event.sandbox))

    async def follow(self, endpoint: Endpoint, sandbox: Sandbox | None) -> None:
        """Bring one endpoint in line with where its container is now; the lock is held."""
        network = self._host.view.networks.get(endpoint.network)
        if network is None or network.driver == "host" or endpoint.plugged:
            return
        if sandbox is None or (endpoint.transient and sandbox.identity != endpoint.identity):
            if endpoint.attached:
                log.info("container is gone", extra={"container": endpoint.container, "network": endpoint.network})
                endpoint = await self.left(endpoint)
            if endpoint.transient:
                await self.detach([endpoint])
        elif (endpoint.ns, endpoint.identity) != (sandbox.ns, sandbox.identity):
            log.info("container is back", extra={"container": endpoint.container, "network": endpoint.network})
            await self._moved(endpoint, sandbox)

    async def left(self, endpoint: Endpoint) -> Endpoint:
        """Detach an endpoint whose container is gone, and keep its record; the lock is held."""
        await self.remove_objects([endpoint])
        await self._host.worker(self._host.reconciler.forget, endpoint.ns)
        gone = replace(endpoint, ns=HOST, identity="")
        await self._host.keep([gone])
        return gone

    async def _moved(self, endpoint: Endpoint, sandbox: Sandbox) -> Endpoint:
        if endpoint.attached:
            endpoint = await self.left(endpoint)
        back = replace(endpoint, ns=sandbox.ns, identity=sandbox.identity, engine_id=sandbox.id)
        await self._host.worker(self._host.reconciler.forget, sandbox.ns)
        await self._host.keep([back])
        self._note(back, await self._ensure(back))
        return back

    async def find_all(self) -> None:
        """Look for the container of every endpoint (at start, after events may have been missed); the lock is held."""
        for endpoint in list(self._host.endpoints.values()):
            await self.find(endpoint)

    async def find(self, endpoint: Endpoint) -> Endpoint:
        """Look for the container of an endpoint and follow it there; return the endpoint as it is now. The lock is held."""
        runtime = self._host.runtimes.get(endpoint.container.partition(":")[0])
        if runtime is None or endpoint.plugged:
            return endpoint
        search.remind(self._host.runtimes, endpoint.container, endpoint.ns)
        sandbox = await self._identities.locate(endpoint, runtime)
        if sandbox is not None:
            await self._identities.recognise(sandbox)
        current = self._host.endpoints.get(endpoint.id)
        if current is not None:
            await self.follow(current, sandbox)
        return self._host.endpoints.get(endpoint.id, endpoint)

    async def drop_orphans(self) -> set[Netns]:
        """Forget the endpoints of networks that are gone; return their namespaces. The lock is held."""
        networks = self._host.view.networks
        orphans = [e for e in self._host.endpoints.values() if e.network not in networks]
        for endpoint in orphans:
            log.warning("network is gone", extra={"network": endpoint.network, "container": endpoint.container})
        await self._host.drop(orphans)
        for container in {endpoint.container for endpoint in orphans}:
            await self._defaults.bequeath(container)
        return {endpoint.ns for endpoint in orphans}

    def _note(self, endpoint: Endpoint, report: Report) -> None:
        if report.failures:
            self._host.failures[endpoint.id] = report.failures[0].error
        else:
            self._host.failures.pop(endpoint.id, None)

    # -- choosing --------------------------------------------------------------------------------------------------

    def _free_name(self, network: Network, container: str, after: str = "") -> str:
        return free_name(prefix_of(network, container), (endpoint.ifname for endpoint in self._host.of(container)), after)

    def _unused_name(self, draft: Endpoint) -> None:
        for other in self._host.of(draft.container):
            if other.ifname == draft.ifname:
                raise InUse(
                    f"{draft.container} has {draft.ifname} already, in network {other.network!r}", "choose another --ifname"
                )
        if draft.host_ifname and any(other.link == draft.link for other in self._host.endpoints.values()):
            raise InUse(f"another container's link is called {draft.host_ifname} already", "choose another --host-ifname")

    def _members(self, network: Network, request: Disconnect) -> Iterator[Endpoint]:
        for container in request.containers:
            try:
                yield self._member(network, container, request.ifname)
            except NotFound:
                if not request.force:
                    raise

    def _member(self, network: Network, container: str, ifname: str) -> Endpoint:
        """Return the endpoint of a container in a network, by its full or its bare name."""
        found = [e for e in self._host.of(container) if e.network == network.name and ifname in ("", e.ifname)]
        if len(found) == 1:
            return found[0]
        if not found:
            by = f" by {ifname}" if ifname else ""
            raise NotFound(f"{container} is not in network {network.name!r}{by} on this host", "see who is: wefted ps")
        if len({e.container for e in found}) == 1:
            names = ", ".join(sorted(e.ifname for e in found))
            raise UsageError(f"{container} has several interfaces in network {network.name!r}", f"choose by --ifname: {names}")
        names = ", ".join(e.container for e in found)
        raise UsageError(f"{container} may be any of {names}", "give the name with its kind, as in netns:c1")


def refused(endpoint: Endpoint, report: Report) -> KernelError:
    """Return the error of a change of an endpoint that the kernel refused and that was undone."""
    first = report.failures[0]
    others = f" ({len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
    what = f"cannot attach {endpoint.container} to network {endpoint.network!r}"
    return KernelError(f"{what}: {_told(first.change)}: {first.error}{others}", "nothing was left behind", first.errno)


def _told(change: Change) -> str:
    return str(change).removeprefix("+ ").removeprefix("~ ")
