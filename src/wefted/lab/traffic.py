"""Traffic between containers. Run as a script in their namespaces, with `python -I -S`; imports nothing that is slow.

    traffic.py serve TOKEN             an HTTP server that answers TOKEN, a sink for streams, an echo; says "ready"
    traffic.py probe [TARGET, ...]     pings and fetches from each target; prints a list of results
    traffic.py stream ADDRESS SECONDS  sends as fast as it can, then single bytes back and forth; prints the figures
    traffic.py flood ADDRESS SECONDS   sends small UDP packets as fast as it can; prints how many arrived in a second

Targets and results are JSON: {"address", "port", "ping", "size"} to {"address", "ping_ms", "text", "errors"}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HTTP, SINK, ECHO, COUNTER = 80, 5001, 5002, 5003
CHUNK = 1 << 18
PATIENCE = 5.0
"""Seconds that a target has to answer for the first time: other hosts hear of a new network a moment later."""
PINGS = 5
TURNS = 0.15
"""Seconds of the round trips of `stream`."""
SMALL = 18
"""Bytes in a datagram of `flood`: with its headers the shortest Ethernet frame."""
BATCH = 32
_DONT_FRAGMENT = {
    socket.AF_INET: (socket.IPPROTO_IP, 10, 2),  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: ip(7)
    socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 2),  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO: ipv6(7)
}


def serve(token: str) -> None:
    """Answer on all three ports until killed."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(token)}\r\nConnection: close\r\n\r\n{token}".encode()
    for port, work in ((HTTP, lambda c: _answer(c, answer)), (SINK, _sink), (ECHO, _echo), (COUNTER, _counter)):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64, dualstack_ipv6=True)
        threading.Thread(target=_accept, args=(listener, work)).start()
    print("ready", flush=True)


def _accept(listener: socket.socket, work: Callable[[socket.socket], None]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_quietly, args=(work, connection), daemon=True).start()


def _quietly(work: Callable[[socket.socket], None], connection: socket.socket) -> None:
    """A client that goes away ends its own connection and nothing else."""
    with connection, contextlib.suppress(OSError):
        work(connection)


def _answer(connection: socket.socket, answer: bytes) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(4096)
        if not data:
            return
        request += data
    connection.sendall(answer)


def _sink(connection: socket.socket) -> None:
    """Count until the sender ends; tell it bytes and seconds, from the first byte to the last."""
    buffer = bytearray(CHUNK)
    total = connection.recv_into(buffer)
    start = last = time.perf_counter()
    while received := connection.recv_into(buffer):
        total += received
        last = time.perf_counter()
    connection.sendall(json.dumps([total, last - start]).encode())


def _echo(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(64):
        connection.sendall(data)


class _Batch:
    """Datagrams that one system call sends or receives: sendmmsg(2), recvmmsg(2)."""

    def __init__(self, count: int, size: int) -> None:
        class Piece(ctypes.Structure):
            _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

        class Header(ctypes.Structure):
            _fields_ = (
                ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("pieces", ctypes.c_void_p),
                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_int), ("received", ctypes.c_uint32),
            )  # fmt: skip

        self.count = count
        self._data = ctypes.create_string_buffer(size * count)
        base = ctypes.addressof(self._data)
        self._pieces = (Piece * count)(*[Piece(base + size * number, size) for number in range(count)])
        self.headers = (Header * count)()
        for number, header in enumerate(self.headers):
            header.pieces = ctypes.addressof(self._pieces) + number * ctypes.sizeof(Piece)
            header.count = 1


def _counter(connection: socket.socket) -> None:
    """Tell the port of a datagram socket, count what comes there until the sender has ended; tell it packets and seconds."""
    libc, batch, total, start, last = ctypes.CDLL(None, use_errno=True), _Batch(64, 2048), 0, 0.0, 0.0
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        datagrams.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
        datagrams.bind(("::", 0))
        connection.sendall(json.dumps(datagrams.getsockname()[1]).encode())
        connection.setblocking(False)
        while True:
            received = libc.recvmmsg(datagrams.fileno(), batch.headers, batch.count, 0x10000, None)  # MSG_WAITFORONE
            if received > 0:
                last = time.perf_counter()
                start = start or last
                total += received
            elif _has_ended(connection):
                break
    connection.setblocking(True)
    connection.sendall(json.dumps([total, last - start]).encode())


