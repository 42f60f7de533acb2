"""A thin client of etcd's JSON gateway (API v3), which logs in again whenever a member has forgotten us."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from .etcd_errors import (
    FAILED_PRECONDITION,
    MemberFailed,
    Refused,
    TokenRejected,
    classify_body,
    explain,
    network_failure,
)
from .etcd_members import NETWORK, Members
from .etcd_wire import Json
from .url import EtcdSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member answered; `repeated` when another attempt was made before, which may have been done too."""

    body: Json
    repeated: bool = False


class EtcdClient(Members):
    """Asks the members of one cluster, for one event loop. Raises `UsageError` when a TLS file is missing or wrong."""

    def __init__(self, spec: EtcdSpec) -> None:
        super().__init__(spec)
        self._token: str | None = None
        self._login = asyncio.Lock()

    async def call(self, path: str, body: Json, patience: float = 1.0) -> Answer:
        """Return the first member's answer. Raises `Unreachable` after `patience` x the configured time-out, `Refused`."""
        return Answer(*await self.first_answer(lambda endpoint, timeout: self.ask(endpoint, path, body, timeout), patience))

    async def ask(self, endpoint: str, path: str, body: Json, timeout: float | None = None) -> Json:
        """Return the answer of this one member, asked once. Raises `MemberFailed`, `Refused`, `Compacted`, `UsageError`."""
        answer: Json = await self._logged_in(endpoint, lambda token: self._post(endpoint, path, body, token, timeout))
        return answer

    @asynccontextmanager
    async def stream(self, endpoint: str, path: str, body: Json) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a request of this member whose answer has no end; it is closed on leaving the block."""
        response = await self._logged_in(endpoint, lambda token: self._begin(endpoint, path, body, token))
        async with self.kept(response):
            yield response

    def forget_token(self, token: str | None = None) -> None:
        """Log in again before the next request, unless `token` has been replaced already."""
        if token is None or token == self._token:
            self._token = None

    def explain(self, refused: Refused) -> Exception:
        """Return a refusal as an error for users."""
        return explain(refused, self.url)

    async def _logged_in(self, endpoint: str, request: Callable[[str | None], Awaitable[Any]]) -> Any:
        for _ in range(2):
            token = await self._current_token(endpoint)
            try:
                return await request(token)
            except TokenRejected as rejected:
                reason = str(rejected)
                self.forget_token(token)
        raise MemberFailed(f"it forgets who we are: {reason}")

    async def _current_token(self, endpoint: str) -> str | None:
        if not self._spec.user:
            return None
        async with self._login:
            if self._token is None:
                self._token = await self._authenticate(endpoint)
            return self._token

    async def _authenticate(self, endpoint: str) -> str:
        login = {"name": self._spec.user, "password": self._spec.password}
        try:
            return str((await self._post(endpoint, "/auth/authenticate", login, None))["token"])
        except TokenRejected as rejected:
            raise MemberFailed(str(rejected)) from rejected
        except Refused as refused:
            if refused.code == FAILED_PRECONDITION and "not enabled" in refused.message:
                return ""
            raise self.explain(refused) from refused

    async def _post(self, endpoint: str, path: str, body: Json, token: str | None, timeout: float | None = None) -> Json:
        try:
            async with asyncio.timeout(timeout or self.attempt), await self._send(endpoint, path, body, token) as response:
                return _decoded(response.status, await response.read())
        except NETWORK as error:
            raise network_failure(error) from error

    async def _begin(self, endpoint: str, path: str, body: Json, token: str | None) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self.attempt):
                response = await self._send(endpoint, path, body, token)
                if response.status != HTTPStatus.OK:
                    _decoded(response.status, await response.read())
                return response
        except NETWORK as error:
            raise network_failure(error) from error

    async def _send(self, endpoint: str, path: str, body: Json, token: str | None) -> aiohttp.ClientResponse:
        headers = {"Authorization": token} if token else {}
        return await self.open_session().post(f"{endpoint}/v3{path}", json=body, headers=headers)


def _decoded(status: int, data: bytes) -> Json:
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    problem = classify_body(status, body)
    if problem is not None:
        raise problem
    return body  # type: ignore[no-any-return]  # classify_body has made sure that it is a mapping
