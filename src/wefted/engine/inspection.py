"""One endpoint as its container sees it, one network as the next container will find it: what an engine's plugin asks for."""

from __future__ import annotations

from typing import Any

from wefted.errors import Exhausted, NotFound, UsageError
from wefted.model.network import Endpoint
from wefted.model.objects import HOST, KernelObject, Key

from .addressing import Addressing
from .diff import diff
from .host import Host
from .operations import EndpointName, NetworkName
from .planner import own_objects
from .render import endpoint_json


class Inspection:
    """Changes nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._addressing = Addressing(host)

    async def endpoint(self, request: EndpointName) -> Any:
        """Return an endpoint with what follows from its network, and how the kernel differs. Raises `NotFound`."""
        async with self._host.lock:
            endpoint = self._member(request)
            return endpoint_json(self._host, self._host.node.id, endpoint) | {
                **self._surroundings(endpoint),
                "differences": await self._differences(endpoint) if request.compare else [],
            }

    async def room(self, request: NetworkName) -> Any:
        """Raise what an attach would: `NotFound`, `Unsupported`, `Exhausted`, `Unreachable`."""
        async with self._host.lock:
            network = await self._host.network(request.name)
            await self._host.require(network)
            if not await self._addressing.has_room(network):
                raise Exhausted(f"network {network.name!r} has no free address for this host", "detach a container: wefted ps")
        return {"network": network.name}

    def _member(self, request: EndpointName) -> Endpoint:
        found = [e for e in self._host.of(request.container) if e.network == request.network]
        chosen = [e for e in found if request.ifname in ("", e.ifname)]
        if not chosen:
            raise NotFound(f"{request.container} is not in network {request.network!r} on this host", "see who is: wefted ps")
        if len(chosen) > 1:
            names = ", ".join(sorted(e.ifname for e in chosen))
            raise UsageError(f"{request.container} has several interfaces in network {request.network!r}", f"choose: {names}")
        return chosen[0]

    def _surroundings(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return the MTU, its link on the host ("" where the driver makes none), and where it asks for names (if anywhere)."""
        host = self._host
        segment = host.segment(host.view.networks[endpoint.network])
        served = host.live and host.dns.get("address") is not None and segment.host_gateway
        on_host = any(key == ("link", HOST, endpoint.link) for key in own_objects(segment, endpoint))
        return {
            "mtu": segment.mtu,
            "link": endpoint.link if on_host else "",
            "nameservers": [str(gateway) for gateway in endpoint.gateways] if served else [],
            "domain": f"{endpoint.network.lower()}.{host.domain}",
        }

    async def _differences(self, endpoint: Endpoint) -> list[str]:
        """Return what the kernel lacks or has otherwise of this endpoint, one line each."""
        host = self._host
        wanted = own_objects(host.segment(host.view.networks[endpoint.network]), endpoint)
        actual: dict[Key, KernelObject] = {}
        for ns in {HOST, *(item.ns for item in wanted.values())}:
            state = await host.worker(host.kernel.read, ns)
            actual |= {key: item for key, item in state.objects.items() if key in wanted}
        return [str(change) for change in diff(wanted, actual)]
