"""Loading eBPF programs: bpf(2) with BPF_PROG_LOAD. No compiler and no libbpf are needed at run time."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from struct import Struct

from ..netlink import Refused

_CALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361, "armv7l": 386}
_PROG_LOAD = 5
_SCHED_CLS = 3
_ATTRIBUTES = Struct("=IIQQIIQII16s")
"""The beginning of `union bpf_attr` for BPF_PROG_LOAD: kind, length, instructions, license, log (level, size, buffer), version,
flags, name; the kernel takes what is missing as zero."""

_libc = ctypes.CDLL(None, use_errno=True)


def load_classifier(name: str, instructions: bytes) -> int:
    """Load a program for a traffic control hook and return its descriptor, which the caller closes. Raises `Refused`."""
    number = _CALL.get(platform.machine())
    if number is None:
        raise Refused(errno.EOPNOTSUPP, f"wefted does not know how to load programs on {platform.machine()}")
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = _ATTRIBUTES.pack(
        _SCHED_CLS, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode()
    )
    fd = int(_libc.syscall(number, _PROG_LOAD, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes)))
    if fd < 0:
        raise Refused(ctypes.get_errno(), f"cannot load the program {name}: {os.strerror(ctypes.get_errno())}")
    return fd
