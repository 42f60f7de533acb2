"""Maps of eBPF programs: made, looked up, changed and listed by bpf(2). A map lives while a program or descriptor holds it."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from ..netlink import Refused
from .call import bpf, pointer

_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT = 0, 1, 2, 3, 4
_CREATION = Struct("=IIIIIII16s")
"""The beginning of `union bpf_attr` for BPF_MAP_CREATE: type, key size, value size, entries, flags, inner map, node, name."""
_ELEMENT = Struct("=IIQQQ")


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map is made from; sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int

    def create(self, name: str) -> int:
        """Make a map and return its descriptor, which the caller closes. Raises `Refused`."""
        words = (self.kind, self.key_size, self.value_size, self.entries, self.flags, 0, 0)
        return bpf(_CREATE, _CREATION.pack(*words, name.encode()[:15]), f"make the map {name}")


@dataclass(frozen=True, slots=True)
class Map:
    """A map behind a descriptor."""

    fd: int
    spec: MapSpec

    def put(self, key: bytes, value: bytes) -> None:
        """Set an element. Raises `Refused`."""
        key_buffer, value_buffer = _buffer(key), _buffer(value)
        bpf(_UPDATE, _ELEMENT.pack(self.fd, 0, pointer(key_buffer), pointer(value_buffer), 0), "write a map")

    def get(self, key: bytes) -> bytes | None:
        """Return an element, or None where there is none. In a trie of prefixes it is the one that covers the key best."""
        key_buffer, value = _buffer(key), ctypes.create_string_buffer(self.spec.value_size)
        try:
            bpf(_LOOKUP, _ELEMENT.pack(self.fd, 0, pointer(key_buffer), pointer(value), 0), "read a map")
        except Refused as refused:
            if refused.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def drop(self, key: bytes) -> None:
        """Remove an element; that it is gone already is no error."""
        key_buffer = _buffer(key)
        try:
            bpf(_DELETE, _ELEMENT.pack(self.fd, 0, pointer(key_buffer), 0, 0), "change a map")
        except Refused as refused:
            if refused.errno != errno.ENOENT:
                raise

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values; what changes meanwhile may be missing."""
        for key in list(self._keys()):
            value = self.get(key)
            if value is not None:
                yield key, value

    def _keys(self) -> Iterator[bytes]:
        before: ctypes.Array[ctypes.c_char] | None = None
        while True:
            following = ctypes.create_string_buffer(self.spec.key_size)
            at = pointer(before) if before is not None else 0
            try:
                bpf(_NEXT, _ELEMENT.pack(self.fd, 0, at, pointer(following), 0), "list a map")
            except Refused as refused:
                if refused.errno == errno.ENOENT:
                    return
                raise
            yield following.raw
            before = following


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))
