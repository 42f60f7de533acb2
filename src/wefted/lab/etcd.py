"""The lab's cluster store: one real etcd, in a machine of its own on the underlay."""

from __future__ import annotations

import shutil
import socket
import time

from wefted.errors import Unreachable, Unsupported, WeftedError
from wefted.model.objects import IPAddress

from .enter import inside, popen
from .init import CLONE_NEWNET
from .process import Process
from .topology import STORE, Topology

PORT = 2379
LOG = "/var/log/etcd.log"
PROBE = b'POST /v3/kv/range HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"key":"AA=="}'


def require() -> None:
    """Raise `Unsupported` when there is no etcd on this machine."""
    if shutil.which("etcd") is None:
        raise Unsupported("the lab's cluster store needs etcd", "apt-get install etcd-server, or start the lab with --bare")


def url(topology: Topology) -> str:
    """Return what hosts give to `wefted up --store`; empty when the lab has no store."""
    return f"etcd://{_authority(topology.store.addresses[0])}" if topology.store is not None else ""


def command(address: IPAddress) -> list[str]:
    """Return etcd's command line. It is alone: the smallest timers only make it elect itself sooner."""
    client = f"http://{_authority(address)}"
    peer = "http://127.0.0.1:2380"
    return [
        "etcd", "--name", STORE, "--data-dir", "/var/lib/etcd",
        "--listen-client-urls", f"http://{'0.0.0.0' if address.version == 4 else '[::]'}:{PORT}",
        "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"{STORE}={peer}",
        "--heartbeat-interval", "20", "--election-timeout", "100",
        "--logger", "zap", "--log-level", "error",
    ]  # fmt: skip


def start(process: Process, address: IPAddress) -> None:
    """Start etcd as a child of the machine's init, which will reap it: hence the shell, which ends at once."""
    shell = ["/bin/sh", "-c", f'"$@" </dev/null >>{LOG} 2>&1 &', "sh", *command(address)]
    if popen(process, shell, cwd="/").wait():
        raise WeftedError("etcd could not be started in the lab")


def wait(process: Process, deadline: float) -> None:
    """Wait until etcd has elected itself. Raises `Unreachable` at the `deadline` (of the monotonic clock)."""
    while not inside(process, _healthy, CLONE_NEWNET):
        if time.monotonic() > deadline:
            log = f"/proc/{process.pid}/root{LOG}"
            raise Unreachable("the lab's etcd does not answer", f"its log: {_tail(log)}")
        time.sleep(0.005)


def _healthy() -> bool:
    """Read a key over the JSON gateway, which clients use: it may be later than the rest of etcd (and than its /health)."""
    try:
        with socket.create_connection(("localhost", PORT), timeout=2) as connection:
            connection.sendall(PROBE)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.0 200 ")


def _authority(address: IPAddress) -> str:
    return f"{address}:{PORT}" if address.version == 4 else f"[{address}]:{PORT}"


def _tail(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()[-500:].strip() or "(empty)"
    except OSError:
        return "(not there)"
