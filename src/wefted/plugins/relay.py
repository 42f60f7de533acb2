"""Stands between Docker and the agent: while no agent runs, Docker is answered all the same.

Docker waits 15 seconds for each call to a plugin that is not there, and its start waits for such calls. This program goes on
while the agent is stopped. What ends something is then answered with success, because Docker forgets it in any case and the
agent compares itself with Docker when it is back; what begins something is refused at once, with the reason.

It runs alone, by whatever Python 3 the host has, so it imports nothing but the standard library:

    relay.py LISTEN UPSTREAM        two paths of unix sockets: where Docker asks, and where the agent answers

It is a service of its own, whose socket systemd opens (sd_listen_fds(3)), or Docker's own managed plugin.
"""

import json
import os
import signal
import socket
import socketserver
import sys
import time
from typing import Any

LARGEST = 1 << 24
"""Bytes of one message."""
PATIENCE = 2.0
"""Seconds to wait for an agent that is just starting, before something that begins is refused."""
LONGEST_CALL = 120.0
AWAY = "the wefted agent of this host does not run (start it: wefted up)"

STATIC: dict[str, Any] = {
    "/Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
    "/NetworkDriver.GetCapabilities": {"Scope": "local", "ConnectivityScope": "global"},
    "/NetworkDriver.EndpointOperInfo": {"Value": {}},
    "/IpamDriver.GetCapabilities": {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    "/IpamDriver.GetDefaultAddressSpaces": {"LocalDefaultAddressSpace": "wefted", "GlobalDefaultAddressSpace": "wefted"},
}
"""What is always so; the agent says the same."""
ENDINGS = {
    *("/NetworkDriver." + name for name in ("DeleteNetwork", "DeleteEndpoint", "Leave", "RevokeExternalConnectivity")),
    *("/NetworkDriver." + name for name in ("FreeNetwork", "DiscoverNew", "DiscoverDelete")),
    *("/IpamDriver." + name for name in ("ReleasePool", "ReleaseAddress")),
}


def answer(path: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a call while there is no agent."""
    if path in STATIC:
        return 200, STATIC[path]
    if path in ENDINGS:
        return 200, {}
    return 500, {"Error" if path.startswith("/IpamDriver.") else "Err": AWAY}


class Broken(Exception):
    """What came is not a message of HTTP with a length."""


def message(connection: socket.socket, rest: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Return head, body and what follows; an empty head at the end of the connection. Raises `Broken`, `OSError`."""
    data = rest
    while b"\r\n\r\n" not in data:
        data = _more(connection, data)
        if not data:
            return b"", b"", b""
    head, _, data = data.partition(b"\r\n\r\n")
    length = _length(head)
    while len(data) < length:
        data = _more(connection, data, needed=True)
    return head + b"\r\n\r\n", data[:length], data[length:]


def _more(connection: socket.socket, data: bytes, needed: bool = False) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        if data or needed:
            raise Broken("it ends in the middle")
        return b""
    if len(data) + len(piece) > LARGEST:
        raise Broken("it is too large")
    return data + piece


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        word = value.strip()
        if name.strip().lower() == b"content-length" and word.isdigit() and len(word) < 12:
            return min(int(word), LARGEST + 1)
        if name.strip().lower() == b"transfer-encoding":
            raise Broken("send the body with a Content-Length")
    return 0


class Relay(socketserver.BaseRequestHandler):
    """One connection of Docker's."""

    server: "Server"

    def handle(self) -> None:
        """Pass on one request after the other."""
        rest = b""
        while True:
            try:
                head, body, rest = message(self.request, rest)
                if not head:
                    return
                self.request.sendall(self._answered(head, body))
            except Broken as error:
                self.request.sendall(_encoded(400, {"Err": f"this is no request: {error}"}))
                return
            except OSError:
                return

    def _answered(self, head: bytes, body: bytes) -> bytes:
        words = head.split(b" ", 2)
        path = words[1].decode("latin-1") if len(words) == 3 else ""
        quick = path in STATIC or path in ENDINGS
        end = time.monotonic() + (0.0 if quick else PATIENCE)
        while True:
            try:
                return self._asked(head + body)
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() >= end:
                    return _encoded(*answer(path))
                time.sleep(0.05)
            except (OSError, Broken):
                return _encoded(*answer(path))

    def _asked(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(LONGEST_CALL)
            agent.connect(self.server.upstream)
            agent.sendall(data)
            head, body, _ = message(agent)
            if not head:
                raise Broken("no answer")
            return head + body


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens for Docker; a thread for each connection, for one call may wait while others end."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, listen: str, upstream: str) -> None:
        self.upstream = upstream
        given = os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0"
        super().__init__(listen, Relay, bind_and_activate=False)
        if given:
            self.socket.close()
            self.socket = socket.socket(fileno=3)
            return
        if os.path.exists(listen):
            os.unlink(listen)
        mask = os.umask(0o177)
        try:
            self.server_bind()
        finally:
            os.umask(mask)
        self.server_activate()


def _encoded(status: int, value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    kind = "application/vnd.docker.plugins.v1.2+json"
    words = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}[status]
    return f"HTTP/1.1 {status} {words}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def main(listen: str, upstream: str) -> None:
    """Serve until SIGTERM, which the first process of a container gets only if it asks for it."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with Server(listen, upstream) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
