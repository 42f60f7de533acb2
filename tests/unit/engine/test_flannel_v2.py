"""Subnets whose records are in etcd's API v2: one key at a time, races, nodes that die between two writes."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Address, ip_interface, ip_network
from random import Random
from typing import Any

import pytest

from wefted.engine.cluster import ClusterView
from wefted.engine.flannel import Keeper
from wefted.errors import Conflict, NotFound, UsageError
from wefted.model import codec, flannel_lease
from wefted.model.flannel_network import API_LABEL
from wefted.model.lease import Lease
from wefted.model.network import Network
from wefted.model.node import Node
from wefted.model.records import Delete, Op, Put, Snapshot
from wefted.store.etcd2 import KeysStore
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.memory import MemoryStore
from wefted.store.url import EtcdSpec

from ..store.keys_fake import FakeKeys

PREFIX = "/atomic.io/network/"
DEADLINE = 15


class Died(Exception):
    """The process is no more."""


class Mortal:
    """A store through which so many writes are done; with the next one its process dies, before or after it is done."""

    def __init__(self, inner: Any, life: list[int], after: bool) -> None:
        self._inner, self._life, self._after = inner, life, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, ops: Sequence[Op]) -> int:
        self._life[0] -= 1
        if self._life[0] < 0 and not self._after:
            raise Died
        revision: int = await self._inner.write(ops)
        if self._life[0] < 0:
            raise Died
        return revision


class Etcd:
    """Both key spaces of one etcd."""

    def __init__(self, fake: FakeKeys) -> None:
        self.fake = fake
        self.v3 = MemoryStore()
        self.v2 = KeysStore(EtcdSpec(endpoints=(fake.url,)))

    def store(self, *mounts: Mount, life: list[int] | None = None, after: bool = False) -> FlannelStore:
        v3: Any = self.v3 if life is None else Mortal(self.v3, life, after)
        v2: Any = self.v2 if life is None else Mortal(self.v2, life, after)
        return FlannelStore(v3, "/wefted/", mounts or (Mount("old", PREFIX, is_v2=True),), v2)

    async def configure(self, backend: str = "udp", network: str = "10.1.0.0/16") -> None:
        config = {"Network": network, "Backend": {"Type": backend}}
        await self.v2.write([Put(f"{PREFIX}config", json.dumps(config).encode())])

    async def leases(self) -> dict[str, bytes | None]:
        items = (await self.v2.read(f"{PREFIX}subnets/")).items
        return {key.rpartition("/")[2]: item.value for key, item in items.items()}

    async def said(self) -> set[str]:
        return set((await self.v3.read("/wefted/flannel/")).items)


@pytest.fixture
async def etcd() -> AsyncIterator[Etcd]:
    async with FakeKeys() as fake:
        made = Etcd(fake)
        yield made
        await made.v2.close()
        await made.v3.close()


def keeper(store: FlannelStore, number: int, public: str = "", **rest: Any) -> Keeper:
    address = public or f"192.0.2.{number}"
    node = Node(id=f"node-{number}", name=f"h{number}", underlay=(ip_interface(f"{address}/24"),), device="eth0")
    return Keeper(store, "old", node, IPv4Address(address), random=rest.pop("random", Random(number)), **rest)


@pytest.mark.parametrize(
    ("backend", "value"),
    [
        ("udp", '{"PublicIP":"192.0.2.1"}'),
        ("host-gw", '{"PublicIP":"192.0.2.1","BackendType":"host-gw"}'),
        ("vxlan", '{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VtepMAC":"<mac>"}}'),
    ],
)
async def test_a_lease_is_written_as_old_flannels_do(etcd: Etcd, backend: str, value: str) -> None:
    await etcd.configure(backend)
    lease = await keeper(etcd.store(), 1).acquire()
    ((key, found),) = (await etcd.leases()).items()
    assert found == value.replace("<mac>", lease.data["VtepMAC"] if lease.data else "").encode()
    assert key == flannel_lease.key(lease)
    assert (await etcd.v2.read(PREFIX)).items[f"{PREFIX}subnets/{key}"].expires
    assert await etcd.said() == {f"/wefted/flannel/old/{key}/node-1"}


async def test_a_restart_renews_and_who_leaves_leaves_nothing(etcd: Etcd) -> None:
    await etcd.configure()
    first = await keeper(etcd.store(), 1).acquire()
    created = next(iter((await etcd.v2.read(f"{PREFIX}subnets/")).items.values())).created
    again = keeper(etcd.store(), 1, random=Random(99))
    assert await again.acquire() == first
    assert next(iter((await etcd.v2.read(f"{PREFIX}subnets/")).items.values())).created == created
    await again.release()
    assert (await etcd.leases(), await etcd.said()) == ({}, set())


async def test_another_address_is_told_and_the_subnet_stays(etcd: Etcd) -> None:
    await etcd.configure()
    first = await keeper(etcd.store(), 1).acquire()
    moved = await keeper(etcd.store(), 1, public="192.0.2.200").acquire()
    assert moved.subnet == first.subnet
    assert list((await etcd.leases()).values()) == [b'{"PublicIP":"192.0.2.200"}']


async def test_a_reservation_stays_one(etcd: Etcd) -> None:
    await etcd.configure()
    await etcd.v2.write([Put(f"{PREFIX}subnets/10.1.7.0-24", b'{"PublicIP":"192.0.2.1"}')])
    for _ in range(2):
        assert (await keeper(etcd.store(), 1).acquire()).subnet == ip_network("10.1.7.0/24")
    assert not (await etcd.v2.read(PREFIX)).items[f"{PREFIX}subnets/10.1.7.0-24"].expires
    assert (await keeper(etcd.store(), 2).acquire()).subnet != ip_network("10.1.7.0/24")


async def test_hosts_behind_one_public_address_are_told_apart(etcd: Etcd) -> None:
    await etcd.configure()
    leases = await asyncio.gather(*(keeper(etcd.store(), n, "10.0.2.15", random=Random(0)).acquire() for n in range(1, 6)))
    assert len({lease.subnet for lease in leases}) == 5
    assert (await keeper(etcd.store(), 3, "10.0.2.15").acquire()).subnet == leases[2].subnet


@pytest.mark.parametrize("public", ["", "10.0.2.15"], ids=["own addresses", "one address for all"])
async def test_twenty_hosts_that_draw_alike_all_get_a_subnet(etcd: Etcd, public: str) -> None:
    await etcd.configure()
    keepers = [keeper(etcd.store(), number, public, random=Random(0)) for number in range(1, 21)]
    leases = await asyncio.gather(*(each.acquire() for each in keepers))
    assert len({lease.subnet for lease in leases}) == 20
    assert len(await etcd.leases()) == 20
    _, nodes = await etcd.store().raw_leases("old")
    assert nodes == {flannel_lease.key(lease): f"node-{number}" for number, lease in enumerate(leases, 1)}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("case", ["new", "renewed", "moved", "taken over", "left", "lost race"])
async def test_who_dies_between_two_writes_leaves_no_subnet_that_nobody_has(etcd: Etcd, case: str, after: bool) -> None:
    """Both hosts have one public address, so that a lease of unknown owner would be either's."""
    await etcd.configure()
    for writes in itertools.count():
        life = [1000]
        store = etcd.store(life=life, after=after)
        dying = keeper(store, 1, "10.0.2.15", random=Random(0))
        if case == "taken over":
            await etcd.v2.write([Put(f"{PREFIX}subnets/10.1.5.0-24", b'{"PublicIP":"10.0.2.15"}', ttl=60)])
        elif case != "new" and case != "lost race":
            await dying.acquire()
        if case == "moved":
            dying.public = IPv4Address("192.0.2.99")
        life[0] = writes
        other = keeper(etcd.store(), 2, "10.0.2.15", random=Random(0))
        try:
            if case == "lost race":
                await asyncio.gather(dying.acquire(), other.acquire())
            else:
                await (dying.release() if case == "left" else dying.acquire())
            survived = True
        except Died:
            survived = False
        theirs = await other.acquire()
        mine = await keeper(etcd.store(), 1, str(dying.public), random=Random(1)).acquire()
        assert mine.subnet != theirs.subnet
        assert set(await etcd.leases()) == {flannel_lease.key(mine), flannel_lease.key(theirs)}
        _, nodes = await etcd.store().raw_leases("old")
        assert nodes == {flannel_lease.key(mine): "node-1", flannel_lease.key(theirs): "node-2"}
        await etcd.v2.write([Delete(f"{PREFIX}subnets/{flannel_lease.key(mine)}")])
        await etcd.v2.write([Delete(f"{PREFIX}subnets/{flannel_lease.key(theirs)}")])
        for key in await etcd.said():
            await etcd.v3.write([Delete(key)])
        if survived:
            assert writes >= 2
            return


