"""The store in a real etcd of one member: the contract, lost answers, leases, compaction, outages."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from base64 import b64encode
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from wefted.errors import Conflict, Unreachable, UsageError
from wefted.model.records import Delete, Item, Put, Snapshot
from wefted.store import EtcdSpec
from wefted.store.etcd import EtcdStore
from wefted.store.memory import MemoryStore
from wefted.testing.etcd import BINARY, EtcdCluster
from wefted.testing.lossy_proxy import LossyProxy
from wefted.testing.store_contract import StoreContract
from wefted.testing.store_machine import machine

pytestmark = [pytest.mark.lab, pytest.mark.skipif(shutil.which(BINARY) is None, reason="etcd is not installed")]

DEADLINE = 15


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def spec(cluster):
    return EtcdSpec(endpoints=cluster.endpoints, prefix=f"/{uuid4()}/")


@pytest.fixture
async def store(spec):
    store = EtcdStore(spec)
    yield store
    await store.close()


class TestEtcdStore(StoreContract):
    @pytest.fixture
    def connect(self, spec):
        async def connected():
            return EtcdStore(spec)

        return connected


def test_it_does_what_the_reference_does(cluster):
    async def connect():
        return EtcdStore(EtcdSpec(endpoints=cluster.endpoints, prefix=f"/{uuid4()}/"))

    run_state_machine_as_test(machine(MemoryStore, connect), settings=settings(max_examples=12, stateful_step_count=15))


@pytest.fixture
async def proxy(cluster):
    port = int(cluster.endpoints[0].rpartition(":")[2])
    async with LossyProxy(port, b"/v3/kv/txn") as proxy:
        yield proxy


@pytest.fixture
async def unlucky(proxy, spec):
    """A store behind the proxy."""
    store = EtcdStore(EtcdSpec(endpoints=(proxy.url,), prefix=spec.prefix))
    yield store
    await store.close()


async def test_a_write_whose_answer_is_lost_is_done_once_and_reported_as_done(unlucky, store, proxy):
    watch = store.watch("k")
    await anext(watch)
    revisions = []
    for op in (
        lambda: Put("k", b"1", expect=0),
        lambda: Put("k", b"2", expect=revisions[-1]),
        lambda: Put("k", b"2"),
        lambda: Put("k", b"3", ttl=60),
        lambda: Delete("k", expect=revisions[-1]),
        lambda: Delete("k"),
    ):
        proxy.losses += ["answer", "answer", "request"]
        revisions.append(await unlucky.write([op()]))
        assert not proxy.losses
    values = [b"1", b"2", b"2", b"3", None]
    seen = []
    while len(seen) < len(values):
        seen += await asyncio.wait_for(anext(watch), DEADLINE)
    assert seen == [Item("k", value, revision) for value, revision in zip(values, revisions, strict=False)]
    await store.write([Put("k", b"last")])
    assert [item.value for item in await anext(watch)] == [b"last"]


async def test_a_lost_request_is_no_success_when_another_wants_the_same(unlucky, store, proxy):
    revision = await store.write([Put("k", b"1")])
    await unlucky.write([Put("other", b"")])
    proxy.losses += ["request"]
    racing = asyncio.ensure_future(unlucky.write([Put("k", b"2", expect=revision)]))
    while proxy.losses:
        await asyncio.sleep(0)
    await store.write([Put("k", b"2", expect=revision)])
    with pytest.raises(Conflict, match=r"^k was"):
        await racing


async def test_concurrent_counters_are_exact_in_spite_of_losses(unlucky, store, proxy):
    async def count(counter: EtcdStore) -> None:
        done = 0
        while done < 15:
            proxy.losses.extend(["answer"] if done % 2 else ["request"])
            item = (await counter.read("k")).items.get("k")
            try:
                value = int(item.value) + 1 if item else 1
                await counter.write([Put("k", str(value).encode(), expect=item.revision if item else 0)])
                done += 1
            except Conflict:
                continue

    await asyncio.gather(*(count(each) for each in (unlucky, unlucky, store, store)))
    assert (await store.read("k")).items["k"].value == b"60"


async def test_a_write_survives_the_loss_of_its_marks(store, cluster):
    revision = await store.write([Put("k", b"1")])
    await store.write([Put("k", b"2", expect=revision)])
    for lease in cluster.post("/lease/leases", {}).get("leases", ()):
        cluster.post("/lease/revoke", {"ID": lease["ID"]})
    await store.write([Put("k", b"3")])
    with pytest.raises(Conflict):
        await store.write([Put("k", b"4", expect=revision)])
    assert (await store.read("k")).items["k"].value == b"3"


def leases(cluster) -> set[str]:
    return {lease["ID"] for lease in cluster.post("/lease/leases", {}).get("leases", ())}


async def test_writing_again_leaks_no_lease(store, cluster):
    await store.write([Put("other", b"")])
    before = leases(cluster)
    for _ in range(5):
        await store.write([Put("a", b"", ttl=60), Put("b", b"", ttl=60)])
    assert len(leases(cluster) - before) == 2
    with pytest.raises(Conflict):
        await store.write([Put("a", b"", expect=0, ttl=60)])
    assert len(leases(cluster) - before) == 2
    await store.write([Put("a", b""), Delete("b")])
    assert leases(cluster) == before
    assert set((await store.read("")).items) == {"a", "other"}


async def test_a_closed_store_leaves_nothing_but_its_keys(spec, cluster):
    before = leases(cluster)
    store = EtcdStore(spec)
    await asyncio.gather(*(store.write([Put(f"k/{n}", b"")]) for n in range(10)))
    await store.close()
    assert leases(cluster) == before
    assert cluster.post("/kv/range", {**cluster.span(spec.prefix), "count_only": True})["count"] == "10"


async def test_a_lease_that_others_hang_keys_on_is_left_alone(store, spec, cluster):
    cluster.post("/lease/grant", {"TTL": "60", "ID": "4711"})
    for name in ("mine", "theirs"):
        key = b64encode((spec.prefix + name).encode()).decode()
        cluster.post("/kv/put", {"key": key, "value": "", "lease": "4711"})
    await store.write([Put("mine", b"1")])
    assert set((await store.read("")).items) == {"mine", "theirs"}
    cluster.post("/lease/revoke", {"ID": "4711"})
    assert set((await store.read("")).items) == {"mine"}


async def compact(store, cluster) -> None:
    cluster.post("/kv/compaction", {"revision": str((await store.read("")).revision), "physical": True})


async def test_a_watch_whose_history_was_compacted_begins_anew(store, cluster):
    watch = store.watch("k")
    await anext(watch)
    for value in (b"1", b"2"):
        await store.write([Put("k", value)])
    await compact(store, cluster)
    news = await asyncio.wait_for(anext(watch), DEADLINE)
    assert isinstance(news, Snapshot)
    assert news.items["k"].value == b"2"
    await store.write([Put("k", b"3")])
    assert [item.value for item in await anext(watch)] == [b"3"]


async def test_a_long_read_that_meets_a_compaction_is_read_again(store, cluster, monkeypatch):
    monkeypatch.setattr("wefted.store.etcd.PAGE", 10)
    await store.write([Put(f"k/{n:02}", b"old") for n in range(30)])
    pages = []
    ask = store._client.call

    async def interfere(path, body, patience=1.0):
        pages.append(body)
        if len(pages) == 2:
            cluster.post("/kv/put", {"key": b64encode(b"/elsewhere").decode(), "value": ""})
            cluster.post("/kv/compaction", {"revision": str(int(body["revision"]) + 1)})
        return await ask(path, body, patience)

    monkeypatch.setattr(store._client, "call", interfere)
    assert len((await store.read("k/")).items) == 30
    assert len(pages) == 5


async def test_too_much_for_one_write_is_refused_in_words(store):
    with pytest.raises(UsageError, match="too many operations"):
        await store.write([Put(f"k/{n}", b"") for n in range(200)])
    with pytest.raises(UsageError, match="too large"):
        await store.write([Put("k", bytes(3 * 2**20))])
    assert (await store.read("")).items == {}


async def test_a_server_that_is_no_etcd_is_told_as_one(tmp_path):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    store = EtcdStore(EtcdSpec(endpoints=(url,), timeout=0.3))
    with pytest.raises(Unreachable, match="HTTP 404, which is not etcd"):
        await store.read("")
    await store.close()
    server.close()


@pytest.fixture
def own_cluster(tmp_path):
    with EtcdCluster(tmp_path) as cluster:
        yield cluster


async def listen(store, key: str, told: list[bytes | None], news: asyncio.Event) -> None:
    async for change in store.watch(key):
        told += [item.value for item in (change.items.values() if isinstance(change, Snapshot) else change)]
        news.set()


async def wait_told(told: list, news: asyncio.Event, value: bytes, seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while value not in told:
            news.clear()
            await news.wait()


@pytest.mark.parametrize("silent", [False, True], ids=["ended", "frozen"])
async def test_after_an_outage_all_goes_on_at_once(own_cluster, silent):
    """Requests fail in time while etcd is away, and what is written when it is back is told within two seconds."""
    member = own_cluster.members[0]
    store, other = (EtcdStore(EtcdSpec(endpoints=own_cluster.endpoints)) for _ in range(2))
    told, news = [], asyncio.Event()
    await store.write([Put("k", b"before")])
    listening = asyncio.ensure_future(listen(store, "k", told, news))
    await wait_told(told, news, b"before")

    member.signal(signal.SIGSTOP) if silent else member.stop()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="in time" if silent else "refused"):
        await store.read("")
    assert 1.5 < time.monotonic() - begun < 3

    member.signal(signal.SIGCONT) if silent else await asyncio.to_thread(own_cluster.restart, member)
    await other.write([Put("k", b"after")])
    await wait_told(told, news, b"after", 2)
    assert told == [b"before", b"after"]
    listening.cancel()
    await store.close()
    await other.close()


async def test_an_etcd_that_lost_its_memory_is_noticed(own_cluster, tmp_path):
    member = own_cluster.members[0]
    store = EtcdStore(EtcdSpec(endpoints=own_cluster.endpoints))
    watch = store.watch("k")
    await anext(watch)
    for n in range(20):
        await store.write([Put("k", str(n).encode())])
    await anext(watch)
    member.stop()
    shutil.rmtree(tmp_path / f"{member.name}.etcd")
    await asyncio.to_thread(own_cluster.restart, member)
    await store.write([Put("k", b"new")])
    async with asyncio.timeout(DEADLINE):
        while not isinstance(news := await anext(watch), Snapshot):
            pass
    assert news.revision < 20
    if "k" not in news.items:
        assert [item.value for item in await anext(watch)] == [b"new"]
    await store.close()
