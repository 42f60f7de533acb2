"""The API: what it answers, and that no body whatever breaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.agent.api import serving
from wefted.agent.openapi import document
from wefted.engine.operations import OPERATIONS
from wefted.plugins import DOORS

from ..engine.cluster import Member, members

TYPED = ("net", "c1", "netns:c1", "bridge", "vxlan", "10.64.0.5", "10.64.0.0/16", "8080:80", "eth0", "layer", "2")
WORDS = st.sampled_from([*TYPED, "", "a b", "../x", "\0", "é", "x" * 80])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


class Server:
    """An agent's API on fakes and on a real socket, asked by a client that is not ours, in a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = asyncio.new_event_loop()
        self.run(self._start())

    async def _start(self) -> None:
        self.host: Member = (await members(1))[0]
        self.serving = serving(self.host.engine, self.path)
        await self.serving.__aenter__()
        self.client = aiohttp.ClientSession("http://agent", connector=aiohttp.UnixConnector(str(self.path)))
        self.host.add("c1")
        await self.host.call("network.create", name="net")

    async def stop(self) -> None:
        await self.client.close()
        await self.serving.__aexit__(None, None, None)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def post(self, operation: str, data: bytes) -> tuple[int, Any]:
        return self.ask("POST", f"/v1/{operation}", data)

    def ask(self, method: str, path: str, data: bytes = b"") -> tuple[int, Any]:
        async def ask() -> tuple[int, Any]:
            async with self.client.request(method, path, data=data) as answer:
                return answer.status, await answer.json()

        found: tuple[int, Any] = self.run(ask())
        return found


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("api") / "s")
    yield made
    made.run(made.stop())
    made.loop.close()


def _bodies(operation: str) -> st.SearchStrategy[Any]:
    """Return bodies with the right keys and any values, and some with others."""
    names = list(OPERATIONS[operation].parameters.__dataclass_fields__)
    return st.dictionaries(st.sampled_from([*names, "other"]), VALUES | st.lists(WORDS, max_size=3), max_size=5)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_parameters_get_an_answer(api: Server, operation: str, data: st.DataObject) -> None:
    body = data.draw(_bodies(operation))
    status, answer = api.post(operation, json.dumps(body).encode())
    assert status in (200, 400, 404), answer
    if status != 200:
        assert answer["error"]["exit_code"] == 2
        assert answer["error"]["message"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.just(b"[" * 100_000))
def test_any_bytes_get_an_answer(api: Server, body: bytes) -> None:
    status, answer = api.post("network.create", body)
    assert status == 400, answer
    assert answer["error"]["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/no.such", 404), ("GET", "/elsewhere", 404), ("DELETE", "/v1/status", 400)],
)
def test_wrong_places(api: Server, method: str, path: str, status: int) -> None:
    found, answer = api.ask(method, path)
    assert found == status
    assert "openapi.json" in answer["error"]["hint"]


def test_status_can_be_fetched(api: Server) -> None:
    assert api.ask("GET", "/v1/status?pretty")[1]["node"]["name"] == "h1"


def test_only_root_may_use_the_socket(api: Server) -> None:
    assert api.path.stat().st_mode & 0o777 == 0o600


def test_a_defect_is_told_apart_from_a_mistake(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api.host.engine, "call", broken)
    status, answer = api.post("status", b"{}")
    assert status == 500
    assert "a defect in wefted, number" in answer["error"]["message"]


def test_the_document_names_every_operation(api: Server) -> None:
    status, served = api.ask("GET", "/v1/openapi.json")
    assert status == 200
    assert served == json.loads(json.dumps(document()))
    assert set(served["paths"]) == {f"/v1/{name}" for name in (*OPERATIONS, *DOORS)}
    create = served["paths"]["/v1/network.create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "subnets" in json.dumps(create)
