"""The two programs of an access port (IEEE 802.1Q) on a bridge that does not know VLANs.

What its container sends gets the tag before the bridge sees it; of what the bridge sends to it, only frames with the tag go on,
without it. The tag travels beside the frame, as network cards hand it over, so no byte is moved; a card that cannot insert tags
has the kernel do it. Field offsets are those of `struct __sk_buff` (linux/bpf.h).
"""

from __future__ import annotations

import socket

from .instruction import (
    R0,
    R1,
    R2,
    R3,
    R6,
    bitwise_and,
    call,
    leave,
    load_word,
    move,
    move_register,
    skip_if_different,
    skip_if_equal,
)

_PRESENT, _TAG, _PROTOCOL = 20, 24, 28
_PUSH, _POP = 18, 19
_GO_ON, _DROP = -1, 2
"""TC_ACT_UNSPEC, so that other filters see the frame as well, and TC_ACT_SHOT."""
_8021Q = socket.htons(0x8100)
_ID = 0xFFF


def entering(tag: int) -> bytes:
    """Return the program for frames from the container: tagged ones are dropped, the others get `tag`."""
    return b"".join((
        load_word(R2, R1, _PRESENT),
        skip_if_different(R2, 0, 6),
        move(R2, _8021Q),
        move(R3, tag),
        call(_PUSH),
        skip_if_different(R0, 0, 2),
        move(R0, _GO_ON),
        leave(),
        move(R0, _DROP),
        leave(),
    ))  # fmt: skip


def leaving(tag: int) -> bytes:
    """Return the program for frames to the container: those with `tag` go on without it, the others are dropped."""
    return b"".join((
        move_register(R6, R1),
        load_word(R2, R1, _PRESENT),
        skip_if_equal(R2, 0, 10),
        load_word(R2, R1, _PROTOCOL),
        skip_if_different(R2, _8021Q, 8),
        load_word(R2, R1, _TAG),
        bitwise_and(R2, _ID),
        skip_if_different(R2, tag, 5),
        move_register(R1, R6),
        call(_POP),
        skip_if_different(R0, 0, 2),
        move(R0, _GO_ON),
        leave(),
        move(R0, _DROP),
        leave(),
    ))  # fmt: skip
