"""Leases of hosts that are not there, written into a real etcd with its JSON gateway, and when the kernel knows them.

Our own store has no part in it. A route is put in after what it needs (neighbour, forwarding entry), so the clock looks at the
kernel's list of routes alone, which costs least; the rest is compared when it is stopped.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPConnection
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from wefted.errors import WeftedError

PATIENCE = 60.0
BATCH = 100
"""Operations of one transaction; etcd takes 128."""
STEP = 0.0005

Peer = tuple[str, str, str]
"""Subnet, public address and VTEP MAC of a host."""


class Etcd:
    """One connection to an etcd."""

    def __init__(self, host: str) -> None:
        self._connection = HTTPConnection(host, timeout=PATIENCE)

    def write(self, puts: Iterable[tuple[str, str]], deletes: Iterable[str] = ()) -> None:
        """Put and delete keys, in as few transactions as possible. Raises `WeftedError`."""
        found: list[dict[str, Any]] = [{"request_put": {"key": _base64(k), "value": _base64(v)}} for k, v in puts]
        found += [{"request_delete_range": {"key": _base64(key)}} for key in deletes]
        for first in range(0, len(found), BATCH):
            self._post("/v3/kv/txn", {"success": found[first : first + BATCH]})

    def _post(self, path: str, body: object) -> None:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise WeftedError(f"etcd refuses: {said.decode(errors='replace')[:200]}")


def peers(network: str, count: int, first: int = 0) -> list[Peer]:
    """Return hosts with a /24 each, from the end of a network; no two numbers are the same host."""
    last = int(IPv4Network(network).broadcast_address) + 1
    numbers = range(first, first + count)
    return [
        (str(IPv4Network((last - 256 * (n + 1), 24))), f"198.18.{n >> 8}.{n & 255}", f"02:fe:00:00:{n >> 8:02x}:{n & 255:02x}")
        for n in numbers
    ]


def record(prefix: str, peer: Peer, vni: int) -> tuple[str, str]:
    """Return key and value of a host's lease, as flannel writes them."""
    subnet, public, mac = peer
    data = {"VNI": vni, "VtepMAC": mac}
    value = {"PublicIP": public, "PublicIPv6": None, "BackendType": "vxlan", "BackendData": data}
    return key(prefix, subnet), json.dumps(value, separators=(",", ":"))


def key(prefix: str, subnet: str) -> str:
    return f"{prefix}/subnets/{subnet.replace('/', '-')}"


def routes() -> set[str]:
    """Return the destinations of this namespace's routes as /proc/net/route has them."""
    return {line.split("\t", 2)[1] for line in Path("/proc/net/route").read_text().splitlines()[1:]}


def destination(subnet: str) -> str:
    """Return a subnet as /proc/net/route writes it."""
    return f"{int.from_bytes(IPv4Network(subnet).network_address.packed, 'little'):08X}"


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, looking often. Raises `WeftedError` when it does not come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise WeftedError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(STEP)


def complete(found: Sequence[Peer]) -> int:
    """Return how many of these hosts are wholly known: route, neighbour and forwarding entry."""
    gateways = {entry.get("dst"): entry.get("gateway") for entry in _json("ip", "-j", "-4", "route", "show")}
    neighbors = {entry["dst"]: entry.get("lladdr") for entry in _json("ip", "-j", "-4", "neigh", "show", "nud", "permanent")}
    forwards = {(entry["mac"], entry.get("dst")) for entry in _json("bridge", "-j", "fdb", "show")}
    return sum(_is_complete(peer, gateways, neighbors, forwards) for peer in found)


def file_appears(path: str, act: Callable[[], None]) -> float:
    """Return the milliseconds from the beginning of `act` until a file is there."""
    start = time.perf_counter()
    act()
    until(lambda: os.path.exists(path), path)
    return 1000 * (time.perf_counter() - start)


def kernel_follows(wanted: Callable[[set[str]], bool], act: Callable[[], None], what: str) -> float:
    """Return the milliseconds from the beginning of `act` until the routes are as `wanted` has them."""
    start = time.perf_counter()
    act()
    until(lambda: wanted(routes()), what)
    return 1000 * (time.perf_counter() - start)


def _is_complete(peer: Peer, gateways: dict[Any, Any], neighbors: dict[Any, Any], forwards: set[tuple[Any, Any]]) -> bool:
    subnet, public, mac = peer
    first = subnet.partition("/")[0]
    return gateways.get(subnet) == first and neighbors.get(first) == mac and (mac, public) in forwards


def _json(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout or b"[]")
    return found


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
