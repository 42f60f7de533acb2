"""Netlink (RFC 3549; kernel: Documentation/userspace-api/netlink/intro.rst): attributes, and a socket that sends batches.

Many messages go out in ONE send, each with its own acknowledgement; that is what makes an attach cost little more than the
kernel's own time. Only the standard library is used, because every one-shot command imports this.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

REQUEST, ACK, ECHO = 0x1, 0x4, 0x8
DUMP = 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

_DUMP_INTERRUPTED = 0x10
_CAPPED, _ACK_TLVS = 0x100, 0x200
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _STRICT_CHECK = 10, 11, 12
_SO_RCVBUFFORCE = 33

_CHUNK_BYTES = 65536
_CHUNK_MESSAGES = 512
_NARROW = 32
"""So many acknowledgements fit into any receive buffer; more need a wider one."""
_WIDE_BUFFER = 4 << 20
_READ = 65536
_DUMP_TRIES = 8

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_INT = Struct("=i")
_U8, _U16, _U32, _BE16 = Struct("=B"), Struct("=H"), Struct("=I"), Struct(">H")

REASONS = {
    errno.EXFULL: "a bridge holds at most 1023 ports",
    errno.EPERM: "this needs root (CAP_NET_ADMIN)",
    errno.ENETUNREACH: "the next hop is not on the link",
}
"""What the kernel's number means here, where the kernel itself says no more."""


class Refused(Exception):
    """The kernel refused something. Never leaves this room: it becomes an `Outcome` or one of the public errors."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text)
        self.errno = number
        self.text = text

    def explain(self, what: str) -> str:
        """Return one line: the system's word for the number, then the kernel's own text, or what it was about."""
        word = os.strerror(self.errno) if self.errno else "failed"
        return f"{word}: {self.text or REASONS.get(self.errno) or what}"


class Message(NamedTuple):
    """A netlink message without its sequence number; `body` begins with the family's own header."""

    type: int
    flags: int
    body: bytes


@dataclass(slots=True)
class Reply:
    """What came back for one message: errno 0 when it was done, the kernel's text, the messages that it answered."""

    errno: int = 0
    text: str = ""
    answers: list[bytes] = field(default_factory=list)


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) & 3)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, _U8.pack(value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, _BE16.pack(value))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes from `offset` on, by type; of two with one type the last."""
    found: dict[int, bytes] = {}
    unpack, end = _ATTRIBUTE.unpack_from, len(data) - 4
    while offset <= end:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def repeated(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of each attribute from `offset` on, where one type may stand several times."""
    end = len(data) - 4
    while offset <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def as_int(data: bytes | None, default: int = 0) -> int:
    """Return a number in the machine's byte order, of whatever width."""
    return default if data is None else int.from_bytes(data, "little" if _LITTLE else "big")


def as_text(data: bytes | None) -> str:
    return "" if data is None else data.rstrip(b"\0").decode(errors="replace")


def as_mac(data: bytes | None) -> str:
    return "" if data is None else data.hex(":")


