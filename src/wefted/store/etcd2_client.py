"""A thin client of etcd's API v2: several members, TLS, a user and a password, and time-outs for everything."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

from .etcd2_wire import INDEX, Json, KeysError, NotServed, Request, decode, explain
from .etcd_errors import network_failure
from .etcd_members import NETWORK, Members
from .url import EtcdSpec

SILENCE = 1.0
"""Seconds without a word until a member must show that it lives; longer with a user."""

HASHING = 4.0
"""How much longer everything may take with a user: etcd hashes the password at each request, which costs it 0.1 s alone."""


@dataclass(frozen=True, slots=True)
class KeysAnswer:
    """What a member answered, and the index of the key space at that time."""

    body: Json
    index: int


class KeysClient(Members):
    """Asks the members of one cluster, for one event loop. Raises `UsageError` when a TLS file is missing or wrong."""

    def __init__(self, spec: EtcdSpec) -> None:
        super().__init__(spec)
        login = b64encode(f"{spec.user}:{spec.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"} if spec.user else {}
        self._slow = HASHING if spec.user else 1.0
        self.attempt *= self._slow

    async def call(self, request: Request, patience: float = 1.0) -> KeysAnswer:
        """Return the first member's answer. Raises `Unreachable` after `patience` x the configured time-out, `KeysError`."""
        return (await self.first_answer(lambda endpoint, timeout: self.ask(endpoint, request, timeout), patience * self._slow))[
            0
        ]

    async def ask(self, endpoint: str, request: Request, timeout: float | None = None) -> KeysAnswer:
        """Return the answer of this one member, asked once. Raises `MemberFailed`, `KeysError`, `NotServed`, `Compacted`."""
        try:
            async with asyncio.timeout(timeout or self.attempt), await self._send(endpoint, request) as response:
                return KeysAnswer(decode(response.status, await response.read()), index_of(response))
        except NETWORK as error:
            raise network_failure(error) from error

    @asynccontextmanager
    async def stream(self, endpoint: str, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a request of this member that is answered when something happens; it is closed on leaving the block."""
        try:
            async with asyncio.timeout(self.attempt):
                response = await self._send(endpoint, request)
                if response.status != HTTPStatus.OK:
                    decode(response.status, await response.read())
        except NETWORK as error:
            raise network_failure(error) from error
        async with self.kept(response):
            yield response

    @property
    def silence(self) -> float:
        """Return the seconds without a word until a member must show that it lives."""
        return SILENCE * self._slow

    def explain(self, refused: KeysError | NotServed) -> Exception:
        """Return a refusal as an error for users."""
        return explain(refused, self.url)

    async def _send(self, endpoint: str, request: Request) -> aiohttp.ClientResponse:
        url = URL(f"{endpoint}{request.path}", encoded=True)
        return await self.open_session().request(request.method, url, data=request.form or None, headers=self._headers)


def index_of(response: aiohttp.ClientResponse) -> int:
    """Return the index that an answer tells, 0 where it tells none."""
    return int(response.headers.get(INDEX, 0))
