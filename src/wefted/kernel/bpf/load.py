"""Loading eBPF programs: bpf(2) with BPF_PROG_LOAD."""

from __future__ import annotations

import ctypes
from struct import Struct

from ..netlink import Refused
from .call import bpf, pointer

CLASSIFIER, XDP = 3, 6
"""BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP."""
_PROG_LOAD = 5
_ATTRIBUTES = Struct("=IIQQIIQII16s")
"""The beginning of `union bpf_attr` for BPF_PROG_LOAD: kind, length, instructions, license, log (level, size, buffer), version,
flags, name; the kernel takes what is missing as zero."""
_LOG_SIZE = 1 << 18


def load(kind: int, name: str, instructions: bytes, licence: str = "Apache-2.0") -> int:
    """Load a program and return its descriptor, which the caller closes. Raises `Refused`, with the verifier's last line."""
    try:
        return _load(kind, name, instructions, licence, None)
    except Refused as refused:
        log = ctypes.create_string_buffer(_LOG_SIZE)
        try:
            return _load(kind, name, instructions, licence, log)
        except Refused:
            said = _verdict(log.value.decode(errors="replace"))
            raise Refused(refused.errno, f"{refused.text}{f' ({said})' if said else ''}") from None


def load_classifier(name: str, instructions: bytes) -> int:
    """Load a program for a traffic control hook and return its descriptor, which the caller closes. Raises `Refused`."""
    return load(CLASSIFIER, name, instructions)


def _load(kind: int, name: str, instructions: bytes, licence: str, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(licence.encode())
    level, size, buffer = (1, len(log), pointer(log)) if log is not None else (0, 0, 0)
    attributes = _ATTRIBUTES.pack(
        kind, len(instructions) // 8, pointer(code), pointer(terms), level, size, buffer, 0, 0, name.encode()[:15]
    )
    return bpf(_PROG_LOAD, attributes, f"load the program {name}")


def _verdict(log: str) -> str:
    """Return the verifier's reason: the last line before its statistics."""
    lines = [
        line for line in log.splitlines() if line and not line.startswith(("processed ", "verification time", "stack depth"))
    ]
    return lines[-1] if lines else ""