async def test_a_lease_that_somebody_else_has_now_is_not_deleted(etcd: Etcd) -> None:
    await etcd.configure()
    mine = keeper(etcd.store(), 1)
    key = flannel_lease.key(await mine.acquire())
    await etcd.v2.write([Delete(f"{PREFIX}subnets/{key}")])
    await etcd.v2.write([Put(f"{PREFIX}subnets/{key}", b'{"PublicIP":"192.0.2.77"}', ttl=60)])
    _, nodes = await etcd.store().raw_leases("old")
    assert nodes == {}
    await mine.release()
    assert await etcd.leases() == {key: b'{"PublicIP":"192.0.2.77"}'}
    assert (await keeper(etcd.store(), 1).acquire()).subnet != ip_network(key.replace("-", "/"))


async def test_the_configuration_is_found_in_either_api(etcd: Etcd) -> None:
    store = etcd.store(Mount("old", PREFIX, auto=True))
    with pytest.raises(NotFound, match="has no configuration"):
        await keeper(store, 1).acquire()
    assert store.api("old") == "3"
    await etcd.configure()
    await keeper(store, 1).acquire()
    assert (store.api("old"), len(await etcd.leases())) == ("2", 1)
    network = codec.loads(Network, (await store.read("networks/")).items["networks/old"].value or b"")
    assert (API_LABEL, "2") in network.labels
    both = etcd.store(Mount("old", PREFIX, auto=True))
    await etcd.v3.write([Put(f"{PREFIX}config", b'{"Network":"10.9.0.0/16"}')])
    assert (await keeper(both, 1).acquire()).subnet.subnet_of(ip_network("10.9.0.0/16"))  # type: ignore[union-attr, arg-type]
    assert both.api("old") == "3"


