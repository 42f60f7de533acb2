"""etcd's API v2: requests and answers as text, and a store on a fake that passes the tests of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from wefted.errors import Unreachable, UsageError, WeftedError
from wefted.model.records import Delete, Item, Put, Snapshot
from wefted.store import etcd2_wire as wire
from wefted.store.etcd2 import KeysStore
from wefted.store.etcd_errors import Compacted, MemberFailed
from wefted.store.url import EtcdSpec

from .keys_contract import KeysContract
from .keys_fake import FakeKeys


@pytest.fixture
async def fake() -> AsyncIterator[FakeKeys]:
    async with FakeKeys() as serving:
        yield serving


class TestFake(KeysContract):
    @pytest.fixture
    def url(self, fake: FakeKeys) -> str:
        return fake.url

    @pytest.fixture
    def prefix(self) -> str:
        return f"/{uuid4()}/"


@pytest.mark.parametrize(
    ("request_", "method", "path", "form"),
    [
        (wire.read("/coreos.com/network/"), "GET", "/v2/keys/coreos.com/network?recursive=true&quorum=true", {}),
        (
            wire.wait("/coreos.com/network/", 42), "GET",
            "/v2/keys/coreos.com/network?wait=true&recursive=true&waitIndex=42", {},
        ),
        (
            wire.change(Put("/n/subnets/10.1.5.0-24", b'{"PublicIP":"192.0.2.1"}', 0, 86400)), "PUT",
            "/v2/keys/n/subnets/10.1.5.0-24?prevExist=false", {"value": '{"PublicIP":"192.0.2.1"}', "ttl": "86400"},
        ),
        (
            wire.change(Put("/n/subnets/10.1.5.0-24&fd00::-64", b"x", wire.revision(7), 0.5)), "PUT",
            "/v2/keys/n/subnets/10.1.5.0-24%26fd00%3A%3A-64?prevIndex=7", {"value": "x", "ttl": "1"},
        ),
        (wire.change(Put("/n/config", b"x")), "PUT", "/v2/keys/n/config", {"value": "x"}),
        (wire.change(Delete("/n/k", wire.revision(9))), "DELETE", "/v2/keys/n/k?prevIndex=9", {}),
        (wire.change(Delete("/n/k")), "DELETE", "/v2/keys/n/k", {}),
    ],
)  # fmt: skip
def test_a_request_as_it_goes_over_the_wire(request_: wire.Request, method: str, path: str, form: dict[str, str]) -> None:
    assert (request_.method, request_.path, dict(request_.form)) == (method, path, form)


LEASE = (
    b'{"action":"get","node":{"key":"/n","dir":true,"nodes":[{"key":"/n/config","value":"{}","modifiedIndex":4,"createdIndex":4},'
    b'{"key":"/n/subnets","dir":true,"nodes":[{"key":"/n/subnets/10.1.5.0-24","value":"abd","expiration":"2026-11-21T09:10:01Z",'
    b'"ttl":100,"modifiedIndex":7,"createdIndex":5}],"modifiedIndex":5,"createdIndex":5}],"modifiedIndex":4,"createdIndex":4}}'
)
"""What etcd 3.4.23 answered."""


def test_an_answer_is_read_with_all_its_directories() -> None:
    config, lease = wire.items(wire.decode(200, LEASE)["node"])
    assert config == Item("/n/config", b"{}", wire.revision(4))
    assert lease == Item("/n/subnets/10.1.5.0-24", b"abd", wire.revision(7))
    assert (config.expires, lease.expires, lease.created) == (False, True, 5)
    assert list(wire.items({"key": "/n", "dir": True})) == []


@pytest.mark.parametrize(
    ("action", "value"),
    [("set", b"x"), ("create", b"x"), ("compareAndSwap", b"x"), ("update", b"x"),
     ("delete", None), ("expire", None), ("compareAndDelete", None)],
)  # fmt: skip
def test_a_change_is_a_value_or_its_end(action: str, value: bytes | None) -> None:
    node = {"key": "/n/k", "value": "x", "modifiedIndex": 9, "createdIndex": 5}
    assert wire.event({"action": action, "node": node}) == Item("/n/k", value, wire.revision(9))
    with pytest.raises(Compacted, match="directory /n"):
        wire.event({"action": action, "node": {"key": "/n", "dir": True, "modifiedIndex": 9, "createdIndex": 5}})


@pytest.mark.parametrize(
    ("status", "data", "error", "text"),
    [
        (404, b'{"errorCode":100,"message":"Key not found","cause":"/n","index":3}', wire.KeysError, "Key not found"),
        (412, b'{"errorCode":101,"message":"Compare failed","cause":"[9 != 5]","index":5}', wire.KeysError, r"\[9 != 5\]"),
        (412, b'{"errorCode":105,"message":"Key already exists","cause":"/n","index":5}', wire.KeysError, "exists"),
        (400, b'{"errorCode":401,"message":"The event in requested index is outdated","index":2000}', Compacted, "outdated"),
        (500, b'{"errorCode":300,"message":"Raft Internal Error","index":1}', MemberFailed, "Raft"),
        (500, b'{"errorCode":301,"message":"During Leader Election","index":1}', MemberFailed, "Election"),
        (401, b'{"message":"Insufficient credentials"}', wire.KeysError, "credentials"),
        (503, b'{"message":"etcdserver: not capable"}', MemberFailed, "not capable"),
        (404, b"404 page not found\n", wire.NotServed, "^$"),
        (200, b"<html>", MemberFailed, "not etcd's API v2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_apart(status: int, data: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        wire.decode(status, data)


async def test_an_etcd_without_this_api_says_how_to_have_it(fake: FakeKeys) -> None:
    fake.enabled = False
    store = KeysStore(EtcdSpec(endpoints=(fake.url,)))
    assert not await store.serves()
    for failing in (store.read("/n/"), anext(store.watch("/n/")), store.write([Put("/n", b"")])):
        with pytest.raises(UsageError, match="does not serve the API v2") as raised:
            await failing
        assert raised.value.hint == "start etcd with --enable-v2 (up to etcd 3.5)"
    await store.close()


async def test_user_and_password_are_told() -> None:
    async with FakeKeys(user="root", password="p:w") as fake:
        right = KeysStore(EtcdSpec(endpoints=(fake.url,), user="root", password="p:w"))
        await right.write([Put("/n/k", b"1")])
        for wrong in (EtcdSpec(endpoints=(fake.url,)), EtcdSpec(endpoints=(fake.url,), user="root", password="x")):
            store = KeysStore(wrong)
            with pytest.raises(UsageError, match="Insufficient credentials"):
                await store.read("/n/")
            await store.close()
        await right.close()


async def test_the_next_member_is_asked_when_one_has_gone(fake: FakeKeys) -> None:
    async with FakeKeys() as other:
        dead = other.url
    store = KeysStore(EtcdSpec(endpoints=(dead, fake.url)))
    await store.write([Put("/n/k", b"1")])
    assert set((await store.read("/n/")).items) == {"/n/k"}
    await store.close()
    alone = KeysStore(EtcdSpec(endpoints=(dead,), timeout=0.2))
    with pytest.raises(Unreachable, match="does not answer"):
        await alone.read("/n/")
    await alone.close()


async def test_an_etcd_with_another_history_is_read_anew() -> None:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeKeys())
        store = KeysStore(EtcdSpec(endpoints=(fake.url,)))
        stack.push_async_callback(store.close)
        for number in range(5):
            await store.write([Put("/n/k", str(number).encode())])
        watch = store.watch("/n/")
        async with asyncio.timeout(15):
            await anext(watch)
            last = await store.write([Put("/n/k", b"x")])
            assert await anext(watch) == (Item("/n/k", b"x", last),)
            fake.wipe()
            seen = await anext(watch)
            assert isinstance(seen, Snapshot)
            assert (seen.items, seen.revision < last) == ({}, True)


async def test_what_etcd_refuses_is_told(fake: FakeKeys) -> None:
    store = KeysStore(EtcdSpec(endpoints=(fake.url,)))
    await store.write([Put("/n/k", b"1")])
    with pytest.raises(WeftedError, match="refuses: Not a directory"):
        await store.write([Put("/n/k/below", b"1")])
    await store.close()
