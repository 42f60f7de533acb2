"""Names and MACs that are the same after every restart, on every host, from nothing but the words that they stand for."""

from __future__ import annotations

from hashlib import blake2s

from .objects import IPAddress


def digest(*words: str) -> str:
    """Return 12 hex digits for these words; ("ab", "c") and ("a", "bc") differ."""
    return blake2s("\0".join(words).encode(), digest_size=6).hexdigest()


def link_name(prefix: str, *words: str) -> str:
    """Return an interface name of 15 characters, the kernel's limit: a two-letter kind, a dash, the digest."""
    if len(prefix) != 2:
        raise ValueError(f"a link prefix has two letters, not {prefix!r}")
    return f"{prefix}-{digest(*words)}"


def mac_of_address(address: IPAddress) -> str:
    """Return a locally administered MAC that follows from the address, so that ARP caches of peers stay right."""
    packed = address.packed if address.version == 4 else blake2s(address.packed, digest_size=4).digest()
    return _mac(b"\x02\x77" + packed)


def mac_of(*words: str) -> str:
    """Return a locally administered MAC that follows from these words."""
    return _mac(b"\x02" + blake2s("\0".join(words).encode(), digest_size=5).digest())


def _mac(octets: bytes) -> str:
    return ":".join(f"{octet:02x}" for octet in octets)
