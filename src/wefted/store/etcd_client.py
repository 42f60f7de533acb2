"""A thin client of etcd's JSON gateway: several members, TLS, logging in again, and time-outs for everything.

A request goes to the member that answered last. When it fails, the next member is asked the same, until one answers or the
deadline has passed: so every request must be one that may be done twice.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from wefted.errors import Unreachable, UsageError

from .etcd_errors import (
    FAILED_PRECONDITION,
    MemberFailed,
    Refused,
    TokenRejected,
    classify_body,
    explain,
    network_failure,
    tls_reason,
)
from .etcd_wire import Json
from .url import EtcdSpec

_PAUSE = 0.05
_NETWORK = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member answered; `repeated` when another attempt was made before, which may have been done too."""

    body: Json
    repeated: bool = False


class EtcdClient:
    """Asks the members of one cluster, for one event loop. Raises `UsageError` when a TLS file is missing or wrong."""

    def __init__(self, spec: EtcdSpec) -> None:
        self._spec = spec
        self._tls = _tls(spec) if spec.endpoints[0].startswith("https:") else None
        self._current = 0
        self._token: str | None = None
        self._login = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._streams: set[aiohttp.ClientResponse] = set()
        self.attempt = spec.timeout * 0.35
        """Seconds that one member has for one answer."""
        self.closed = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """Return the member that is asked first."""
        return self._spec.endpoints[self._current]

    def leave(self, endpoint: str) -> None:
        """Ask another member first from now on, unless somebody has already moved on from `endpoint`."""
        if self.endpoint == endpoint:
            self._current = (self._current + 1) % len(self._spec.endpoints)

    async def call(self, path: str, body: Json, patience: float = 1.0) -> Answer:
        """Return the first member's answer. Raises `Unreachable` after `patience` x the configured time-out, `Refused`."""
        end = time.monotonic() + self._spec.timeout * patience
        failures: dict[str, MemberFailed] = {}
        while (left := end - time.monotonic()) > 0 and not self.closed.is_set():
            endpoint = self.endpoint
            try:
                return Answer(await self.ask(endpoint, path, body, min(left, self.attempt)), repeated=bool(failures))
            except MemberFailed as failed:
                again = endpoint in failures
                failures[endpoint] = failed
                self.leave(endpoint)
            self._check_tls(failures)
            if again or len(self._spec.endpoints) == 1:
                await self.pause(_PAUSE)
        raise self._unreachable(failures)

    async def ask(self, endpoint: str, path: str, body: Json, timeout: float | None = None) -> Json:
        """Return the answer of this one member, asked once. Raises `MemberFailed`, `Refused`, `Compacted`, `UsageError`."""
        answer: Json = await self._logged_in(endpoint, lambda token: self._post(endpoint, path, body, token, timeout))
        return answer

    @asynccontextmanager
    async def stream(self, endpoint: str, path: str, body: Json) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a request of this member whose answer has no end; it is closed on leaving the block."""
        response = await self._logged_in(endpoint, lambda token: self._begin(endpoint, path, body, token))
        self._streams.add(response)
        try:
            yield response
        finally:
            self._streams.discard(response)
            response.close()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the client is closed."""
        try:
            await asyncio.wait_for(self.closed.wait(), seconds)
        except TimeoutError:
            return

    def forget_token(self, token: str | None = None) -> None:
        """Log in again before the next request, unless `token` has been replaced already."""
        if token is None or token == self._token:
            self._token = None

    async def close(self) -> None:
        """End every request and stream."""
        self.closed.set()
        # Closing the session alone leaves those waiting that read from a stream.
        for response in self._streams:
            response.content.set_exception(aiohttp.ClientConnectionError("closed"))
        if self._session is not None:
            await self._session.close()

    def explain(self, refused: Refused) -> Exception:
        """Return a refusal as an error for users."""
        return explain(refused, ",".join(self._spec.endpoints))

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
        except _NETWORK as error:
            raise network_failure(error) from error

    async def _begin(self, endpoint: str, path: str, body: Json, token: str | None) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self.attempt):
                response = await self._send(endpoint, path, body, token)
                if response.status != HTTPStatus.OK:
                    _decoded(response.status, await response.read())
                return response
        except _NETWORK as error:
            raise network_failure(error) from error

    async def _send(self, endpoint: str, path: str, body: Json, token: str | None) -> aiohttp.ClientResponse:
        headers = {"Authorization": token} if token else {}
        return await self._open_session().post(f"{endpoint}/v3{path}", json=body, headers=headers)

    def _open_session(self) -> aiohttp.ClientSession:
        if self.closed.is_set():
            raise Unreachable("the store is closed")
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=0, socket_factory=_socket)
            # Our own time-outs cover all of it; aiohttp's would end the streams too.
            quiet = aiohttp.ClientTimeout(total=None, sock_connect=self.attempt)
            self._session = aiohttp.ClientSession(connector=connector, timeout=quiet, read_bufsize=_CHUNK)
        return self._session

    def _check_tls(self, failures: Mapping[str, MemberFailed]) -> None:
        """Raise at once when the certificates are wrong everywhere, because waiting does not heal that."""
        if len(failures) == len(self._spec.endpoints) and all(failed.tls for failed in failures.values()):
            hint = "check ca=, cert= and key= in the --store URL; our certificate must have no common name"
            raise UsageError(f"no TLS connection to etcd: {_listed(failures)}", hint)

    def _unreachable(self, failures: Mapping[str, MemberFailed]) -> Unreachable:
        if self.closed.is_set():
            return Unreachable("the store is closed")
        return Unreachable(f"etcd does not answer: {_listed(failures)}", "check that its members run: etcdctl endpoint health")


def _decoded(status: int, data: bytes) -> Json:
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    problem = classify_body(status, body)
    if problem is not None:
        raise problem
    return body  # type: ignore[no-any-return]  # classify_body has made sure that it is a mapping


def _listed(failures: Mapping[str, MemberFailed]) -> str:
    return "; ".join(f"{endpoint}: {failed}" for endpoint, failed in failures.items())


def _tls(spec: EtcdSpec) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if spec.ca:
            context = ssl.create_default_context(cafile=spec.ca)
        if spec.cert:
            # Without a password callback OpenSSL would ask for the passphrase on the terminal.
            context.load_cert_chain(spec.cert, spec.key, password="")
    except ssl.SSLError as error:
        raise UsageError(
            f"ca={spec.ca} cert={spec.cert} key={spec.key}: {tls_reason(error)}", "they must be PEM files"
        ) from error
    except OSError as error:
        names = " or ".join(path for path in (spec.ca, spec.cert, spec.key) if path)
        raise UsageError(
            f"cannot read {names}: {error.strerror}", "check the paths in the --store URL, and that you are root"
        ) from error
    return context


def _socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that notices within seconds when its peer vanishes without a word (tcp(7))."""
    opened = socket.socket(*info[:3])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000)
    return opened