@pytest.mark.parametrize("auto", [False, True], ids=["told", "auto"])
async def test_an_etcd_that_has_no_api_v2(etcd: Etcd, auto: bool) -> None:
    etcd.fake.enabled = False
    store = etcd.store(Mount("old", PREFIX, is_v2=not auto, auto=auto))
    if auto:
        with pytest.raises(NotFound):
            await keeper(store, 1).acquire()
        return
    with pytest.raises(UsageError, match="does not serve the API v2") as raised:
        await keeper(store, 1).acquire()
    assert "--enable-v2" in str(raised.value.hint)
    assert (await store.read("")).items == {}, "and everything else is read"
    async with asyncio.timeout(DEADLINE):
        assert isinstance(await anext(store.watch("")), Snapshot)


async def next_of(watch: AsyncIterator[Any], view: ClusterView) -> set[str]:
    """Take the next news into a view, as a host does; return the keys that changed."""
    async with asyncio.timeout(DEADLINE):
        news = await anext(watch)
    return view.replace(news) if isinstance(news, Snapshot) else view.update(news)


async def test_a_watch_tells_of_both_key_spaces(etcd: Etcd) -> None:
    await etcd.configure()
    await etcd.v3.write([Put("/wefted/nodes/n1", b"{}")])
    store, view = etcd.store(), ClusterView()
    watch = store.watch("")
    assert await next_of(watch, view) >= {"networks/old"}
    assert view.revision == 1, "the clock of the API v2 is another one"
    peer = f"{PREFIX}subnets/10.1.9.0-24"
    await etcd.v2.write([Put(peer, b'{"PublicIP":"192.0.2.9"}')])
    assert await next_of(watch, view) == {"leases/old/10.1.9.0-24"}
    await etcd.v2.write([Put(peer, b'{"PublicIP":"192.0.2.10"}')])
    assert await next_of(watch, view) == {"leases/old/10.1.9.0-24"}
    assert view.leases["leases/old/10.1.9.0-24"].underlay == (IPv4Address("192.0.2.10"),)
    lease = await keeper(store, 1).acquire()
    ours = f"leases/old/{flannel_lease.key(lease)}"
    while ours not in view.leases:
        await next_of(watch, view)
    assert view.leases[ours].node == "node-1", "its owner is known before it is there"
    await etcd.v2.write([Delete(peer)])
    while "leases/old/10.1.9.0-24" in view.leases:
        await next_of(watch, view)
    etcd.fake.wipe()
    while ours in view.leases:
        await next_of(watch, view)
    assert "old" in view.networks, "its containers run on"
    network = codec.dumps(view.networks["old"])
    await store.write([Put("networks/old", network, 0)])
    assert set((await etcd.v2.read(PREFIX)).items) == {f"{PREFIX}config"}
    with pytest.raises(Conflict):
        await store.write([Put("networks/old", network, 0)])
    await watch.aclose()  # type: ignore[attr-defined]


