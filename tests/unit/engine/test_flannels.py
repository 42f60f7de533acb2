"""Keeping what was joined: what is done when the record of a subnet goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address, ip_interface
from types import SimpleNamespace
from typing import Any

import pytest

from wefted.engine.cluster import ClusterView
from wefted.engine.flannel import Keeper
from wefted.engine.flannels import Flannels, Joined
from wefted.engine.operations import FlannelJoin
from wefted.engine.planner import plan_node
from wefted.errors import UsageError
from wefted.model import flannel_lease
from wefted.model.command import Command
from wefted.model.flannel_lease import FlannelLease
from wefted.model.network import Network
from wefted.model.node import Node
from wefted.model.objects import HOST
from wefted.model.records import Item, Put, Snapshot
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.memory import MemoryStore
from wefted.testing.kernel import FakeKernel

NODE = Node(id="n1", name="h1", underlay=(ip_interface("192.0.2.1/24"),), device="eth0")


class Host:
    """As much of a host as the subnets need: a view of the cluster, and a kernel that needs nothing."""

    def __init__(self, store: FlannelStore) -> None:
        self.cluster, self.node, self.view, self.lock = store, NODE, ClusterView(), asyncio.Lock()

    async def refresh(self) -> None:
        self.view.replace(await self.cluster.read(""))

    async def network(self, name: str) -> Network:
        if name not in self.view.networks:
            await self.refresh()
        return self.view.networks[name]

    async def take(self, seen: Snapshot | tuple[Item, ...]) -> None:
        self.view.replace(seen) if isinstance(seen, Snapshot) else self.view.update(seen)

    async def converge(self, _: Any) -> None:
        """Change nothing."""


async def test_a_record_that_goes_while_it_is_renewed_is_looked_after_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch tells that it has gone, and only then the renewal enters what it wrote before that."""
    root = MemoryStore()
    await root.write([Put("/p/config", b'{"Network":"10.5.0.0/16"}')])
    store = FlannelStore(root, "/wefted/", [Mount("old", "/p/")])
    host: Any = Host(store)
    flannels = Flannels(host)
    keeper = Keeper(store, "old", NODE, IPv4Address("192.0.2.1"))
    joined = flannels.joined["old"] = Joined(FlannelJoin(name="old", prefix="/p"), keeper)
    await flannels.renew(joined)
    assert not joined.woken.is_set()
    acquire = keeper.acquire

    async def acquire_and_lose() -> FlannelLease:
        lease = await acquire()
        key = flannel_lease.key(lease)
        await store.give_up_lease("old", "n1", key)
        gone = Item(f"leases/old/{key}", None, keeper.revision + 1)
        flannels.heard(host.view.update([gone]))
        return lease

    monkeypatch.setattr(keeper, "acquire", acquire_and_lose)
    await flannels.renew(joined)
    assert joined.woken.is_set()
    monkeypatch.setattr(keeper, "acquire", acquire)
    joined.woken.clear()
    await flannels.renew(joined)
    assert not joined.woken.is_set()
    assert len((await root.read("/p/subnets/")).items) == 1
    await root.close()


async def test_who_leaves_before_the_first_renewal_after_a_start_gives_its_subnet_back() -> None:
    root = MemoryStore()
    await root.write([Put("/p/config", b'{"Network":"10.5.0.0/16"}')])
    store = FlannelStore(root, "/wefted/", [Mount("old", "/p/")])
    await Keeper(store, "old", NODE, IPv4Address("192.0.2.1")).acquire()
    other = Node(id="n2", name="h2", underlay=(ip_interface("192.0.2.2/24"),), device="eth0")
    theirs = await Keeper(store, "old", other, IPv4Address("192.0.2.2")).acquire()
    await Keeper(store, "old", NODE, IPv4Address("192.0.2.1")).release()
    assert list((await root.read("/p/subnets/")).items) == [f"/p/subnets/{flannel_lease.key(theirs)}"]
    await root.close()


async def test_a_network_is_in_the_view_before_its_first_command_runs() -> None:
    """Else a pass between that command and the lease takes it for what is over, and the next one runs it again."""
    root = MemoryStore()
    backend = '{"Type": "extension", "SubnetAddCommand": "true", "PreStartupCommand": "make key"}'
    await root.write([Put("/p/config", f'{{"Network":"10.5.0.0/16","Backend":{backend}}}'.encode())])
    store = FlannelStore(root, "/wefted/", [Mount("old", "/p/")])
    host: Any = Host(store)
    flannels, kernel, planned = Flannels(host), FakeKernel(), []

    async def worker(call: Callable[..., Any], *args: Any) -> Any:
        planned.extend(plan_node(NODE, host.view.networks.values(), (), ()).values())
        return call(*args)

    host.worker, host.kernel, host.shared = worker, kernel, True
    await Keeper(store, "old", NODE, IPv4Address("192.0.2.1"), announce=flannels._announced).acquire()
    (command,) = (item for item in kernel.read(HOST).objects.values() if isinstance(item, Command))
    assert command in planned
    await root.close()


async def test_an_api_that_etcd_never_had_is_refused() -> None:
    flannels = Flannels(SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no API '4'"):
        await flannels.join(FlannelJoin(api="4"))
