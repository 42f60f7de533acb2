"""eBPF instructions (kernel: Documentation/bpf/standardization/instruction-set.rst), for programs too small for a compiler."""

from __future__ import annotations

from struct import Struct

R0, R1, R2, R3, R6 = 0, 1, 2, 3, 6
"""Result; context and arguments; a register that calls leave alone."""

_FORMAT = Struct("=BBhi")
_LOAD_WORD = 0x61
_MOVE, _MOVE_REGISTER, _AND = 0xB7, 0xBF, 0x57
_JUMP_EQUAL, _JUMP_DIFFERENT = 0x15, 0x55
_CALL, _EXIT = 0x85, 0x95


def load_word(target: int, source: int, offset: int) -> bytes:
    """Return `target = *(u32 *)(source + offset)`."""
    return _pack(_LOAD_WORD, target, source, offset, 0)


def move(target: int, value: int) -> bytes:
    return _pack(_MOVE, target, 0, 0, value)


def move_register(target: int, source: int) -> bytes:
    return _pack(_MOVE_REGISTER, target, source, 0, 0)


def bitwise_and(target: int, mask: int) -> bytes:
    return _pack(_AND, target, 0, 0, mask)


def skip_if_equal(register: int, value: int, skipped: int) -> bytes:
    """Leave out the next `skipped` instructions if the register has this value."""
    return _pack(_JUMP_EQUAL, register, 0, skipped, value)


def skip_if_different(register: int, value: int, skipped: int) -> bytes:
    """Leave out the next `skipped` instructions unless the register has this value."""
    return _pack(_JUMP_DIFFERENT, register, 0, skipped, value)


def call(helper: int) -> bytes:
    """Call a helper of the kernel (`enum bpf_func_id`); its result is in R0."""
    return _pack(_CALL, 0, 0, 0, helper)


def leave() -> bytes:
    return _pack(_EXIT, 0, 0, 0, 0)


def _pack(code: int, target: int, source: int, offset: int, value: int) -> bytes:
    return _FORMAT.pack(code, source << 4 | target, offset, value)
