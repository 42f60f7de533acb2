"""The members of one etcd: whom to ask first, whom next, and how to connect to them.

A request goes to the member that answered last. When it fails, the next member is asked the same, until one answers or the
deadline has passed: so every request must be one that may be done twice.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp

from wefted.errors import Unreachable, UsageError

from .etcd_errors import MemberFailed, tls_reason
from .url import EtcdSpec

NETWORK = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request raises when the network or the member fails."""

T = TypeVar("T")

_PAUSE = 0.05
_CHUNK = 2**20


class Members:
    """Chooses among the members of one cluster, for one event loop. Raises `UsageError` when a TLS file is missing or wrong."""

    called = "etcd"
    advice = "check that its members run: etcdctl endpoint health"
    files = "check ca=, cert= and key= in the --store URL; our certificate must have no common name"

    def __init__(self, spec: EtcdSpec) -> None:
        self._spec = spec
        self._tls = _tls(spec) if spec.endpoints[0].startswith("https:") else None
        self._current = 0
        self._session: aiohttp.ClientSession | None = None
        self._streams: set[aiohttp.ClientResponse] = set()
        self.attempt = spec.timeout * 0.35
        """Seconds that one member has for one answer."""
        self.closed = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """Return the member that is asked first."""
        return self._spec.endpoints[self._current]

    @property
    def url(self) -> str:
        """Return all members, for messages."""
        return ",".join(self._spec.endpoints)

    def leave(self, endpoint: str) -> None:
        """Ask another member first from now on, unless somebody has already moved on from `endpoint`."""
        if self.endpoint == endpoint:
            self._current = (self._current + 1) % len(self._spec.endpoints)

    async def first_answer(self, ask: Callable[[str, float], Awaitable[T]], patience: float) -> tuple[T, bool]:
        """Return what `ask` (of a member, in so many seconds) returned first, and whether another attempt came before.

        Raises `Unreachable` after `patience` x the configured time-out.
        """
        end = time.monotonic() + self._spec.timeout * patience
        failures: dict[str, MemberFailed] = {}
        while (left := end - time.monotonic()) > 0 and not self.closed.is_set():
            endpoint = self.endpoint
            try:
                return await ask(endpoint, min(left, self.attempt)), bool(failures)
            except MemberFailed as failed:
                again = endpoint in failures
                failures[endpoint] = failed
                self.leave(endpoint)
            self._check_tls(failures)
            if again or len(self._spec.endpoints) == 1:
                await self.pause(_PAUSE)
        raise self._unreachable(failures)

    @asynccontextmanager
    async def kept(self, response: aiohttp.ClientResponse) -> AsyncIterator[aiohttp.ClientResponse]:
        """Keep a response whose answer has no end until the block is left, or all is closed."""
        self._streams.add(response)
        try:
            yield response
        finally:
            self._streams.discard(response)
            response.close()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until all is closed."""
        try:
            await asyncio.wait_for(self.closed.wait(), seconds)
        except TimeoutError:
            return

    async def close(self) -> None:
        """End every request and stream."""
        self.closed.set()
        # Closing the session alone leaves those waiting that read from a stream.
        for response in self._streams:
            response.content.set_exception(aiohttp.ClientConnectionError("closed"))
        if self._session is not None:
            await self._session.close()

    def open_session(self) -> aiohttp.ClientSession:
        """Return the session that all requests share. Raises `Unreachable` after `close`."""
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
            raise UsageError(f"no TLS connection to {self.called}: {_listed(failures)}", self.files)

    def _unreachable(self, failures: Mapping[str, MemberFailed]) -> Unreachable:
        if self.closed.is_set():
            return Unreachable("the store is closed")
        return Unreachable(f"{self.called} does not answer: {_listed(failures)}", self.advice)


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
