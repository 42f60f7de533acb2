"""The use cases of endpoints: connect, disconnect, and the list of all of them.

An attach is written down before the kernel is touched: after a crash the next start completes it. If the kernel refuses, what
was made is removed and the record goes, so that a failed attach leaves the host as it was.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from wefted.drivers import refuse_link, refuse_second
from wefted.errors import InUse, KernelError, NotFound, UsageError
from wefted.model import spec
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST, Outcome
from wefted.model.route import Route
from wefted.model.sandbox import Sandbox
from wefted.runtime import search

from .addressing import Addressing
from .again import asks_for_what_is, default_claim, refuse_plugged, same_interface
from .attachment import Attachment, refused
from .defaultroute import DefaultRoutes
from .dhcp import drafted
from .following import Following
from .host import Host
from .identities import Identities
from .ifnames import free_name, prefix_of
from .intent import free_ports, limits_from, ports_from
from .leases import Leases
from .operations import Connect, Disconnect, Nothing
from .render import endpoint_json

log = logging.getLogger("wefted.engine")

MOST_INTERFACES = 64


class Endpoints:
    """Attach and detach, one at a time; each holds the host's lock."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.leases = Leases(host)
        self._addressing = Addressing(host)
        self._defaults = DefaultRoutes(host)
        self._identities = Identities(host, self.detach)
        self._attachment = Attachment(host)
        self.following = Following(host, self._attachment, self._defaults, self._identities, self.detach)

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

    async def attach(self, request: Connect, container: str, *, automatic: bool = False) -> tuple[Endpoint, bool]:
        """Attach one container; the lock is held. Return its endpoint, and whether it is new."""
        host = self._host
        network = await host.network(request.network)
        await host.require(network)
        ports = ports_from(request.publish, network, request.publish_from)
        sandbox = await search.find(host.runtimes, container, request.netns)
        members = [e for e in host.of(sandbox.container) if e.network == network.name]
        known = same_interface(members, request)
        if known is not None and known.transient and known.identity != sandbox.identity:
            # It is of one that ran before under this id, perhaps before the last boot.
            await self.following.follow(known, sandbox)
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
            automatic=automatic,
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
            return await self.following.moved(known, sandbox)
        report = await self._attachment.ensure(known)
        self._attachment.note(known, report)
        return known

    async def _realise(self, endpoint: Endpoint, named: bool, whole: bool) -> Endpoint:
        """Make the kernel objects; give way where the container already has an interface of that name or a default route."""
        for _ in range(MOST_INTERFACES):
            report = await self._attachment.ensure(endpoint, whole)
            if not report.failures:
                return endpoint
            other = self._given_way(endpoint, report.failures, named)
            if other is None:
                raise refused(endpoint, report)
            await self._attachment.remove([endpoint])
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

    async def _undo(self, endpoint: Endpoint, network: Network, fresh_lease: bool) -> None:
        await self._attachment.remove([self._host.endpoints.get(endpoint.id, endpoint)])
        await self._host.drop([endpoint])
        await self._attachment.vacate([endpoint])
        await self._defaults.inherit(endpoint.container)
        if fresh_lease:
            await self._addressing.give_back(network)
        await self._attachment.abandon(network)

    # -- disconnect ------------------------------------------------------------------------------------------------

    async def disconnect(self, request: Disconnect) -> Any:
        """Detach containers, running or gone. Nothing happens unless all of them are in the network."""
        async with self._host.lock:
            network = await self._host.network(request.network)
            doomed = {e.id: e for e in self._members(network, request)}
            refuse_plugged(doomed.values(), "docker network disconnect")
            await self.detach(list(doomed.values()))
            await self._attachment.abandon(network)
        return {"disconnected": [endpoint.container for endpoint in doomed.values()]}

    async def detach(self, endpoints: list[Endpoint]) -> None:
        """Remove endpoints from the kernel, then from the records: a crash between leaves work to finish, never a leak."""
        if not endpoints:
            return
        await self.leases.release(endpoints)
        report = await self._attachment.remove(endpoints)
        if report.failures:
            self.leases.stay(endpoints)
            raise KernelError(f"cannot detach: {report.failures[0].error}", errno=report.failures[0].errno)
        await self._host.drop(endpoints)
        await self._attachment.vacate(endpoints)
        for container in dict.fromkeys(endpoint.container for endpoint in endpoints):
            await self._defaults.inherit(container)

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
