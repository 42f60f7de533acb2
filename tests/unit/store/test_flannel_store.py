"""flannel's networks among those of wefted: what is read, what a watch tells, and what stands in etcd afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest

from wefted.engine.cluster import ClusterView
from wefted.errors import Conflict, InUse, UsageError
from wefted.model import codec, flannel_lease
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Network
from wefted.model.records import Delete, Item, Put, Snapshot
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.memory import MemoryStore
from wefted.testing.store_contract import Connect, StoreContract

PREFIX = "/coreos.com/network/"
CONFIG = b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc05::/48","Backend":{"Type":"vxlan","VNI":7}}'
PEER = "10.5.34.0-24&fc05:0:0:2::-64"
PEER_VALUE = json.dumps({
    "PublicIP": "192.0.2.9", "PublicIPv6": "2001:db8::9", "BackendType": "vxlan",
    "BackendData": {"VNI": 7, "VtepMAC": "62:36:36:1c:6d:33"}, "BackendV6Data": {"VNI": 7, "VtepMAC": "62:36:36:1c:6d:34"},
}).encode()  # fmt: skip
MINE = FlannelLease(
    subnet=IPv4Network("10.5.7.0/24"), public=IPv4Address("192.0.2.1"), backend="vxlan",
    data={"VNI": 7, "VtepMAC": "02:00:00:00:00:01"},
)  # fmt: skip


class TestContract(StoreContract):
    """With a flannel network beside, it is a store like any other."""

    @pytest.fixture
    def connect(self) -> Connect:
        root = MemoryStore()

        async def open_one() -> FlannelStore:
            return FlannelStore(root, "/wefted/", [])

        return open_one


@pytest.fixture
async def root() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    yield store
    await store.close()


@pytest.fixture
def store(root: MemoryStore) -> FlannelStore:
    return FlannelStore(root, "/wefted/", [Mount("old", PREFIX, masquerade=True)])


def leases(snapshot: Snapshot) -> dict[str, Lease]:
    """Return the decoded leases of a snapshot."""
    return {k: codec.loads(Lease, i.value or b"") for k, i in snapshot.items.items() if k.startswith("leases/")}


async def test_flannels_records_are_read_as_ours(root: MemoryStore, store: FlannelStore) -> None:
    await root.write([
        Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}subnets/{PEER}", PEER_VALUE), Put("/wefted/nodes/n1", b"{}"),
        Put(f"{PREFIX}subnets/garbage", b"x"), Put(f"{PREFIX}subnets/10.5.99.0-24", b"not JSON"), Put("/elsewhere", b""),
    ])  # fmt: skip
    snapshot = await store.read("")
    assert set(snapshot.items) == {"networks/old", "leases/old/10.5.34.0-24", "leases/old/fc05:0:0:2::-64", "nodes/n1"}
    network = codec.loads(Network, snapshot.items["networks/old"].value or b"")
    assert (network.backend, network.option("vni"), network.option("port"), network.masquerade) == ("vxlan", "7", "8472", True)
    assert is_flannel(network)
    four, six = (leases(snapshot)[key] for key in ("leases/old/10.5.34.0-24", "leases/old/fc05:0:0:2::-64"))
    assert (four.block, four.node, four.get("vtep_mac")) == (
        ip_network("10.5.34.0/24"),
        "flannel:192.0.2.9",
        "62:36:36:1c:6d:33",
    )
    assert six.get("vtep_mac") == "62:36:36:1c:6d:34"
    assert set((await store.read("leases/old/")).items) == set(leases(snapshot))
    assert set((await store.read("nodes/")).items) == {"nodes/n1"}


async def test_a_lease_of_ours_is_flannels_with_its_owner_beside(root: MemoryStore, store: FlannelStore) -> None:
    await root.write([Put(f"{PREFIX}config", CONFIG)])
    await store.keep_lease("old", "node-1", MINE, None)
    (written,) = (await root.read(f"{PREFIX}subnets/")).items.values()
    assert (written.key, written.value) == (f"{PREFIX}subnets/10.5.7.0-24", flannel_lease.encode(MINE))
    assert leases(await store.read("leases/"))["leases/old/10.5.7.0-24"].node == "node-1"
    with pytest.raises(Conflict):
        await store.keep_lease("old", "node-2", MINE, None)
    raw, nodes = await store.raw_leases("old")
    assert (set(raw.items), nodes) == ({"10.5.7.0-24"}, {"10.5.7.0-24": "node-1"})
    await store.give_up_lease("old", "node-1", "10.5.7.0-24")
    assert not (await root.read(f"{PREFIX}subnets/")).items
    assert not (await root.read("/wefted/flannel/")).items


async def test_a_watch_tells_of_both(root: MemoryStore, store: FlannelStore) -> None:
    await root.write([Put(f"{PREFIX}config", CONFIG), Put("/wefted/nodes/n1", b"{}")])
    watch = store.watch("")
    first = await anext(watch)
    assert isinstance(first, Snapshot)
    assert set(first.items) == {"networks/old", "nodes/n1"}

    async def next_keys() -> dict[str, bool]:
        news = await anext(watch)
        assert not isinstance(news, Snapshot)
        return {item.key: item.value is not None for item in news}

    await root.write([Put(f"{PREFIX}subnets/{PEER}", PEER_VALUE)])
    assert await next_keys() == {"leases/old/10.5.34.0-24": True, "leases/old/fc05:0:0:2::-64": True}
    await root.write([Put(f"{PREFIX}subnets/{PEER}", b"damaged")])
    assert await next_keys() == {"leases/old/10.5.34.0-24": False, "leases/old/fc05:0:0:2::-64": False}
    await root.write([Delete(f"{PREFIX}subnets/{PEER}")])
    assert await next_keys() == {"leases/old/10.5.34.0-24": False, "leases/old/fc05:0:0:2::-64": False}
    await root.write([Put("/wefted/nodes/n2", b"{}")])
    assert await next_keys() == {"nodes/n2": True}
    await root.write([Delete(f"{PREFIX}config")])
    assert await next_keys() == {"networks/old": True}, "its containers run on"
    assert store.memory("old").trouble == f"{PREFIX}config is not there; what it said before goes on"


async def test_what_is_flannels_is_not_changed_by_us(root: MemoryStore, store: FlannelStore) -> None:
    await root.write([Put(f"{PREFIX}config", CONFIG)])
    network = (await store.read("networks/")).items["networks/old"]
    for op in (
        Delete("networks/old"),
        Put("networks/old", network.value or b"", network.revision),
        Delete("leases/old/10.5.1.0-24"),
    ):
        with pytest.raises(UsageError, match="is flannel's"):
            await store.write([op])
    await root.write([Delete(f"{PREFIX}config")])
    await store.write([Put("networks/old", network.value or b"", 0)])
    assert (await root.read(f"{PREFIX}config")).items[f"{PREFIX}config"].value == CONFIG


async def test_a_network_is_joined_and_left_while_a_watch_is_under_way(root: MemoryStore) -> None:
    store = FlannelStore(root, "/wefted/", [])
    await root.write(
        [Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}subnets/{PEER}", PEER_VALUE), Put("/wefted/nodes/n1", b"{}")]
    )
    watch = store.watch("")

    async def next_snapshot() -> set[str]:
        news = await anext(watch)
        assert isinstance(news, Snapshot)
        return set(news.items)

    assert await next_snapshot() == {"nodes/n1"}
    store.mount(Mount("old", PREFIX))
    joined = {"nodes/n1", "networks/old", "leases/old/10.5.34.0-24", "leases/old/fc05:0:0:2::-64"}
    assert await next_snapshot() == joined
    with pytest.raises(InUse, match="joined already"):
        store.mount(Mount("old", PREFIX))
    store.unmount("old")
    assert await next_snapshot() == {"nodes/n1"}
    assert set((await store.read("")).items) == {"nodes/n1"}
    store.mount(Mount("old", PREFIX))
    assert await next_snapshot() == joined


async def test_a_late_picture_takes_away_nothing_that_is_newer(monkeypatch: pytest.MonkeyPatch, root: MemoryStore) -> None:
    """A network is joined; what is there was read, but is told only after this host's subnet is written and its owner known."""
    store, told = FlannelStore(root, "/wefted/", []), asyncio.Event()
    watch_at_once = root.watch

    async def watch_late(prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        async for seen in watch_at_once(prefix):
            if prefix == PREFIX:
                await told.wait()
            yield seen

    monkeypatch.setattr(root, "watch", watch_late)
    await root.write([Put(f"{PREFIX}config", CONFIG)])
    cluster, watch = ClusterView(), store.watch("")
    cluster.replace(await anext(watch))  # type: ignore[arg-type]
    store.mount(Mount("old", PREFIX))
    news = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.keep_lease("old", "n1", MINE, None)
    cluster.replace(await store.read(""))
    for _ in range(10):
        await asyncio.sleep(0)  # the owner is told, the lease is not
    told.set()
    late = await news
    assert isinstance(late, Snapshot)
    assert late.items.keys() == {"networks/old"}
    cluster.replace(late)
    assert len(cluster.leases_of("old")) == 1


async def test_a_network_that_comes_during_a_read_is_in_it(monkeypatch: pytest.MonkeyPatch, root: MemoryStore) -> None:
    await root.write([Put(f"{PREFIX}config", CONFIG), Put("/other/config", CONFIG)])
    store = FlannelStore(root, "/wefted/", [Mount("old", PREFIX)])
    read_at_once = root.read

    async def read_and_join(prefix: str) -> Snapshot:
        if prefix.startswith(PREFIX) and not store.api("other"):
            store.mount(Mount("other", "/other/"))
        return await read_at_once(prefix)

    monkeypatch.setattr(root, "read", read_and_join)
    assert (await store.read("networks/")).items.keys() == {"networks/old", "networks/other"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["lease first", "owner first"])
def test_the_owner_of_a_lease_is_known_in_whatever_order_the_news_comes(store: FlannelStore, order: tuple[int, int]) -> None:
    """Both are written at one revision, and told by two watches."""
    view, cluster = store.view_of(Mount("old", PREFIX)), ClusterView()
    for revision, public in ((5, "192.0.2.1"), (9, "192.0.2.2")):
        lease = replace(MINE, public=IPv4Address(public))
        news = (
            Item(f"{PREFIX}subnets/10.5.7.0-24", flannel_lease.encode(lease), revision),
            Item("/wefted/flannel/old/10.5.7.0-24", b"n1", revision),
        )
        for number in order:
            cluster.update(store.take(view, news[number]))
        (found,) = cluster.leases.values()
        assert (found.node, found.underlay) == ("n1", (IPv4Address(public),))
    cluster.update(store.take(view, Item(f"{PREFIX}subnets/10.5.7.0-24", flannel_lease.encode(MINE), 10)))
    (found,) = cluster.leases.values()
    assert found.node == "flannel:192.0.2.1", "somebody else wrote it since"


async def test_owners_are_known_of_a_network_that_is_joined_later(root: MemoryStore) -> None:
    late = FlannelStore(root, "/wefted/", [])
    await root.write([
        Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}subnets/10.5.7.0-24", flannel_lease.encode(MINE)),
        Put("/wefted/flannel/old/10.5.7.0-24", b"n1"),
    ])  # fmt: skip
    watch = late.watch("")
    assert (await anext(watch)).items == {}  # type: ignore[union-attr]
    late.mount(Mount("old", PREFIX))
    seen = await anext(watch)
    assert isinstance(seen, Snapshot)
    assert [lease.node for lease in leases(seen).values()] == ["n1"]