def mac_bytes(mac: str) -> bytes:
    """Return the six octets of a MAC. Raises `Refused` for anything else."""
    try:
        octets = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6:
        raise Refused(errno.EINVAL, f"{mac!r} is no MAC address")
    return octets


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield (type, flags, sequence, port, body) of every message in what one read returned."""
    offset, end = 0, len(data) - 16
    while offset <= end:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, port, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


class _Ports:
    """Port numbers that tell our own changes from everybody else's in a notification.

    The kernel would choose the process id, which a process in another PID namespace may have as well.
    """

    mask = ~0xFFF

    def __init__(self) -> None:
        self.base = 0x40000000 | int.from_bytes(os.urandom(3), "big") >> 6 << 12
        self._count = 0

    def __iter__(self) -> Iterator[int]:
        for _ in range(4096):
            self._count += 1
            yield self.base | self._count & ~self.mask

    def __contains__(self, port: int) -> bool:
        return port & self.mask == self.base


PORTS = _Ports()


class NetlinkSocket:
    """A netlink socket in the namespace in which the calling thread is at that moment."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        self._wide = False
        self._strict = False
        self.sends = 0
        """How many sends changed or asked something; the measure of how well changes are batched."""
        self._bind()
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def transact(self, batch: Sequence[Message]) -> list[Reply]:
        """Send the messages in order, in one send unless they are very many, and return a reply for each."""
        if len(batch) > _NARROW:
            self._widen()
        replies: list[Reply] = []
        for chunk in _chunks(batch):
            replies += self._exchange(chunk)
        return replies

    def ask(self, message: Message) -> list[bytes]:
        """Return the bodies that answer one message. Raises `Refused`."""
        reply = self.transact([message])[0]
        if reply.errno:
            raise Refused(reply.errno, reply.text)
        return reply.answers

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the body of every message of a dump; repeated while changes made it inconsistent. Raises `Refused`."""
        self._check_strictly()
        for _ in range(_DUMP_TRIES):
            found, whole = self._dump(kind, body)
            if whole:
                break
        return found

    def _bind(self) -> None:
        for port in PORTS:
            try:
                self._socket.bind((port, 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise Refused(errno.EADDRINUSE, "no free netlink port")

    def _check_strictly(self) -> None:
        """Let the kernel filter dumps by what the request says (since Linux 4.20; older ones ignore it and send all)."""
        if not self._strict:
            self._strict = True
            try:
                self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise

    def _widen(self) -> None:
        if not self._wide:
            self._wide = True
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WIDE_BUFFER)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WIDE_BUFFER)

    def _send(self, parts: Iterable[bytes]) -> None:
        self.sends += 1
        self._socket.send(b"".join(parts))

    def _exchange(self, batch: Sequence[Message]) -> list[Reply]:
        first = self._sequence + 1
        self._sequence += len(batch)
        self._send(_pack(m.type, m.flags | REQUEST | ACK, first + i, m.body) for i, m in enumerate(batch))
        replies = [Reply(errno.ENOBUFS, "the kernel's answer was lost") for _ in batch]
        missing = len(batch)
        while missing:
            try:
                data = self._socket.recv(_READ)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                break
            for kind, flags, sequence, _, body in messages(data):
                if not 0 <= sequence - first < len(batch):
                    continue
                reply = replies[sequence - first]
                if kind == _ERROR:
                    reply.errno, reply.text = _verdict(flags, body)
                    missing -= 1
                else:
                    reply.answers.append(body)
        return replies

    def _dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self._send((_pack(kind, REQUEST | DUMP, self._sequence, body),))
        found: list[bytes] = []
        whole = True
        while True:
            for got, flags, sequence, _, payload in messages(self._socket.recv(_READ)):
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & _DUMP_INTERRUPTED
                if got in (_DONE, _ERROR):
                    number = -_INT.unpack_from(payload)[0] if len(payload) >= 4 else 0
                    if number:
                        raise Refused(number)
                    return found, whole
                found.append(payload)


def _pack(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) & 3)


def _chunks(batch: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut a batch where it outgrows the socket's buffers."""
    start = size = 0
    for i, message in enumerate(batch):
        length = 20 + len(message.body)
        if i - start == _CHUNK_MESSAGES or (size + length > _CHUNK_BYTES and i > start):
            yield batch[start:i]
            start, size = i, 0
        size += length
    if start < len(batch):
        yield batch[start:]


def _verdict(flags: int, body: bytes) -> tuple[int, str]:
    """Return errno and the kernel's own text (extended acknowledgement) of an NLMSG_ERROR."""
    number = -_INT.unpack_from(body)[0]
    if not flags & _ACK_TLVS:
        return number, ""
    # Without NLM_F_CAPPED the request's whole payload stands between the header and the attributes.
    length = 16 if flags & _CAPPED else _U32.unpack_from(body, 4)[0]
    return number, as_text(attributes(body, 4 + ((length + 3) & ~3)).get(1)) if number else ""


_LITTLE = _U16.pack(1) == b"\1\0"
