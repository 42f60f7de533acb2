"""A client of a flannel server (flannel 0.5 to 0.10, `-listen`; ours as well): one request, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from yarl import URL

from wefted.errors import Conflict, Unreachable, UsageError, WeftedError
from wefted.model.flannel_wire import NODE_HEADER

from .etcd_errors import network_failure
from .etcd_members import NETWORK, Members
from .flannel_server_url import ServerSpec

TIMEOUT = 6.0
"""Seconds until a request fails for good; the server has to ask its etcd."""
_LONGEST = 300


class ServerClient(Members):
    """Asks one server, for one event loop. Raises `UsageError` when a TLS file is missing or wrong."""

    called = "the flannel server"
    advice = "check that it runs: flanneld -listen ADDRESS"
    files = "check the files of --remote"

    def __init__(self, spec: ServerSpec) -> None:
        super().__init__(replace(spec.members, timeout=TIMEOUT))

    async def ask(self, method: str, url: str, body: Any = None, node: str = "") -> Any:
        """Return the answer's JSON, None where there is none.

        Raises `Conflict` for what somebody else has, `Unreachable`, and `WeftedError` for any other refusal.
        """
        status, data = (await self.first_answer(lambda _, timeout: self._once(method, url, body, node, timeout), 1.0))[0]
        return _answer(url, status, data)

    async def wait(self, url: str, cursor: str, seconds: float) -> Any:
        """Return what happened after a cursor, None where nothing did for so many seconds. Raises as `ask` does."""
        where = f"{url}?next={cursor}"
        try:
            async with asyncio.timeout(seconds):
                status, data = await self._send("GET", where, None, "")
        except TimeoutError:
            return None
        except NETWORK as error:
            raise Unreachable(f"{self.called} does not answer: {url}: {network_failure(error)}", self.advice) from error
        return _answer(url, status, data)

    async def _once(self, method: str, url: str, body: Any, node: str, timeout: float) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(timeout):
                return await self._send(method, url, body, node)
        except NETWORK as error:
            raise network_failure(error) from error

    async def _send(self, method: str, url: str, body: Any, node: str) -> tuple[int, bytes]:
        headers: Mapping[str, str] = {NODE_HEADER: node} if node else {}
        data = json.dumps(body, separators=(",", ":")).encode() if body is not None else None
        session = self.open_session()
        kind = {"Content-Type": "application/json"} if data is not None else {}
        async with session.request(method, URL(url, encoded=True), data=data, headers={**headers, **kind}) as response:
            return response.status, await response.read()


def _answer(url: str, status: int, data: bytes) -> Any:
    text = data.decode(errors="replace").strip()
    if status == HTTPStatus.CONFLICT:
        raise Conflict(f"{url}: {text[:_LONGEST]}")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        raise UsageError(f"{url}: HTTP {status}, so this is no flannel server", "check the address")
    if status != HTTPStatus.OK:
        raise WeftedError(f"{url}: {text[:_LONGEST] or f'HTTP {status}'}")
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        raise WeftedError(f"{url}: the answer is no JSON: {text[:80]!r}") from None
