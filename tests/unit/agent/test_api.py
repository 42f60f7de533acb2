"""The API: what it answers, and that no body whatever breaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.agent.api import application
from wefted.agent.openapi import document
from wefted.engine.operations import OPERATIONS

from ..engine.cluster import Member, members

TYPED = ("net", "c1", "netns:c1", "bridge", "vxlan", "10.64.0.5", "10.64.0.0/16", "8080:80", "eth0", "layer", "2")
WORDS = st.sampled_from([*TYPED, "", "a b", "../x", "\0", "é", "x" * 80])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


class Api:
    """An agent's API on fakes, in a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.run(self._start())

    async def _start(self) -> None:
        self.host: Member = (await members(1))[0]
        self.client = TestClient(TestServer(application(self.host.engine)))
        await self.client.start_server()
        self.host.add("c1")
        await self.host.call("network.create", name="net")

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def post(self, operation: str, data: bytes) -> tuple[int, Any]:
        async def ask() -> tuple[int, Any]:
            answer = await self.client.post(f"/v1/{operation}", data=data)
            return answer.status, await answer.json()

        found: tuple[int, Any] = self.run(ask())
        return found


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.run(made.client.close())
    made.loop.close()


def _bodies(operation: str) -> st.SearchStrategy[Any]:
    """Return bodies with the right keys and any values, and some with others."""
    names = list(OPERATIONS[operation].parameters.__dataclass_fields__)
    return st.dictionaries(st.sampled_from([*names, "other"]), VALUES | st.lists(WORDS, max_size=3), max_size=5)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_parameters_get_an_answer(api: Api, operation: str, data: st.DataObject) -> None:
    body = data.draw(_bodies(operation))
    status, answer = api.post(operation, json.dumps(body).encode())
    assert status in (200, 400, 404), answer
    if status != 200:
        assert answer["error"]["exit_code"] == 2
        assert answer["error"]["message"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.just(b"[" * 100_000))
def test_any_bytes_get_an_answer(api: Api, body: bytes) -> None:
    status, answer = api.post("network.create", body)
    assert status == 400, answer
    assert answer["error"]["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 405), ("POST", "/v1/no.such", 404), ("GET", "/elsewhere", 404), ("DELETE", "/v1/status", 405)],
)
def test_wrong_places(api: Api, method: str, path: str, status: int) -> None:
    async def ask() -> tuple[int, Any]:
        answer = await api.client.request(method, path)
        return answer.status, await answer.json()

    found, answer = api.run(ask())
    assert found == status
    assert "openapi.json" in answer["error"]["hint"]


def test_a_defect_is_told_apart_from_a_mistake(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.host.engine, "call", broken)
    status, answer = api.post("status", b"{}")
    assert status == 500
    assert "a defect in wefted, number" in answer["error"]["message"]


def test_the_document_names_every_operation(api: Api) -> None:
    async def ask() -> Any:
        return await (await api.client.get("/v1/openapi.json")).json()

    served = api.run(ask())
    assert served == json.loads(json.dumps(document()))
    assert set(served["paths"]) == {f"/v1/{name}" for name in OPERATIONS}
    create = served["paths"]["/v1/network.create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "subnets" in json.dumps(create)
