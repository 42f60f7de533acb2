"""The API v2 in real etcd: what the fake does too, a cluster with TLS, dead and silent members, lost data."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from wefted.errors import Unreachable, UsageError
from wefted.model.records import Item, Put, Snapshot
from wefted.store.etcd2 import KeysStore
from wefted.store.url import EtcdSpec
from wefted.testing.certificates import make_certificates
from wefted.testing.etcd import EtcdCluster

from ..unit.store.keys_contract import KeysContract

pytestmark = pytest.mark.lab

V2 = ("--enable-v2",)
DEADLINE = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), flags=V2) as running:
        yield running


class TestReal(KeysContract):
    @pytest.fixture
    def url(self, cluster: EtcdCluster) -> str:
        return cluster.endpoints[0]

    @pytest.fixture
    def prefix(self) -> str:
        return f"/{uuid4()}/"


async def told(watch: AsyncIterator[Snapshot | tuple[Item, ...]], key: str, value: bytes) -> None:
    """Wait until a watch tells this of a key, by a change or by a Snapshot."""
    async with asyncio.timeout(DEADLINE):
        async for seen in watch:
            items = seen.items.values() if isinstance(seen, Snapshot) else seen
            if any((item.key, item.value) == (key, value) for item in items):
                return


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "silent"])
async def test_a_member_that_goes_costs_nothing(tmp_path: Path, end: signal.Signals) -> None:
    with EtcdCluster(tmp_path, size=3, flags=V2) as cluster:
        store = KeysStore(EtcdSpec(endpoints=cluster.endpoints))
        await store.write([Put("/n/k", b"1")])
        watch = store.watch("/n/")
        await told(watch, "/n/k", b"1")
        cluster.members[0].signal(end)
        last = 0
        async with asyncio.timeout(DEADLINE):
            while not last:
                try:
                    last = await store.write([Put("/n/k", b"2")])
                except Unreachable:
                    continue
        await told(watch, "/n/k", b"2")
        assert (await store.read("/n/")).items["/n/k"].value == b"2"
        cluster.members[0].signal(signal.SIGCONT)
        await store.close()


async def test_an_etcd_that_starts_again_and_one_that_lost_its_data(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, flags=V2) as cluster:
        store = KeysStore(EtcdSpec(endpoints=cluster.endpoints))
        for number in range(9):
            await store.write([Put("/n/k", str(number).encode())])
        watch = store.watch("/n/")
        await told(watch, "/n/k", b"8")
        cluster.members[0].kill()
        cluster.restart(cluster.members[0])
        last = await store.write([Put("/n/k", b"after")])
        async with asyncio.timeout(DEADLINE):
            assert await anext(watch) == (Item("/n/k", b"after", last),), "nothing was lost, nothing comes twice"
        cluster.members[0].kill()
        shutil.rmtree(tmp_path / "m0.etcd")
        cluster.restart(cluster.members[0])
        async with asyncio.timeout(DEADLINE):
            seen = await anext(watch)
        assert isinstance(seen, Snapshot)
        assert seen.items == {}
        await store.write([Put("/n/k", b"new")])
        await told(watch, "/n/k", b"new")
        await store.close()


async def test_tls_with_a_user_and_a_password(tmp_path: Path) -> None:
    """Users of the API v2 are others than those of v3; etcd wants a user named root before it asks for any."""
    tls = make_certificates(tmp_path)
    with EtcdCluster(tmp_path / "etcd", tls=tls, flags=V2) as cluster:
        spec = EtcdSpec(endpoints=cluster.endpoints, ca=tls.ca, cert=tls.client_cert, key=tls.client_key)
        ctl = ["etcdctl", f"--endpoints={cluster.endpoints[0]}", f"--ca-file={tls.ca}", f"--cert-file={tls.client_cert}",
               f"--key-file={tls.client_key}"]  # fmt: skip
        for words in (["user", "add", "root:secret"], ["auth", "enable"], ["--username=root:secret", "role", "revoke", "guest",
                      "-path=/*", "-readwrite"]):  # fmt: skip
            subprocess.run([*ctl, *words], check=True, capture_output=True, env={"ETCDCTL_API": "2"}, timeout=20)
        right = KeysStore(replace(spec, user="root", password="secret"))
        await right.write([Put("/n/k", b"1")])
        await told(right.watch("/n/"), "/n/k", b"1")
        wrong = KeysStore(replace(spec, user="root", password="wrong"))
        with pytest.raises(UsageError, match="API v2: The request requires user authentication"):
            await wrong.read("/n/")
        await wrong.close()
        await right.close()


async def test_an_etcd_without_the_api_v2_says_how_to_have_it(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as cluster:
        store = KeysStore(EtcdSpec(endpoints=cluster.endpoints))
        assert not await store.serves()
        with pytest.raises(UsageError, match="does not serve the API v2") as raised:
            await store.read("/n/")
        assert "--enable-v2" in str(raised.value.hint)
        await store.close()
