"""What `--store` takes, parsed. Pure: no file is opened and nobody is asked.

    memory:                                            nothing survives the process
    sqlite:/var/lib/wefted/state.db                    one host
    etcd://HOST[:PORT][,HOST[:PORT]...][/PREFIX]       several hosts, without TLS (http:// is the same)
    https://[USER:PASSWORD@]HOST[:PORT][,...][/PREFIX][?ca=FILE&cert=FILE&key=FILE&timeout=SECONDS]

PORT is 2379 where it is left out, PREFIX `wefted`; IPv6 addresses stand in brackets. `ca` is the authority that signed the
members' certificates (else the system's are trusted), `cert` and `key` are our own certificate, which must not have a
common name: etcd refuses those at its JSON gateway. USER and PASSWORD are percent-encoded where they hold `@ : / ? #`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from math import isfinite
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from wefted.errors import UsageError

_FORMS = "write memory:, sqlite:/PATH, etcd://HOST:2379[,HOST:2379] or https://USER:PASSWORD@HOST:2379?ca=FILE"
_PORT = 2379
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"/[A-Za-z0-9._~/-]*")
_FILES = ("ca", "cert", "key")
_TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class MemorySpec:
    """A store that lives as long as its process."""

    def __str__(self) -> str:
        return "memory:"


@dataclass(frozen=True, slots=True)
class SqliteSpec:
    """A file on this host."""

    path: str

    def __str__(self) -> str:
        return f"sqlite:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSpec:
    """An etcd cluster: its members as `http://host:port`, the prefix of our keys in it, and who we are."""

    endpoints: tuple[str, ...]
    prefix: str = "/wefted/"
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 2.0
    """Seconds until a read gives up when no member answers; writes, whose outcome matters more, take 2.5 times as long."""

    def __str__(self) -> str:
        """Return the URL, with `***` for the password."""
        scheme, _, first = self.endpoints[0].partition("://")
        hosts = ",".join((first, *(e.partition("://")[2] for e in self.endpoints[1:])))
        user = f"{quote(self.user, safe='')}:***@" if self.user else ""
        query = "&".join(f"{name}={quote(getattr(self, name))}" for name in _FILES if getattr(self, name))
        return f"{scheme}://{user}{hosts}{self.prefix}{'?' if query else ''}{query}"


StoreSpec = MemorySpec | SqliteSpec | EtcdSpec


def parse_store_url(text: str) -> StoreSpec:
    """Return what `text` describes. Raises `UsageError`, whose message never holds a password."""
    scheme, colon, rest = text.partition(":")
    if not colon or any(ord(c) <= 32 or ord(c) == 127 for c in text):
        raise UsageError("the store is not a URL", _FORMS)
    match scheme.lower():
        case "memory":
            return _memory(rest)
        case "sqlite":
            return _sqlite(rest)
        case "etcd" | "http":
            return _etcd(text, "http")
        case "https":
            return _etcd(text, "https")
    raise UsageError(f"a store of the unknown kind {scheme!r}" if scheme.isalnum() else "the store is not a URL", _FORMS)


def _memory(rest: str) -> MemorySpec:
    if rest:
        raise UsageError("memory: takes nothing after the colon", "a store that survives is sqlite:/PATH")
    return MemorySpec()


def _sqlite(rest: str) -> SqliteSpec:
    path = unquote(rest.removeprefix("//"))
    if not path.startswith("/") or "\0" in path or PurePosixPath(path) == PurePosixPath("/"):
        raise UsageError(
            f"sqlite: needs the absolute path of a file, not {path!r}", "for example sqlite:/var/lib/wefted/state.db"
        )
    return SqliteSpec(path)


def _etcd(text: str, scheme: str) -> EtcdSpec:
    try:
        url = urlsplit(text)
    except ValueError:
        raise UsageError("the etcd URL has brackets that are not around an IPv6 address", _FORMS) from None
    if "@" in url.path + url.query + url.fragment:
        raise UsageError("the user or the password of the etcd URL holds / ? or #", "write them as %2F %3F %23")
    if url.fragment or text.endswith("#"):
        raise UsageError("an etcd URL has no #fragment", "write # in a password as %23")
    login, _, hosts = url.netloc.rpartition("@")
    user, password = _login(login) if "@" in url.netloc else ("", "")
    files, timeout = _query(url, scheme)
    return EtcdSpec(
        endpoints=tuple(dict.fromkeys(f"{scheme}://{_endpoint(host)}" for host in hosts.split(","))),
        prefix=_prefix(url.path),
        user=user,
        password=password,
        ca=files.get("ca", ""),
        cert=files.get("cert", ""),
        key=files.get("key", ""),
        timeout=timeout,
    )


def _login(login: str) -> tuple[str, str]:
    user, _, password = login.partition(":")
    if not user or not password:
        raise UsageError("the etcd URL names a user or a password, but not both", "write https://USER:PASSWORD@HOST")
    if ":" in password or "@" in login:
        raise UsageError("the user or the password holds @ or :", "write @ as %40 and : as %3A")
    return unquote(user), unquote(password)


def _endpoint(host: str) -> str:
    name, port = _split(host)
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise UsageError(f"{port!r} is not a port", "a port is a number from 1 to 65535; etcd listens on 2379")
    return f"{name}:{int(port) if port else _PORT}"


def _split(host: str) -> tuple[str, str]:
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or not _is_ipv6(address):
            raise UsageError(f"{host!r} is not an IPv6 address in brackets", "for example [fd00::1]:2379")
        return f"[{address}]", port.removeprefix(":")
    if _is_ipv6(host):
        raise UsageError(f"the IPv6 address {host} needs brackets", f"write [{host}]:{_PORT}")
    name, _, port = host.partition(":")
    if not _HOST.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a host" if name else "the etcd URL names no host", "for example etcd://192.0.2.1:2379"
        )
    return name.lower(), port


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _prefix(path: str) -> str:
    if path in ("", "/"):
        return "/wefted/"
    if not _PREFIX.fullmatch(path) or "//" in path:
        raise UsageError(f"{path!r} is not a prefix of etcd keys", "letters, digits, . _ ~ - and single slashes, as in /wefted")
    return path if path.endswith("/") else f"{path}/"


def _query(url: SplitResult, scheme: str) -> tuple[dict[str, str], float]:
    pairs = parse_qsl(url.query, keep_blank_values=True)
    given = dict(pairs)
    for name, value in pairs:
        if name not in (*_FILES, _TIMEOUT):
            raise UsageError(f"an etcd URL has no option {name!r}", f"the options are {' '.join(_FILES)} {_TIMEOUT}")
        if not value:
            raise UsageError(f"the option {name} of the etcd URL is empty", f"write {name}=VALUE or leave it out")
    if len(given) < len(pairs):
        raise UsageError("an option of the etcd URL is given twice", "give each of them once")
    timeout = _timeout(given.pop(_TIMEOUT, "2"))
    _check_files(given, scheme)
    return given, timeout


def _check_files(given: dict[str, str], scheme: str) -> None:
    if given and scheme != "https":
        raise UsageError(f"{' and '.join(sorted(given))} without TLS", "write https:// instead of etcd:// or http://")
    if ("cert" in given) != ("key" in given):
        raise UsageError("a client certificate needs both cert= and key=", "add ?cert=FILE&key=FILE")
    for name, path in given.items():
        if not path.startswith("/") or "\0" in path:
            raise UsageError(
                f"{name}= needs the absolute path of a file, not {path!r}", f"for example {name}=/etc/wefted/{name}.pem"
            )


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not isfinite(seconds) or not 0.1 <= seconds <= 60:
        raise UsageError(f"timeout={text} is not a number of seconds", "from 0.1 to 60; 2 is the default")
    return seconds
