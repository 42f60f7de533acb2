"""The use cases of networks and hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from wefted.errors import Conflict, InUse, NotFound, UsageError
from wefted.model import codec
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.nearest import guess
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST
from wefted.model.records import Check, Delete, Op, Put

from . import keys
from .edit import edited
from .filters import chosen
from .host import Host
from .intent import network_from
from .operations import HostNames, NetworkCreate, NetworkFilters, NetworkName, NetworkNames, NetworkSet, Nothing
from .render import endpoint_json, host_json, network_json

ATTEMPTS = 20
CHUNK = 100
"""Operations in one write: etcd takes 128."""


class Networks:
    """Create, list, inspect, change, remove, prune, expose, hide; and the hosts of the cluster."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def create(self, request: NetworkCreate) -> Any:
        await self._host.reach()
        async with self._host.lock:
            return network_json(self._host, await self.make(request))

    async def make(self, request: NetworkCreate) -> Network:
        """Create a network; the lock is held. Two hosts that choose one number at once try again."""
        await self._host.refresh()
        facts = await self._host.look()
        for _ in range(ATTEMPTS):
            counter = (await self._host.cluster.read(keys.NUMBER)).items.get(keys.NUMBER)
            last = int(counter.value or b"0") if counter is not None else 0
            network = network_from(request, self._host.view.networks, facts, last)
            ops = [
                Put(keys.network(network.name), codec.dumps(network), expect=0),
                Put(keys.NUMBER, str(network.number).encode(), expect=counter.revision if counter is not None else 0),
            ]
            try:
                await self._host.commit(ops)
            except Conflict:
                await self._host.refresh()
                continue
            return network
        raise InUse(f"network {request.name!r}: other hosts create networks all the time", "try again")

    async def list_all(self, request: NetworkFilters) -> Any:
        await self._host.refresh()
        return [network_json(self._host, network) for network in chosen(self._sorted(), request.filters, self._used)]

    async def inspect(self, request: NetworkNames) -> Any:
        found = []
        for name in request.names:
            network = await self._host.network(name)
            leases = self._host.view.leases_of(name)
            rows = [endpoint_json(self._host, owner, e) for owner, e in self._members(name)]
            found.append(
                network_json(self._host, network)
                | {"leases": [self._lease_json(lease) for lease in leases], "endpoints": rows, "link": network.link}
            )
        return found

    async def change(self, request: NetworkSet) -> Any:
        """Change a network, here at once and elsewhere as soon as it is heard of. Two editors at once: both are heard."""
        async with self._host.lock:
            await self._host.refresh()
            for _ in range(ATTEMPTS):
                network = await self._host.network(request.name)
                changed = edited(network, request, self._host.facts)
                if changed == network:
                    return network_json(self._host, network)
                key = keys.network(network.name)
                try:
                    await self._host.commit([Put(key, codec.dumps(changed), expect=self._host.view.revision_of(key))])
                except Conflict:
                    await self._host.refresh()
                    continue
                await self._host.converge()
                return network_json(self._host, changed)
        raise InUse(f"network {request.name!r}: other hosts change it all the time", "try again")

    async def remove(self, request: NetworkNames) -> Any:
        """Remove all of the named networks, or none of them."""
        await self._host.reach()
        async with self._host.lock:
            await self._host.refresh()
            known = self._host.view.networks
            names = [name for name in dict.fromkeys(request.names) if name in known or not request.force]
            networks = [await self._host.network(name) for name in names]
            for network in networks:
                self._refuse_used(network)
            for network in networks:
                await self.unmake(network)
            await self._host.converge({HOST})
        return {"removed": [network.name for network in networks]}

    async def prune(self, request: NetworkFilters) -> Any:
        await self._host.reach()
        async with self._host.lock:
            await self._host.refresh()
            matching = chosen(self._sorted(), request.filters, self._used)
            unused = [n for n in matching if not self._used(n.name) and not is_flannel(n)]
            for network in unused:
                await self.unmake(network)
            await self._host.converge({HOST})
        return {"removed": [network.name for network in unused]}

    async def unmake(self, network: Network) -> None:
        """Remove a network's records: the network first, so that nobody takes a further block of it."""
        view = self._host.view
        leases = [key for key, lease in view.leases.items() if lease.network == network.name]
        ops: list[Op] = [
            Delete(keys.network(network.name), expect=view.revision_of(keys.network(network.name))),
            *(Delete(key) for key in leases),
        ]
        for start in range(0, len(ops), CHUNK):
            await self._host.commit(ops[start : start + CHUNK])
        await self._host.local.write(self._host.book.forget(network.name))

    async def expose(self, request: NetworkName) -> Any:
        return await self.set_exposed(request.name, True)

    async def hide(self, request: NetworkName) -> Any:
        return await self.set_exposed(request.name, False)

    async def set_exposed(self, name: str, exposed: bool) -> Any:
        """Open or close a network; nothing happens where it is so already."""
        await self._host.reach()
        async with self._host.lock:
            network = await self._host.network(name)
            if exposed and network.internal:
                raise UsageError(
                    f"network {name!r} is internal, so it cannot be exposed", "make another one without --internal"
                )
            changed = replace(network, exposed=exposed)
            if changed != network:
                key = keys.network(name)
                await self._host.commit([Put(key, codec.dumps(changed), expect=self._host.view.revision_of(key))])
                await self._host.converge({HOST})
            return network_json(self._host, changed)

    # -- hosts -----------------------------------------------------------------------------------------------------

    async def hosts(self, _: Nothing) -> Any:
        await self._host.refresh()
        return [host_json(self._host, node) for node in sorted(self._host.view.nodes.values(), key=lambda n: n.name)]

    async def inspect_hosts(self, request: HostNames) -> Any:
        await self._host.refresh()
        found = []
        for name in request.names:
            node_id = self._node_id(name)
            leases = [self._lease_json(lease) for lease in self._host.view.leases.values() if lease.node == node_id]
            mine = node_id == self._host.node.id
            members = self._host.endpoints.values() if mine else self._published(node_id)
            rows = [endpoint_json(self._host, node_id, e) for e in members]
            found.append(host_json(self._host, self._host.view.nodes[node_id]) | {"leases": leases, "members": rows})
        return found

    async def remove_hosts(self, request: HostNames) -> Any:
        """Forget hosts: their records, endpoints and blocks. This node itself is refused."""
        await self._host.reach()
        async with self._host.lock:
            await self._host.refresh()
            chosen = [self._node_id(name) for name in request.names]
            if self._host.node.id in chosen:
                raise UsageError("this is the host you are on", "to leave the cluster: wefted uninstall")
            for node_id in chosen:
                await self._forget_node(node_id)
            await self._host.converge({HOST})
        return {"removed": list(request.names)}

    async def _forget_node(self, node_id: str) -> None:
        view = self._host.view
        guard = Check(keys.node(node_id), view.revision_of(keys.node(node_id)))
        doomed = view.block_keys(node_id)
        doomed += [key for key in view.endpoints if key.startswith(f"{keys.ENDPOINTS}{node_id}/")]
        for start in range(0, len(doomed), CHUNK):
            await self._host.cluster.write([guard, *(Delete(key) for key in doomed[start : start + CHUNK])])
        await self._host.commit([Delete(keys.node(node_id))])
        await self._host.refresh()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _sorted(self) -> Sequence[Network]:
        return sorted(self._host.view.networks.values(), key=lambda network: network.name)

    def _members(self, name: str) -> Iterable[tuple[str, Endpoint]]:
        for endpoint in self._host.endpoints.values():
            if endpoint.network == name:
                yield self._host.node.id, endpoint
        for owner, endpoint in self._host.view.endpoints_elsewhere(self._host.node.id):
            if endpoint.network == name:
                yield owner, endpoint

    def _used(self, name: str) -> bool:
        return any(True for _ in self._members(name))

    def _published(self, node_id: str) -> Iterable[Endpoint]:
        return [e for owner, e in self._host.view.endpoints_elsewhere(self._host.node.id) if owner == node_id]

    def _refuse_used(self, network: Network) -> None:
        members = [(owner, e.container) for owner, e in self._members(network.name)]
        if members:
            owner, container = members[0]
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            raise InUse(
                f"network {network.name!r} is in use by {container} on {self._host.view.node_name(owner)}{more}",
                f"detach it first: wefted network disconnect {network.name} {container}",
            )

    def _node_id(self, name: str) -> str:
        nodes = self._host.view.nodes
        for node in nodes.values():
            if name in (node.name, node.id):
                return node.id
        close = guess(name, [node.name for node in nodes.values()])
        raise NotFound(f"there is no host {name!r}{close}", "see them all: wefted host ls")

    def _lease_json(self, lease: Lease) -> Any:
        return codec.encode(lease) | {"node": self._host.view.node_name(lease.node)}
