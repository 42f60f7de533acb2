"""How etcd and the network say no, sorted by what there is to do about it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp

from wefted.errors import UsageError, WeftedError

NOT_FOUND, FAILED_PRECONDITION, OUT_OF_RANGE = 5, 9, 11
"""Status codes of gRPC (https://grpc.io/docs/guides/status-codes/) that the store acts upon."""

_DENIED, _EXHAUSTED, _UNAUTHENTICATED = 7, 8, 16
_TRANSIENT = frozenset({1, 2, 4, 10, 13, 14})

_STALE_TOKEN = ("invalid auth token", "auth store is old", "old revision")
_NO_LOGIN = ("user name is empty", "user name not found")
_TOO_LARGE = ("larger than max", "is too large", "too many operations")


class MemberFailed(Exception):
    """A member did not answer, or cannot now. Whether it did what it was asked to is unknown."""

    def __init__(self, reason: str, tls: bool = False) -> None:
        super().__init__(reason)
        self.tls = tls


class TokenRejected(Exception):
    """Our token is too old, or the member has forgotten it: log in again."""


class Compacted(Exception):
    """The revision that was asked for is no longer kept: begin with a Snapshot."""


class Refused(Exception):
    """etcd understood, and said no. `code` is gRPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def classify(code: int, message: str) -> Exception:
    """Return the exception for an error that etcd answered with."""
    if code == _UNAUTHENTICATED or any(words in message for words in _STALE_TOKEN):
        return TokenRejected(message)
    if code in _TRANSIENT or "too many requests" in message:
        return MemberFailed(message)
    if code == OUT_OF_RANGE:
        return Compacted(message)
    return Refused(code, message)


def classify_body(status: int, body: Any) -> Exception | None:
    """Return the exception for a decoded answer, or None when it is not an error. `status` is HTTP's."""
    if not isinstance(body, Mapping):
        return MemberFailed(f"HTTP {status}, which is not etcd's JSON gateway (etcd 3.4 or later)")
    error = body.get("error")
    if error is None and status == 200:
        return None
    # A stream wraps its error in an object of its own.
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else body
    message = str(inner.get("message") or inner.get("error") or f"HTTP {status}")
    return classify(int(inner.get("grpc_code") or inner.get("code") or 0) or 14, message)


def explain(refused: Refused, url: str) -> WeftedError:
    """Return what the user must know when etcd refuses a request for good."""
    message = refused.message.removeprefix("etcdserver: ")
    if any(words in refused.message for words in _NO_LOGIN):
        return UsageError(f"etcd at {url} wants a user and a password", "add them: --store https://USER:PASSWORD@HOST:2379")
    if "authentication failed" in refused.message:
        return UsageError(f"etcd at {url} does not know this user and password", "check them in the --store URL")
    if refused.code == _DENIED:
        hint = "grant the user read and write on our prefix: etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX"
        return UsageError(f"etcd at {url}: {message}", hint)
    if any(words in refused.message for words in _TOO_LARGE):
        return UsageError(
            f"a write is too large for etcd at {url}: {message}", "its limits are --max-request-bytes and --max-txn-ops"
        )
    if refused.code == _EXHAUSTED:
        hint = "compact and defragment it, then etcdctl alarm disarm (https://etcd.io/docs/v3.4/op-guide/maintenance/)"
        return WeftedError(f"etcd at {url} is full: {message}", hint)
    return WeftedError(f"etcd at {url} refuses: {message}")


def network_failure(error: Exception) -> MemberFailed:
    """Return what is wrong, in the words of the innermost cause."""
    tls = next((e for e in _chain(error) if isinstance(e, ssl.SSLError | ssl.CertificateError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return MemberFailed(f"its certificate is not trusted: {tls.verify_message}", tls=True)
    if isinstance(tls, ssl.SSLError):
        return MemberFailed(f"TLS failed: {tls_reason(tls)}", tls=True)
    if isinstance(error, asyncio.TimeoutError):
        return MemberFailed("no answer in time")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return MemberFailed("it closed the connection")
    number = next((e.errno for e in _chain(error) if isinstance(e, OSError) and e.errno), None)
    return MemberFailed(os.strerror(number).lower() if number and number > 0 else str(error) or type(error).__name__)


def tls_reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason in words."""
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of an error, the innermost first."""
    cause = error.__cause__ or error.__context__ or getattr(error, "os_error", None)
    if cause is not None and cause is not error:
        yield from _chain(cause)
    yield error
