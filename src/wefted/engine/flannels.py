"""The use cases of flannel networks: join, list, leave; and keeping what was joined."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from wefted.errors import InUse, NotFound, Unreachable, UsageError, WeftedError
from wefted.model import codec, flannel_lease, spec
from wefted.model.flannel import Config, parse
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import API_LABEL, CONFIG_LABEL
from wefted.model.network import Network
from wefted.model.objects import HOST, IPNetwork
from wefted.model.records import Delete, Put
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.flannel_server_url import parse_server

from . import hostkeys, keys
from .announcing import announced
from .flannel import Keeper, validate
from .flannel_requests import one_of, place
from .host import Host
from .operations import FlannelJoin, FlannelWatch, NetworkName, Nothing

log = logging.getLogger("wefted.flannel")

Names = AsyncGenerator[tuple[frozenset[str], frozenset[str]], None]
"""The networks that have come, and those that are gone."""


@dataclass
class Joined:
    """A network that this host has joined, and how that is going."""

    request: FlannelJoin
    keeper: Keeper
    error: str = "no subnet yet"
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the subnet must be looked after: its record or the configuration changed."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    """Whether its record is being written: what the watch tells of it meanwhile may be half of that."""
    lost: bool = False
    """Whether its record went while it was being written: before that, or after it?"""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its record is written or given up; who needs the host's lock as well takes this one first."""


