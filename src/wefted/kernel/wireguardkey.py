"""Files with WireGuard's private keys: made once, readable for root alone, and never overwritten."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wefted.errors import KernelError, UsageError
from wefted.model.x25519 import LENGTH, clamped, decoded, encoded, public_key

from .netlink import Refused

MODE = 0o600


def public_key_of(own: Path, file: str = "") -> str:
    """Return the public key of the private one in a file, or in the host's own for ""; made where there is none.

    Raises `UsageError` for a file that has no key, `KernelError` for one that cannot be read or made.
    """
    path = Path(file) if file else own
    try:
        private = read(path) or _made(path)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise KernelError(f"the WireGuard key {path}: {reason}", errno=error.errno or errno.EIO) from None
    return encoded(public_key(private))


def read(path: Path) -> bytes:
    """Return a private key; empty where there is no file. Raises `OSError`, `UsageError`."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return b""
    except UnicodeDecodeError:
        text = ""
    key = decoded(text)
    if key is None:
        raise UsageError(f"{path} has no WireGuard key", f"put it back; or, for a new one: rm {path}")
    return key


def private_key(own: Path, file: str) -> bytes:
    """Return the private key for a device. Raises `Refused`."""
    try:
        found = read(Path(file) if file else own)
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"the WireGuard key {file or own} cannot be read") from None
    except UsageError as error:
        raise Refused(errno.EINVAL, error.message) from None
    if not found:
        raise Refused(errno.ENOENT, f"the WireGuard key {file or own} is gone")
    return found


def of_text(text: str) -> bytes:
    """Return a key that is written as `wg` does it. Raises `Refused`."""
    key = decoded(text)
    if key is None:
        raise Refused(errno.EINVAL, "that is no WireGuard key")
    return key


def _made(path: Path) -> bytes:
    """Write a new key in one step; where somebody else was faster, it is theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        os.write(descriptor, encoded(clamped(os.urandom(LENGTH))).encode())
        os.fsync(descriptor)
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        fresh.unlink()
    return read(path)
