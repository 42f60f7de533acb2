"""The system call bpf(2), and what identifiers of programs and maps lead to. Neither compiler nor libbpf is needed."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from ..netlink import Refused

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361, "armv7l": 386}
_PROGRAM_BY_ID, _MAP_BY_ID, _INFO, _BIND_MAP = 13, 14, 15, 35
_ID = Struct("=III")
_INFO_REQUEST = Struct("=IIQ")
_PROGRAM_INFO = Struct("=II8sIIQQQIIQ16s")
"""The beginning of `struct bpf_prog_info`: type, id, tag, lengths and buffers of code, load time, user, number and buffer of
maps, name."""
_MAP_INFO = Struct("=IIIIII16s")
"""The beginning of `struct bpf_map_info`: type, id, key size, value size, entries, flags, name."""
_MANY = 64

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes, what: str) -> int:
    """Do one command of bpf(2) and return its result. Raises `Refused`, whose text says `what` could not be done."""
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise Refused(errno.EOPNOTSUPP, f"wefted does not know the system call bpf on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(number, command, buffer, len(attributes)))
    if result < 0:
        raise Refused(ctypes.get_errno(), f"cannot {what}: {os.strerror(ctypes.get_errno())}")
    return result


def pointer(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


@contextmanager
def program(identifier: int) -> Iterator[int]:
    """Lend a descriptor of a loaded program. Raises `Refused` (ENOENT) when it is gone."""
    fd = bpf(_PROGRAM_BY_ID, _ID.pack(identifier, 0, 0), "open a program")
    try:
        yield fd
    finally:
        os.close(fd)


def bind(program_fd: int, map_fd: int) -> None:
    """Let a program hold a map that it does not use (since Linux 5.10). Raises `Refused`."""
    bpf(_BIND_MAP, _ID.pack(program_fd, map_fd, 0), "give a program a map")


def program_name(fd: int) -> str:
    """Return the name that a program was loaded with, 15 bytes at most."""
    found = _info(fd, _PROGRAM_INFO, b"")
    return _text(found[-1])


def program_maps(fd: int) -> dict[str, int]:
    """Return descriptors of the maps of a program, by their names; the caller closes them. Raises `Refused`."""
    identifiers = (ctypes.c_uint32 * _MANY)()
    request = _PROGRAM_INFO.pack(0, 0, b"", 0, 0, 0, 0, 0, 0, _MANY, ctypes.addressof(identifiers), b"")
    count = _info(fd, _PROGRAM_INFO, request)[9]
    maps: dict[str, int] = {}
    for identifier in identifiers[:count]:
        found = bpf(_MAP_BY_ID, _ID.pack(identifier, 0, 0), "open a map")
        maps[_text(_info(found, _MAP_INFO, b"")[-1])] = found
    return maps


def _info(fd: int, form: Struct, request: bytes) -> tuple[int, ...]:
    buffer = ctypes.create_string_buffer(request, form.size)
    bpf(_INFO, _INFO_REQUEST.pack(fd, form.size, pointer(buffer)), "ask about a program")
    return form.unpack(buffer.raw)


def _text(name: object) -> str:
    assert isinstance(name, bytes)
    return name.rstrip(b"\0").decode(errors="replace")
