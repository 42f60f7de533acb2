"""A relay of IP packets between a TUN device and UDP, for kernels without eBPF. A program: `python -I -S udp_relay.py FILE`.

FILE is JSON: `link` (the TUN device), `local`, `port`, `blocks` (our own), `peers` (block -> [address, port]). On SIGURG it is
read again; who does not expect that signal ignores it, so it may come before we are ready.

The wire is flannel's: the payload of a datagram is one bare IP packet; both ends take one from the TTL; for a destination that
nobody has the sender hears ICMP "net unreachable", unless it sent ICMP itself.

Two threads that wait in system calls, one for each direction: a read and a send for each packet, and as little Python between
as can be. Where a destination is, is looked up once and kept. Only the standard library, and of it only what starts quickly.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import threading
from ipaddress import ip_address, ip_network
from typing import Any

_SET_INTERFACE = 0x400454CA
_TUN, _NO_HEADER = 0x1, 0x1000
_SEND_BUFFER, _RECEIVE_BUFFER = 32, 33
"""SO_SNDBUFFORCE, SO_RCVBUFFORCE: socket(7)."""
_NO_CHECK6_RX = 102
"""UDP_NO_CHECK6_RX (linux/udp.h): the programs of the other way send no outer checksum; by ours they know us for a process."""
_BUFFER = 4 << 20
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "loongarch64": 274, "s390x": 345, "ppc64le": 355}
_SCHED_ATTRIBUTES = struct.Struct("=IIQiIQQQII")
"""struct sched_attr (linux/sched/types.h): size, policy, flags, nice value, priority, slice in nanoseconds, and what is 0."""
_NICE, _SLICE = -10, 100_000
_LONGEST = 65536
_KNOWN = 65536
"""So many destinations are remembered."""

Target = tuple[str, int] | None


class Routes:
    """Where packets go: the block with the longest prefix, each destination looked up once."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._blocks: list[tuple[int, int, int, int, Target]] = []
        for block, (remote, port) in said["peers"].items():
            network = ip_network(block)
            rest = network.max_prefixlen - network.prefixlen
            prefix = int(network.network_address) >> rest
            self._blocks.append((network.version, network.prefixlen, rest, prefix, (remote, port)))
        self._blocks.sort(key=lambda entry: -entry[1])
        self.known: dict[bytes, Target] = {}
        self.remotes = frozenset(ip_address(remote).packed for remote, _ in said["peers"].values())
        source = next((ip_network(b).network_address for b in said["blocks"] if ip_network(b).version == 4), None)
        self.source = source.packed if source is not None else b""

    def find(self, address: bytes) -> Target:
        """Return the host behind an address, None for nobody; and remember it."""
        version, number = (4 if len(address) == 4 else 6), int.from_bytes(address, "big")
        target = next((t for v, _, rest, prefix, t in self._blocks if v == version and number >> rest == prefix), None)
        if len(self.known) >= _KNOWN:
            self.known.clear()
        self.known[address] = target
        return target


