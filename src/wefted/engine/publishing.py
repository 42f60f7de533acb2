"""The use cases of published ports: publish, unpublish, and the list of all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wefted.errors import NotFound, UsageError
from wefted.model.network import Endpoint, PortMapping

from .attachment import Attachment, refused
from .endpoints import Endpoints
from .host import Host
from .intent import free_ports, ports_from
from .operations import Nothing, Publish
from .planner import own_objects, plan_endpoint
from .ports import port_rows
from .render import endpoint_json

OF_DOCKER = ("ip filter FORWARD", "ip6 filter FORWARD")
"""The chains of iptables-nft from which Docker's DOCKER-USER is asked first."""


class Publishing:
    """Changes the ports of endpoints of this host, one at a time; each holds the host's lock."""

    def __init__(self, host: Host, endpoints: Endpoints) -> None:
        self._host = host
        self._endpoints = endpoints
        self._attachment = Attachment(host)

    async def list_all(self, _: Nothing) -> Any:
        host = self._host
        if not host.live:
            await host.refresh()
        facts = await host.look()
        filters = await self._filters(facts.forward_filters)
        return port_rows(host, (*((facts.input_filter,) if facts.input_filter else ()), *filters), facts.unfollowed)

    async def _filters(self, filters: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of these chains that may drop what is published; Docker's does not where it lets our links pass."""
        host = self._host
        if host.docker_user is None or not any(chain in OF_DOCKER for chain in filters):
            return filters
        closed = await host.worker(host.docker_user.missing, host.node.device, host.open_prefixes()) != []
        return tuple(chain for chain in filters if closed or chain not in OF_DOCKER)

    async def publish(self, request: Publish) -> Any:
        """Publish ports. What the container publishes already, under another source, is changed to this one."""
        async with self._host.lock:
            endpoint = self._chosen(request)
            network = await self._host.network(endpoint.network)
            ports = ports_from(request.ports, network, request.sources)
            free_ports(ports, endpoint.id, self._host.endpoints.values())
            again = {port.place for port in ports}
            kept = tuple(port for port in endpoint.ports if port.place not in again)
            return await self.republish(endpoint, (*kept, *ports))

    async def unpublish(self, request: Publish) -> Any:
        async with self._host.lock:
            endpoint = self._chosen(request)
            gone = {(p.place, p.port) for p in ports_from(request.ports, await self._host.network(endpoint.network))}
            kept = tuple(port for port in endpoint.ports if (port.place, port.port) not in gone)
            if len(endpoint.ports) - len(kept) < len(gone):
                asked = ", ".join(request.ports)
                raise NotFound(f"{endpoint.container} does not publish {asked}", "see what it does: wefted ps --ports")
            return await self.republish(endpoint, kept)

    async def republish(self, endpoint: Endpoint, ports: tuple[PortMapping, ...]) -> Any:
        """Publish these ports of an endpoint, and no others; the lock is held."""
        host = self._host
        endpoint = await self._endpoints.following.find(endpoint)
        network = host.view.networks[endpoint.network]
        bridge = host.places.to_publish(network, endpoint) if ports else endpoint.bridge
        changed = replace(endpoint, ports=ports, bridge=bridge)
        segment = host.segment(network)
        before, after = own_objects(segment, endpoint), plan_endpoint(segment, changed)
        await host.keep([changed])
        report = await host.worker(host.reconciler.swap, before, after)
        if report.failures:
            await host.worker(host.reconciler.swap, own_objects(segment, changed), plan_endpoint(segment, endpoint))
            await host.keep([endpoint])
            raise refused(endpoint, report)
        await self._attachment.vacate([endpoint])
        return endpoint_json(host, host.node.id, changed)

    def _chosen(self, request: Publish) -> Endpoint:
        found = [e for e in self._host.of(request.container) if request.network in ("", e.network)]
        if not found:
            raise NotFound(f"{request.container} has no endpoint on this host", "see which have: wefted ps")
        if len(found) > 1:
            networks = ", ".join(sorted(e.network for e in found))
            raise UsageError(f"{request.container} is in several networks ({networks})", "choose one with --network")
        return found[0]
