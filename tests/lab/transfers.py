"""Bytes over TCP between containers, whose digests are compared at both ends.

`WEFTED_TRANSFER=1GB` says how many there are where a test does not; `make soak` sends that much.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from wefted.lab.host import Host

PATIENCE = 300
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
RECEIVE = """
import hashlib, socket
with socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    buffer, digest, size = bytearray(1 << 20), hashlib.sha256(), 0
    with memoryview(buffer) as view:
        while length := connection.recv_into(buffer):
            digest.update(view[:length])
            size += length
    print(size, digest.hexdigest(), flush=True)
"""
SEND = """
import hashlib, random, socket, sys
block, digest, left = bytearray(random.Random(1).randbytes(1 << 20)), hashlib.sha256(), int(sys.argv[2])
with socket.create_connection((sys.argv[1], int(sys.argv[3])), timeout=20) as connection, memoryview(block) as view:
    while left:
        block[:8] = left.to_bytes(8, "big")  # no two pieces are equal
        piece = view[: min(left, len(block))]
        digest.update(piece)
        connection.sendall(piece)
        left -= len(piece)
print(digest.hexdigest())
"""


def amount() -> int:
    """Return how many bytes a transfer has: 100 MB, or what the environment says."""
    text = os.environ.get("WEFTED_TRANSFER", "100MB").upper()
    unit = text[-2:]
    assert unit in UNITS, f"WEFTED_TRANSFER={text}: KB, MB or GB"
    return int(float(text[:-2]) * UNITS[unit])


def transfer(sender: Host, receiver: Host, address: str, size: int, name: str = "c", port: int = 7000) -> float:
    """Send so many bytes between containers of one name and compare what arrived; return the seconds that it took."""
    python = ["ip", "netns", "exec", name, sys.executable, "-I", "-S", "-c"]
    child = receiver.popen([*python, RECEIVE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        start = time.monotonic()
        sent = sender.run([*python, SEND, address, str(size), str(port)], timeout=PATIENCE).stdout.split()
        assert child.stdout.readline().split() == [str(size), *sent]
        return time.monotonic() - start
    finally:
        child.kill()
        child.wait()
