"""X25519 (RFC 7748): the public key that belongs to a private one of WireGuard's.

Used once for each key, on the host that has it: how long it takes depends on the key, as it may not where somebody else could
measure that. The Diffie-Hellman exchanges themselves are WireGuard's own.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error

LENGTH = 32
_P = 2**255 - 19
_A24 = 121665
_BASE = 9


def public_key(private: bytes) -> bytes:
    """Return the public key of a private one, both of 32 bytes."""
    return multiply(private, _BASE.to_bytes(LENGTH, "little"))


def multiply(scalar: bytes, point: bytes) -> bytes:
    """Return the u-coordinate of a multiple of a point (RFC 7748, section 5: the Montgomery ladder)."""
    k, x1 = _scalar(scalar), int.from_bytes(point, "little") % 2**255 % _P
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _P, b * b % _P, d * a % _P, c * b % _P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _P, x1 * (da - cb) ** 2 % _P
        x2, z2 = aa * bb % _P, e * (aa + _A24 * e) % _P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(LENGTH, "little")


def clamped(private: bytes) -> bytes:
    """Return a private key as it is used: WireGuard keeps it like this."""
    return _scalar(private).to_bytes(LENGTH, "little")


def encoded(key: bytes) -> str:
    """Return a key as `wg` prints it: 44 characters of base64."""
    return b64encode(key).decode()


def decoded(text: str) -> bytes | None:
    """Return a key that is written as `wg` does it, or None for what is none."""
    try:
        key = b64decode(text.encode(), validate=True)
    except (Error, ValueError):
        return None
    return key if len(key) == LENGTH and encoded(key) == text else None


def _scalar(text: bytes) -> int:
    number = int.from_bytes(text, "little")
    return number & ~7 & ~(1 << 255) | 1 << 254