async def test_a_configuration_that_cannot_be_followed_is_a_wrong_one(root: MemoryStore, store: FlannelStore) -> None:
    def refuse(network: Network) -> None:
        raise UsageError("not here")

    await root.write([Put(f"{PREFIX}config", CONFIG)])
    known = (await store.read("networks/")).items["networks/old"]
    store.validate = refuse
    again = (await store.read("networks/")).items["networks/old"]
    assert (again.value, store.memory("old").trouble) == (known.value, "not here; what it said before goes on")
    fresh = FlannelStore(root, "/wefted/", [Mount("old", PREFIX)])
    fresh.validate = refuse
    assert (await fresh.read("networks/")).items == {}
    assert fresh.memory("old").trouble == "not here"


async def test_networks_under_a_prefix_are_told_as_they_come_and_go(root: MemoryStore, store: FlannelStore) -> None:
    await root.write([Put("/many/blue/config", CONFIG), Put("/many/config", CONFIG), Put("/many/blue/subnets/x", b"")])
    news = store.names("/many/")
    assert await anext(news) == ({"blue"}, frozenset())
    await root.write([Put("/many/red/config", CONFIG)])
    assert await anext(news) == ({"red"}, frozenset())
    await root.write([Delete("/many/blue/config")])
    assert await anext(news) == (frozenset(), {"blue"})


@pytest.mark.parametrize("mac", [None, "", 7, "62:36:36", "xx:36:36:1c:6d:33", "62:36:36:1c:6d:33; rm"])
async def test_what_is_no_mac_does_not_come_as_far_as_the_kernel(root: MemoryStore, store: FlannelStore, mac: object) -> None:
    value = {"PublicIP": "192.0.2.9", "BackendType": "vxlan", "BackendData": {"VNI": 7, "VtepMAC": mac}}
    await root.write([Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}subnets/10.5.34.0-24", json.dumps(value).encode())])
    (found,) = leases(await store.read("")).values()
    assert found.get("vtep_mac") == ""