class Flannels:
    """Joins and leaves; the agent keeps the subnets (`wefted.agent.flannel`) and sets `renew`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.joined: dict[str, Joined] = {}
        self.watches: dict[str, FlannelWatch] = {}
        """Prefixes under which every network is joined."""
        self.changed = asyncio.Event()
        """Set when a network was joined or left."""
        self.served = asyncio.Event()
        """Set once a network is at a flannel server: then there are news even for a host that is alone."""

    async def load(self) -> None:
        """Join again what was joined before a restart, with the configurations that were seen last."""
        for item in (await self._host.local.read(keys.LOCAL_FLANNEL)).items.values():
            request = codec.loads(FlannelJoin, item.value or b"")
            seen = await self._remembered(request.name)
            try:
                self._enter(request, (), seen.get(CONFIG_LABEL, ""), seen.get(API_LABEL, "3"))
            except UsageError as error:  # files of TLS that are gone: the rest of the host goes on
                log.error("network not joined again", extra={"network": request.name, "error": error.message})
        for item in (await self._host.local.read(keys.LOCAL_FLANNEL_WATCH)).items.values():
            watch = codec.loads(FlannelWatch, item.value or b"")
            self.watches[watch.prefix] = watch

    async def join(self, request: FlannelJoin) -> Any:
        """Join, or change how. The subnet is there a moment later: see `list_all`. Raises `UsageError`, `InUse`."""
        spec.network_name(request.name)
        _check_api(request.api)
        known = self.joined.get(request.name)
        if known is not None and place(known.request) != place(request):
            raise InUse(
                f"flannel network {request.name!r} is joined already, under {place(known.request)}",
                f"leave it first: wefted flannel leave {request.name}",
            )
        if known is None or known.request != request:
            remembered, api = "", "3"
            if known is None:
                self._free_name(request.name)
            else:
                api = self._store(request.remote).api(request.name)
                if request.api not in ("auto", api):
                    await self._give_up(known)
                remembered = self._store(request.remote).memory(request.name).text if request.api in ("auto", api) else ""
                self._store(known.request.remote).unmount(request.name)
            known = self._enter(request, known.keeper.before if known is not None else (), remembered, api)
            await self._host.local.write([Put(keys.LOCAL_FLANNEL + request.name, codec.dumps(request))])
            self.changed.set()
        return self._json(known)

    async def watch(self, request: FlannelWatch) -> Any:
        """Join all networks under a prefix, or no further ones. Raises `UsageError`."""
        self._store(request.remote)
        _check_api(request.api)
        prefix = parse_server(request.remote).root if request.remote else f"/{request.prefix.strip('/')}/"
        request = replace(request, prefix=prefix)
        key = keys.LOCAL_FLANNEL_WATCH + request.prefix.strip("/")
        if request.stop:
            self.watches.pop(request.prefix, None)
            await self._host.local.write([Delete(key)])
        else:
            self.watches[request.prefix] = request
            await self._host.local.write([Put(key, codec.dumps(request))])
        self.changed.set()
        return {"prefixes": sorted(self.watches)}

    async def follow(self, watch: FlannelWatch) -> None:
        """Join what comes under a prefix, and leave what is deleted there, until cancelled."""
        if watch.remote:
            await self._follow(watch, "server", self._store(watch.remote).server(watch.remote).names())
            return
        both = watch.api == "auto" and await self._store().serves_v2()
        async with asyncio.TaskGroup() as group:
            for api in ("3", "2") if both else (watch.api if watch.api != "auto" else "3",):
                group.create_task(self._follow(watch, api, self._store().names(watch.prefix, api)))

    async def _follow(self, watch: FlannelWatch, api: str, names: Names) -> None:
        async with contextlib.aclosing(names) as news:
            async for there, gone in news:
                for name in sorted(there if not watch.only else there & set(watch.only)):
                    await self._told(self.join(one_of(watch, name)), name)
                for name in sorted(gone):
                    joined = self.joined.get(name)
                    here = joined is not None and place(joined.request) == place(one_of(watch, name))
                    if here and self._store(watch.remote).api(name) == api:
                        await self._told(self.leave(NetworkName(name=name)), name)

    async def _told(self, doing: Awaitable[Any], name: str) -> None:
        try:
            await doing
        except WeftedError as error:
            log.warning("network not followed", extra={"network": name, "error": error.message})

    async def _give_up(self, known: Joined) -> None:
        """Delete the record in the API that is left; the same subnet is taken in the other one, if it is free there."""
        with contextlib.suppress(Unreachable, UsageError):
            await known.keeper.release()

    async def leave(self, request: NetworkName) -> Any:
        """Give the subnet back. Raises `NotFound`, and `InUse` while containers of this host are in the network."""
        known = self.joined.get(request.name)
        if known is None:
            raise NotFound(f"flannel network {request.name!r} is not joined", "see which are: wefted flannel ls")
        async with known.turn, self._host.lock:
            self._still(known)
            used = next((e for e in self._host.endpoints.values() if e.network == request.name), None)
            if used is not None:
                raise InUse(
                    f"{used.container} is in flannel network {request.name!r}",
                    f"detach it first: wefted network disconnect {request.name} {used.container}",
                )
            await known.keeper.release()
            del self.joined[request.name]
            await self._host.local.write([Delete(keys.LOCAL_FLANNEL + request.name)])
            store = self._store(known.request.remote)
            store.unmount(request.name)
            if known.request.remote:
                await store.server(known.request.remote).forget()
            self.changed.set()
            known.woken.set()
            await self._host.refresh()
            await self._host.converge({HOST})
        return {"left": request.name}

    async def release_all(self) -> None:
        """Give every subnet back, for a host that leaves; what etcd does not hear of ends by itself within a day."""
        for joined in self.joined.values():
            with contextlib.suppress(Unreachable):
                await joined.keeper.release()

    async def list_all(self, _: Nothing) -> Any:
        return [self._json(joined) for _, joined in sorted(self.joined.items())]

    def heard(self, changed: set[str]) -> None:
        """Wake the keepers whose record is gone, or whose configuration has changed; `changed` has the cluster's keys."""
        for name, joined in self.joined.items():
            network = keys.network(name) in changed
            lost = any(key.startswith(keys.leases_of(name)) for key in changed) and not self._holds(joined)
            joined.lost |= lost and joined.keeper.held is not None
            if network or (lost and not joined.busy):
                joined.woken.set()

    def _still(self, joined: Joined) -> None:
        """Raise `NotFound` if a network was left while somebody waited for his turn."""
        if self.joined.get(joined.request.name) is not joined:
            raise NotFound(f"flannel network {joined.request.name!r} was left")

    def moved(self) -> None:
        """Let the keepers announce this host as it is now: its addresses on the underlay have changed."""
        for joined in self.joined.values():
            joined.keeper.node = self._host.node
            joined.woken.set()

    async def renew(self, joined: Joined) -> FlannelLease:
        """Take or renew the subnet, and make the kernel follow. Raises what `Keeper.acquire` raises."""
        joined.busy, joined.lost = True, False
        try:
            before = joined.keeper.held
            async with joined.turn:
                self._still(joined)
                lease = await joined.keeper.acquire()
            async with self._host.lock:
                self._still(joined)
                await self._take(joined, lease, before)
                await self._host.converge({HOST})
        finally:
            joined.busy = False
        if joined.lost or not self._holds(joined):
            joined.woken.set()
        joined.error = ""
        return lease

    def subnet_env(self, joined: Joined) -> str:
        """Return the text of the network's `subnet.env`."""
        network = self._host.view.networks[joined.request.name]
        config: Config = parse(dict(network.labels)[CONFIG_LABEL], network.name)
        assert joined.keeper.held is not None
        mtu = self._host.segment(network).mtu
        return flannel_lease.subnet_env(config, joined.keeper.held, mtu, joined.request.masquerade)

    async def _take(self, joined: Joined, lease: FlannelLease, before: FlannelLease | None) -> None:
        """Bring what was written into the view; where it is new, with what the cluster says beside it."""
        keeper = joined.keeper
        if lease != before:
            await self._host.refresh()
        elif keeper.revision:
            await self._host.take(keeper.store.items_of(keeper.name, keeper.node.id, lease, keeper.revision))

    def _holds(self, joined: Joined) -> bool:
        held = joined.keeper.held
        own = {lease.block for lease in self._host.view.leases_of(joined.request.name) if lease.node == self._host.node.id}
        return held is not None and set(held.subnets) <= own

    def trouble(self, joined: Joined) -> str:
        """Return what is wrong with the configuration of a network that goes on with an earlier one, or ""."""
        return self._store(joined.request.remote).memory(joined.request.name).trouble

    async def _remembered(self, name: str) -> Mapping[str, str]:
        """Return the labels that a network had when the cluster was last seen."""
        key = keys.LOCAL_CLUSTER + keys.network(name)
        item = (await self._host.local.read(key)).items.get(key)
        return dict(codec.loads(Network, item.value).labels) if item and item.value else {}

    def _enter(self, request: FlannelJoin, before: Sequence[IPNetwork], remembered: str, api: str) -> Joined:
        """Mount a network; `api` is the one that had it, which counts where none was told."""
        store, auto = self._store(request.remote), request.api == "auto"
        is_v2 = (api if auto else request.api) == "2" and not request.remote
        mount = Mount(
            request.name, place(request), request.masquerade, request.blackhole, is_v2, auto, request.key_file, request.remote
        )
        if request.remote:
            store.server(request.remote)  # refuses files of TLS that cannot be read
            self.served.set()
        store.mount(mount, remembered)
        public, public6 = self._public(request)
        keeper = Keeper(store, request.name, self._host.node, public, public6, before, self._announced)
        joined = self.joined[request.name] = Joined(request, keeper)
        return joined

    async def _announced(self, network: Network) -> Mapping[str, str]:
        await hostkeys.learn(self._host, [network])
        async with self._host.lock:  # a pass may run the same command
            return await announced(self._host, network)

    def _store(self, remote: str = "") -> FlannelStore:
        """Return the store of a network in etcd, or at a flannel server; a host is with one or the other."""
        store = self._host.cluster
        if not isinstance(store, FlannelStore) or (not self._host.shared and not remote):
            raise UsageError(
                "flannel's networks are in etcd, and this host's store is not", "wefted up --store etcd://HOST:2379"
            )
        if remote and self._host.shared:
            raise UsageError(
                f"this host's store is {self._host.cluster_url}, so it needs no flannel server",
                "join the network where it is: wefted flannel join --prefix KEY",
            )
        store.validate = validate
        return store

    def _public(self, request: FlannelJoin) -> tuple[IPv4Address | None, IPv6Address | None]:
        told = [spec.address(text) for text in (request.public_ip, request.public_ip6) if text]
        known = {address.version: address for address in reversed((*told, *self._host.node.addresses))}
        return known.get(4), known.get(6)  # type: ignore[return-value]

    def _free_name(self, name: str) -> None:
        if name in self._host.view.networks:
            raise InUse(f"there is a network {name!r} already", "join under another name: --name NAME")

    def _json(self, joined: Joined) -> dict[str, Any]:
        held = joined.keeper.held
        return {
            "name": joined.request.name,
            "prefix": place(joined.request) if joined.request.remote else joined.request.prefix,
            "api": self._store(joined.request.remote).api(joined.request.name),
            "subnets": [str(subnet) for subnet in held.subnets] if held is not None else [],
            "public": [str(a) for a in (joined.keeper.public, joined.keeper.public6) if a is not None],
            "file": joined.request.subnet_file,
            "masquerade": joined.request.masquerade,
            "error": joined.error or self.trouble(joined),
        }


def _check_api(api: str) -> None:
    if api not in ("2", "3", "auto"):
        raise UsageError(f"etcd has no API {api!r}", "it is 2, 3 or auto")