class Relay:
    """One tunnel."""

    def __init__(self, file: str) -> None:
        self._file = file
        signal.signal(signal.SIGURG, lambda *_: self.load() and None)  # before the file is read for the first time
        said = self.load()
        self._tun = _open_tun(said["link"])
        self._socket = _open_socket(said["local"], said["port"])

    def load(self) -> dict[str, Any]:
        """Read the file, now and on every signal."""
        with open(self._file) as file:
            said: dict[str, Any] = json.load(file)
        self.routes = Routes(said)
        return said

    def run(self) -> None:
        """Carry packets until killed."""
        threading.Thread(target=self._outward, daemon=True).start()
        self._inward()

    def _outward(self) -> None:
        buffer = bytearray(_LONGEST)
        view = memoryview(buffer)
        readv, fd, one, send = os.readv, self._tun, [buffer], self._socket.sendto
        while True:
            length = readv(fd, one)
            routes = self.routes
            if buffer[0] >> 4 == 4:
                address, ttl = bytes(view[16:20]), 8
            else:
                address, ttl = bytes(view[24:40]), 7
            known = routes.known
            target = known[address] if address in known else routes.find(address)
            if target is None:
                self._refuse(view[:length], routes.source)
            elif buffer[ttl] > 1:
                _age(buffer, ttl)
                try:
                    send(view[:length], target)
                except OSError:
                    continue  # the peer is away, or the packet too long: IP loses packets

    def _inward(self) -> None:
        buffer = bytearray(_LONGEST)
        view = memoryview(buffer)
        receive, fd, write = self._socket.recvfrom_into, self._tun, os.write
        last, strangers = "", False
        while True:
            try:
                length, source = receive(buffer)
            except OSError:
                continue  # an ICMP error that answers what was sent before
            if source[0] != last:
                last, strangers = source[0], _packed(source[0]) not in self.routes.remotes
            if length < 20 or (strangers and _packed(last) not in self.routes.remotes):
                last = ""
                continue
            ttl = 8 if buffer[0] >> 4 == 4 else 7
            if buffer[ttl] > 1:
                _age(buffer, ttl)
                try:
                    write(fd, view[:length])
                except OSError:
                    continue  # no IP packet at all, or the device is down

    def _refuse(self, packet: memoryview, source: bytes) -> None:
        answer = unreachable(bytes(packet[:28]), source)
        if answer:
            os.write(self._tun, answer)


def _age(buffer: bytearray, at: int) -> None:
    """Take one from the TTL; IPv4 has a checksum to correct (RFC 1624)."""
    buffer[at] -= 1
    if at == 8:
        if buffer[10] < 255:
            buffer[10] += 1
        elif buffer[11] < 255:  # the carry goes around
            buffer[10] = 0
            buffer[11] += 1
        else:
            buffer[10], buffer[11] = 1, 0


def unreachable(head: bytes, source: bytes) -> bytes:
    """Return ICMP "net unreachable" (RFC 792) about a packet that begins with `head`; nothing where none may be sent."""
    if len(head) < 28 or head[0] >> 4 != 4 or head[9] == socket.IPPROTO_ICMP or not source or head[16] >= 224:
        return b""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 56, 0, 0, 64, socket.IPPROTO_ICMP, 0, source, head[12:16])
    icmp = struct.pack("!BBHI", 3, 0, 0, 0) + head
    return _summed(ip, 10) + _summed(icmp, 2)


def _summed(data: bytes, at: int) -> bytes:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return data[:at] + total.to_bytes(2, "big") + data[at + 2 :]


def _packed(address: str) -> bytes:
    packed: bytes = ip_address(address.partition("%")[0]).packed
    return packed


def _open_tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, _SET_INTERFACE, struct.pack("16sH22x", name.encode(), _TUN | _NO_HEADER))
    return fd


def _open_socket(local: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    for option in (_SEND_BUFFER, _RECEIVE_BUFFER):
        opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_UDP, _NO_CHECK6_RX, 1)
    opened.bind((local, port))
    return opened


def _hurry() -> None:
    """Run soon after a packet has come, and for a short time: others that compute would make each one wait for their turn.

    Linux since 6.12 gives a task with a short slice its turn earlier (sched(7), sched_setattr(2)); an older one takes the nice
    value alone. Where we may not, we wait as everybody does.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is not None:
        wish = _SCHED_ATTRIBUTES.pack(_SCHED_ATTRIBUTES.size, 0, 0, _NICE, 0, _SLICE, 0, 0, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, ctypes.create_string_buffer(wish, len(wish)), 0)


def main() -> None:
    sys.setswitchinterval(0.0005)
    _hurry()
    relay = Relay(sys.argv[1])
    print("ready", flush=True)
    relay.run()


if __name__ == "__main__":
    main()
