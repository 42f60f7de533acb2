"""The store in three etcd members of which one is cut off without a word: each in a namespace of its own, on one bridge."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from contextlib import ExitStack
from uuid import uuid4

import pytest

from wefted.errors import Unreachable
from wefted.model.records import Put, Snapshot
from wefted.store import EtcdSpec
from wefted.store.etcd import EtcdStore
from wefted.testing.etcd import BINARY, EtcdCluster

pytestmark = [pytest.mark.lab, pytest.mark.skipif(shutil.which(BINARY) is None, reason="etcd is not installed")]

DEADLINE = 20
MEMBERS = ("10.99.0.1", "10.99.0.2", "10.99.0.3")
CLIENT = "10.99.0.9"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside(netns: str, work):
    """Return what `work` returns, run by a thread that lives in the namespace."""
    outcome = []

    def run() -> None:
        try:
            with open(netns) as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), netns)
            outcome.extend((True, work()))
        except BaseException as error:
            outcome.extend((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not outcome[0]:
        raise outcome[1]
    return outcome[1]


class Underlay:
    """A bridge in a namespace, and a namespace for each host on it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._name = f"wefted-test-{uuid4().hex[:8]}"
        self._hub = self._namespace("hub")
        ip("-n", self._hub, "link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
        self.hosts = {address: self._host(address) for address in (*MEMBERS, CLIENT)}

    def path(self, address: str) -> str:
        return f"/run/netns/{self.hosts[address]}"

    def cut(self, address: str) -> None:
        """Pull the cable of a host at the far end, so that nobody is told."""
        ip("-n", self._hub, "link", "set", self._port(address), "down")

    def heal(self, address: str) -> None:
        ip("-n", self._hub, "link", "set", self._port(address), "up")

    def cut_peers(self, address: str) -> None:
        """Cut a member off from the others, but not from the client."""
        for other in MEMBERS:
            if other != address:
                ip("-n", self.hosts[address], "route", "add", "blackhole", f"{other}/32")

    def heal_peers(self, address: str) -> None:
        for other in MEMBERS:
            if other != address:
                ip("-n", self.hosts[address], "route", "del", "blackhole", f"{other}/32")

    def _host(self, address: str) -> str:
        host, port = self._namespace(address.rpartition(".")[2]), self._port(address)
        ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        ip("-n", self._hub, "link", "set", port, "master", "br0", "up")
        ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", host, "link", "set", link, "up")
        return host

    def _namespace(self, suffix: str) -> str:
        name = f"{self._name}-{suffix}"
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "delete", name)
        return name

    def _port(self, address: str) -> str:
        return f"port{address.rpartition('.')[2]}"


@pytest.fixture(scope="module")
def underlay():
    with ExitStack() as stack:
        yield Underlay(stack)


@pytest.fixture(scope="module")
def cluster(underlay, tmp_path_factory):
    with EtcdCluster(
        tmp_path_factory.mktemp("etcd"), hosts=MEMBERS, namespaces=[underlay.path(address) for address in MEMBERS],
        ask=lambda question: inside(underlay.path(CLIENT), question),
    ) as cluster:  # fmt: skip
        yield cluster


def address_of(member) -> str:
    return member.client_url.split("//")[1].split(":")[0]


async def go_on(story, steps: int) -> None:
    async with asyncio.timeout(DEADLINE):
        goal = len(story) + steps
        while len(story) < goal:
            await asyncio.sleep(0.01)


async def tell(spec: EtcdSpec, *events) -> tuple[list[bytes], list[bytes], int]:
    """Write and watch before, between and after the events; return what was written, what was told, and the snapshots."""
    writer, watcher = EtcdStore(spec), EtcdStore(spec)
    written: list[bytes] = []
    told: list[bytes] = []
    snapshots = 0
    first = asyncio.Event()

    async def write() -> None:
        while True:
            value = str(len(written)).encode()
            while True:
                try:
                    await writer.write([Put("k", value)])
                    break
                except Unreachable:
                    continue
            written.append(value)

    async def listen() -> None:
        nonlocal snapshots
        async for news in watcher.watch("k"):
            snapshots += isinstance(news, Snapshot)
            first.set()
            told.extend(item.value for item in (news.items.values() if isinstance(news, Snapshot) else news))

    listening = asyncio.ensure_future(listen())
    await asyncio.wait_for(first.wait(), DEADLINE)
    writing = asyncio.ensure_future(write())
    await go_on(told, 20)
    for event in events:
        await asyncio.to_thread(event)
        await go_on(told, 20)
    writing.cancel()
    async with asyncio.timeout(DEADLINE):
        while told[-1] != written[-1] and told[-1] != str(len(written)).encode():
            await asyncio.sleep(0.01)
    listening.cancel()
    await writer.close()
    await watcher.close()
    return written, told, snapshots


@pytest.mark.parametrize("how", ["cable", "peers"])
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_member_that_is_cut_off_without_a_word_is_left(cluster, underlay, how, role):
    """Cut off from everybody, or from its peers alone: then it still answers us, and only a quorum read tells."""
    member = cluster.leader() if role == "leader" else cluster.followers()[0]
    endpoints = tuple(sorted(cluster.endpoints, key=lambda url: url != member.client_url))
    spec = EtcdSpec(endpoints=endpoints, prefix=f"/{uuid4()}/")
    cut, heal = (underlay.cut, underlay.heal) if how == "cable" else (underlay.cut_peers, underlay.heal_peers)
    address = address_of(member)
    story = tell(spec, lambda: cut(address), lambda: heal(address))
    written, told, snapshots = inside(underlay.path(CLIENT), lambda: asyncio.run(story))
    assert told[: len(written)] == written == [str(n).encode() for n in range(len(written))]
    assert len(told) <= len(written) + 1
    assert snapshots == 1
    cluster.wait_ready()


def test_when_our_own_cable_is_pulled_news_comes_within_two_seconds_after_it_is_back(cluster, underlay):
    """Nothing closes a connection here: requests and watches must give it up by themselves."""
    spec = EtcdSpec(endpoints=cluster.endpoints, prefix=f"/{uuid4()}/")

    async def story() -> float:
        store = EtcdStore(spec)
        watch = store.watch("k")
        await anext(watch)
        await store.write([Put("k", b"before")])
        assert [item.value for item in await asyncio.wait_for(anext(watch), DEADLINE)] == [b"before"]
        coming = asyncio.ensure_future(anext(watch))
        await asyncio.to_thread(underlay.cut, CLIENT)
        for _ in range(2):
            with pytest.raises(Unreachable, match="does not answer"):
                await store.read("k")
        assert not coming.done()
        await asyncio.to_thread(underlay.heal, CLIENT)
        clock = asyncio.get_running_loop().time
        back = clock()
        other = EtcdStore(spec)
        await other.write([Put("k", b"after")])
        assert [item.value for item in await asyncio.wait_for(coming, DEADLINE)] == [b"after"]
        elapsed = clock() - back
        assert (await store.read("k")).items["k"].value == b"after"
        await store.close()
        await other.close()
        return elapsed

    assert inside(underlay.path(CLIENT), lambda: asyncio.run(story())) < 2
