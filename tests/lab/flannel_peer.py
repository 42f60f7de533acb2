"""Runs inside a virtual host: a peer of a flannel vxlan network in user space, from RFC 7348 and flannel's records alone.

It has no VXLAN device: it writes the bytes of each packet itself, and reads those that come. A JSON request on standard input:
{"local": MAC, "remote": MAC, "host": the remote host's address, "source": ours inside, "target": theirs inside, "size": bytes}
-> {"outer": [address, port], "vni": 1, "flags": 8, "eth": [destination, source], "ip": [source, destination], "ttl": 63,
    "icmp": [0, 0], "payload": true}
"""

from __future__ import annotations

import json
import socket
import struct
import sys

PORT, VNI = 8472, 1
REQUEST, ICMP, IPV4 = 8, 1, 0x0800
DEADLINE = 5.0
TRIES = 5


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    words = (
        struct.unpack(f"!{len(data) // 2}H", data)
        if len(data) % 2 == 0
        else struct.unpack(f"!{len(data) // 2 + 1}H", data + b"\0")
    )
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def mac(text: str) -> bytes:
    return bytes(int(octet, 16) for octet in text.split(":"))


def echo(source: str, target: str, payload: bytes) -> bytes:
    """Return an IPv4 packet with an ICMP echo request."""
    body = struct.pack("!BBHHH", REQUEST, 0, 0, 7, 1) + payload
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, ICMP, 0, socket.inet_aton(source), socket.inet_aton(target)
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def main() -> None:
    asked = json.load(sys.stdin)
    payload = bytes(number % 251 for number in range(asked["size"]))
    frame = mac(asked["remote"]) + mac(asked["local"]) + struct.pack("!H", IPV4)
    wrapped = struct.pack("!II", 0x08000000, VNI << 8) + frame + echo(asked["source"], asked["target"], payload)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", PORT))
        sock.settimeout(DEADLINE / TRIES)
        for _ in range(TRIES):
            sock.sendto(wrapped, (asked["host"], PORT))
            try:
                data, outer = sock.recvfrom(65535)
            except TimeoutError:
                continue
            print(json.dumps(read(data, outer, payload)))
            return
    sys.exit("no answer")


def read(data: bytes, outer: tuple[str, int], payload: bytes) -> dict[str, object]:
    """Return what stands in a packet that came."""
    flags, vni = struct.unpack_from("!II", data)
    ip = data[22:]
    return {
        "outer": [outer[0], outer[1]],
        "flags": flags >> 24,
        "vni": vni >> 8,
        "eth": [data[8:14].hex(":"), data[14:20].hex(":")],
        "type": data[20:22].hex(),
        "ip": [socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])],
        "sound": checksum(ip[:20]) == 0 and checksum(ip[20:]) == 0,
        "ttl": ip[8],
        "icmp": [ip[20], ip[21]],
        "payload": ip[28:] == payload,
    }


if __name__ == "__main__":
    main()
