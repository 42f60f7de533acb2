"""The store in three etcd members, while they die, freeze and come back: writes go on, and watches lose nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest

from wefted.errors import Conflict, Unreachable
from wefted.model.records import Put, Snapshot
from wefted.store import EtcdSpec
from wefted.store.etcd import EtcdStore
from wefted.testing.etcd import BINARY, EtcdCluster

pytestmark = [pytest.mark.lab, pytest.mark.skipif(shutil.which(BINARY) is None, reason="etcd is not installed")]

DEADLINE = 20


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), 3) as cluster:
        yield cluster


@pytest.fixture
def cluster(members):
    members.revive()
    return members


@pytest.fixture
def spec(cluster):
    return EtcdSpec(endpoints=cluster.endpoints, prefix=f"/{uuid4()}/")


def beginning_at(member, spec) -> EtcdSpec:
    """Return `spec` with `member` as the one that is asked first."""
    return replace(spec, endpoints=tuple(sorted(spec.endpoints, key=lambda url: url != member.client_url)))


class Story:
    """Counts upwards in one key as fast as it can, and listens to it at the same time."""

    def __init__(self, writer: EtcdStore, watcher: EtcdStore) -> None:
        self.writer = writer
        self.watcher = watcher
        self.written = 0
        self.told: list[int] = []
        self.snapshots = 0
        self.stop = False
        self._moved = asyncio.Event()

    async def write(self) -> None:
        revision = 0
        while not self.stop:
            try:
                revision = await self.writer.write([Put("count", str(self.written + 1).encode(), expect=revision)])
                self.written += 1
            except Unreachable:
                revision = await self._look()
            self._moved.set()

    async def _look(self) -> int:
        """After a write whose outcome is unknown, go on from what is there."""
        while True:
            try:
                item = (await self.writer.read("count")).items["count"]
            except Unreachable:
                continue
            assert int(item.value) in (self.written, self.written + 1)
            self.written = int(item.value)
            return item.revision

    async def listen(self) -> None:
        async for news in self.watcher.watch("count"):
            self.snapshots += isinstance(news, Snapshot)
            self.told += [int(item.value) for item in (news.items.values() if isinstance(news, Snapshot) else news)]
            self._moved.set()

    async def go_on(self, steps: int = 20) -> None:
        """Wait until so many more numbers were written, and told."""
        goal = self.written + steps
        async with asyncio.timeout(DEADLINE):
            while self.written < goal or self.told[-1:] < [goal]:
                self._moved.clear()
                await self._moved.wait()


async def tell(story: Story, *events) -> None:
    """Let the story go on before, between and after the events, and check that nothing is missing in it."""
    writing, listening = (asyncio.ensure_future(work) for work in (story.write(), story.listen()))
    await story.go_on()
    for event in events:
        await asyncio.to_thread(event)
        await story.go_on()
    story.stop = True
    await asyncio.wait_for(writing, DEADLINE)
    await story.go_on(steps=0)
    listening.cancel()
    assert story.told == list(range(1, story.written + 1))
    assert story.snapshots == 1
    await story.writer.close()
    await story.watcher.close()


async def test_the_leader_is_killed_and_comes_back(cluster, spec):
    leader = cluster.leader()
    stores = [EtcdStore(beginning_at(leader, spec)) for _ in range(2)]
    await tell(Story(*stores), leader.kill, lambda: cluster.restart(leader))


async def test_every_member_is_killed_in_its_turn(cluster, spec):
    def kill_and_restart(member):
        member.kill()
        cluster.restart(member)

    stores = [EtcdStore(beginning_at(cluster.members[n], spec)) for n in (0, 1)]
    await tell(Story(*stores), *(partial(kill_and_restart, member) for member in cluster.members))


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_the_member_that_is_asked_freezes(cluster, spec, role):
    """It still has its connections open, so only its silence tells."""
    member = cluster.leader() if role == "leader" else cluster.followers()[0]
    stores = [EtcdStore(beginning_at(member, spec)) for _ in range(2)]
    await tell(Story(*stores), lambda: member.signal(signal.SIGSTOP), lambda: member.signal(signal.SIGCONT))


async def test_counters_of_many_writers_are_exact_when_the_leader_dies(cluster, spec):
    leader = cluster.leader()
    stores = [EtcdStore(spec) for _ in range(4)]
    done = [0] * len(stores)
    killed = asyncio.Event()

    async def count(n: int) -> None:
        while done[n] < 40:
            item = (await stores[n].read("k")).items.get("k")
            value = int(item.value) if item else 0
            try:
                await stores[n].write([Put("k", str(value + 1).encode(), expect=item.revision if item else 0)])
            except Conflict:
                continue
            done[n] += 1
            if sum(done) == 60:
                leader.kill()
                killed.set()

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for n in range(len(stores)):
            group.create_task(count(n))
    assert killed.is_set()
    assert (await stores[0].read("k")).items["k"].value == b"160"
    for store in stores:
        await store.close()


async def test_without_a_quorum_a_read_fails_in_time_instead_of_telling_old_news(cluster, spec):
    store = EtcdStore(replace(spec, timeout=1.0))
    await store.write([Put("k", b"1")])
    for member in cluster.followers():
        member.kill()
    async with asyncio.timeout(1.5):
        with pytest.raises(Unreachable, match="etcd does not answer"):
            await store.read("k")
    await store.close()
