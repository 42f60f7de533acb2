"""The process of a flannel server: where it listens, TLS, its life until SIGTERM. It joins no network, and needs no agent."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from wefted.config import Config
from wefted.errors import UsageError
from wefted.store.open import open_flannel
from wefted.store.url import EtcdSpec, parse_store_url

from . import logs, notify
from .flannel_networks import LentNetworks, log
from .flannel_server import FlannelServer

_FIRST_FD = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""
_ADDRESS = re.compile(r"(?:([a-z]+)://)?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen (`HOST:PORT`, `tcp://HOST:PORT`, `fd://`, `fd://4`), whose networks, and the files of TLS."""

    address: str
    store: str
    prefix: str
    api: str = "auto"
    ca: str = ""
    cert: str = ""
    key: str = ""


def serve_networks(config: Config, where: Listening, ready: Callable[[], None]) -> None:
    """Serve in the foreground until SIGTERM or SIGINT. Raises `UsageError` for what prevents that."""
    logs.configure(config.log_level)
    spec = parse_store_url(where.store)
    if not isinstance(spec, EtcdSpec):
        raise UsageError("a flannel server needs an etcd", "name it: -etcd-endpoints=http://HOST:2379")
    context = _tls(where)
    with listener(where.address, os.environ, os.getpid()) as sock:
        asyncio.run(_serve(sock, context, spec, where, ready))


async def _serve(
    sock: socket.socket, context: ssl.SSLContext | None, spec: EtcdSpec, where: Listening, ready: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = open_flannel(spec)
    networks = LentNetworks(store, where.prefix, where.api)
    answering = FlannelServer(networks)
    server = await loop.create_server(answering.connection, sock=sock, ssl=context, backlog=1024)
    log.info("serving flannel networks", extra={"address": where.address, "prefix": where.prefix, "pid": os.getpid()})
    try:
        ready()
        await stop.wait()
        notify.stopping()
    finally:
        server.close()
        for task in answering.running:
            task.cancel()
        await networks.close()
        await store.close()


def listener(address: str, environment: os._Environ[str] | dict[str, str], pid: int) -> socket.socket:
    """Return a socket that listens. Raises `UsageError`."""
    match = _ADDRESS.fullmatch(address)
    scheme, rest = (match[1] or "tcp", match[2]) if match is not None else ("", "")
    if scheme == "fd":
        return _passed(rest, environment, pid)
    if scheme != "tcp":
        raise UsageError(f"-listen: bad listener scheme {scheme!r}", "write -listen=ADDRESS:8888 or -listen=fd://")
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"-listen: {rest!r} is not an address with a port", "write -listen=ADDRESS:8888 or -listen=fd://")
    return _bound(host.removeprefix("[").removesuffix("]"), int(port))


def _bound(host: str, port: int) -> socket.socket:
    """Listen on one address, or on all of both IP versions, as Go does."""
    try:
        dual = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual or ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=dual)
    except OSError as error:
        raise UsageError(f"-listen: cannot listen on {host}:{port}: {error.strerror}", "choose another -listen") from None


def _passed(rest: str, environment: os._Environ[str] | dict[str, str], pid: int) -> socket.socket:
    """Return a socket that systemd has opened, the first one or that of a number."""
    try:
        number = int(rest or _FIRST_FD)
        count = int(environment.get("LISTEN_FDS", "0")) if environment.get("LISTEN_PID") == str(pid) else 0
    except ValueError:
        raise UsageError("-listen: fd index is not a number", "write -listen=fd:// for the first one") from None
    if not _FIRST_FD <= number < _FIRST_FD + count:
        raise UsageError(
            f"-listen: fd {number} is out of range ({_FIRST_FD + count})", "start it by a systemd socket: LISTEN_FDS"
        )
    try:
        sock = socket.socket(fileno=number)
        is_listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        is_listening = False
    if not is_listening:
        raise UsageError(f"-listen: fd {number} was not socket activated", "start it by a systemd socket with ListenStream=")
    sock.setblocking(False)
    return sock


def _tls(where: Listening) -> ssl.SSLContext | None:
    """Return how to speak TLS; with an authority clients must have a certificate of its, as with flannel."""
    if not (where.cert or where.key):
        return None
    if not (where.cert and where.key):
        raise UsageError("TLS needs both -remote-certfile and -remote-keyfile")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password callback OpenSSL would ask for the passphrase on the terminal.
        context.load_cert_chain(where.cert, where.key, password="")
        if where.ca:
            context.load_verify_locations(where.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise UsageError(f"-remote-certfile, -remote-keyfile, -remote-cafile: {error.reason or error}") from None
    except OSError as error:
        raise UsageError(f"-remote-certfile, -remote-keyfile, -remote-cafile: {error.strerror}") from None
    return context