async def test_a_network_goes_from_one_api_to_the_other_under_a_watch(etcd: Etcd) -> None:
    """The same prefix is left and watched anew; what was there is told anew."""
    store, view = etcd.store(Mount("old", PREFIX, auto=True)), ClusterView()
    watch = store.watch("")
    await next_of(watch, view)
    await etcd.configure()
    await etcd.v2.write([Put(f"{PREFIX}subnets/10.1.9.0-24", b'{"PublicIP":"192.0.2.9"}')])
    assert await store.look_elsewhere("old")
    while not view.leases:
        await next_of(watch, view)
    await etcd.v2.write([Delete(f"{PREFIX}subnets/10.1.9.0-24")])
    while view.leases:
        await next_of(watch, view)
    assert [codec.loads(Lease, codec.dumps(lease)) for lease in view.leases.values()] == []
    for _ in range(3):
        mount = Mount("old", PREFIX, is_v2=True)
        store.unmount("old")
        store.mount(mount)
    await etcd.v2.write([Put(f"{PREFIX}subnets/10.1.8.0-24", b'{"PublicIP":"192.0.2.8"}')])
    while "leases/old/10.1.8.0-24" not in view.leases:
        await next_of(watch, view)
    await watch.aclose()  # type: ignore[attr-defined]


async def test_networks_are_found_by_name(etcd: Etcd) -> None:
    await etcd.v2.write([Put("/nets/blue/config", b"{}")])
    names = etcd.store().names("/nets/", "2")
    async with asyncio.timeout(DEADLINE):
        assert await anext(names) == (frozenset({"blue"}), frozenset())
        await etcd.v2.write([Put("/nets/red/config", b"{}")])
        assert await anext(names) == (frozenset({"red"}), frozenset())
        await etcd.v2.write([Delete("/nets/blue/config")])
        assert await anext(names) == (frozenset(), frozenset({"blue"}))
    await names.aclose()