def _has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def probe(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ping and fetch; whatever fails is told in `errors`, in words."""
    return [_probe(target) for target in targets]


def _probe(target: dict[str, Any]) -> dict[str, Any]:
    address = target["address"]
    result: dict[str, Any] = {"address": address, "ping_ms": None, "text": "", "errors": []}
    try:
        if target.get("ping"):
            result["ping_ms"] = _ping(address, target["size"])
    except OSError as error:
        result["errors"].append(f"ping: {error}")
    try:
        result["text"] = _patiently(lambda: _fetch(address, target["port"]))
    except OSError as error:
        result["errors"].append(f"HTTP: {error}")
    return result


def _patiently(work: Callable[[], Any]) -> Any:
    """Repeat what fails until it works or the patience is at its end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _fetch(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=1) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"the answer was {head[:40]!r}")
    return body.decode()


def _ping(address: str, size: int) -> float:
    """Return the median round trip in milliseconds; then send one packet of `size` bytes in all that may not be cut."""
    _patiently(lambda: _echo_request(address, 0, 56))
    times = sorted(_echo_request(address, number, 56) for number in range(1, PINGS + 1))
    headers = 48 if ":" in address else 28
    try:
        _echo_request(address, PINGS + 1, size - headers)
    except OSError as error:
        raise OSError(f"a packet of {size} bytes, the MTU, does not pass: {error}") from None
    return times[len(times) // 2]


def _echo_request(address: str, number: int, size: int, patience: float = 1.0) -> float:
    """Send one echo request (RFC 792, RFC 4443) and return the milliseconds until its answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if family == socket.AF_INET6 else (8, 0)
    packet = _icmp(request, os.getpid() & 0xFFFF, number, size, family)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.setsockopt(*_DONT_FRAGMENT[socket.AddressFamily(family)])
        start = time.perf_counter()
        raw.sendto(packet, (address, 0))
        while (left := start + patience - time.perf_counter()) > 0:
            raw.settimeout(left)
            data = raw.recv(65535)
            if family == socket.AF_INET:
                data = data[4 * (data[0] & 15) :]
            if data[0] == reply and data[4:8] == packet[4:8]:
                return 1000 * (time.perf_counter() - start)
    raise TimeoutError("no answer")


def _icmp(kind: int, identifier: int, number: int, size: int, family: int) -> bytes:
    """The kernel fills in the checksum of IPv6 only: it covers the addresses too."""
    body = struct.pack("!HH", identifier, number) + bytes(size)
    checksum = 0 if family == socket.AF_INET6 else _checksum(struct.pack("!BBH", kind, 0, 0) + body)
    return struct.pack("!BBH", kind, 0, checksum) + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def stream(address: str, seconds: float) -> dict[str, Any]:
    """Return bits per second as the receiver counted them, and round trips of one byte over TCP, in microseconds."""
    return {"gbit": _send(address, seconds), "turns_us": _turns(address)}


def _send(address: str, seconds: float) -> float:
    data = bytes(CHUNK)
    with socket.create_connection((address, SINK), timeout=10) as connection:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        total, taken = json.loads(b"".join(iter(lambda: connection.recv(4096), b"")))
    return 8e-9 * total / taken if taken else 0.0


def flood(address: str, seconds: float) -> dict[str, float]:
    """Return thousands of packets in a second as the receiver counted them."""
    libc, batch = ctypes.CDLL(None, use_errno=True), _Batch(BATCH, SMALL)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_connection((address, COUNTER), timeout=10) as connection,
        socket.socket(family, socket.SOCK_DGRAM) as out,
    ):
        out.connect((address, json.loads(connection.recv(64))))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            libc.sendmmsg(out.fileno(), batch.headers, batch.count, 0)
        connection.shutdown(socket.SHUT_WR)
        total, taken = json.loads(b"".join(iter(lambda: connection.recv(4096), b"")))
    return {"kpps": total / taken / 1000 if taken else 0.0}


def _turns(address: str) -> list[float]:
    times = []
    with socket.create_connection((address, ECHO), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + TURNS
        while (start := time.perf_counter()) < end:
            connection.sendall(b"x")
            connection.recv(64)
            times.append(1e6 * (time.perf_counter() - start))
    return times


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve(words[0])
    elif verb == "probe":
        print(json.dumps(probe(json.loads(words[0]))))
    else:
        print(json.dumps({"stream": stream, "flood": flood}[verb](words[0], float(words[1]))))


if __name__ == "__main__":
    main()
