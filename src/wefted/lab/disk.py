"""A virtual machine's disk: its own /etc, /var/lib and /var/log, as a directory on the real machine.

What the real machine has in /etc and /var/lib is there too: files as copies, directories as links into the real root, which
init.py mounts at /run/machine. So a virtual machine writes its own hosts file and databases and uses the installed programs'
files, and no directory has to be made on the real machine for mounting upon. No overlayfs: it cannot be stacked in containers.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from .init import MACHINE

OWN = (
    "etc/wefted", "etc/docker", "etc/containerd", "etc/cni", "etc/containers", "etc/openvswitch", "etc/wireguard",
    "var/lib/wefted", "var/lib/docker", "var/lib/containerd", "var/lib/cni", "var/lib/containers", "var/lib/openvswitch",
    "var/lib/etcd", "var/lib/lxc", "var/lib/machines", "var/log",
)  # fmt: skip
"""Directories that every virtual machine has empty and for itself."""
HIDDEN = ("wefted-lab",)
"""What no virtual machine sees of the real one: the disks of its labs, so that a lab can be made inside a lab."""


def make(root: Path, hostname: str, hosts: Iterable[tuple[str, str]]) -> None:
    """Make a new disk at `root`; `hosts` are pairs of address and name for its hosts file."""
    for directory in OWN:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("etc", "var/lib"):
        _mirror(Path("/", directory), root / directory)
    _write(root / "etc/hostname", f"{hostname}\n")
    _write(root / "etc/machine-id", f"{uuid.uuid4().hex}\n")
    lines = ("127.0.0.1 localhost", "::1 localhost ip6-localhost", *(f"{address} {name}" for address, name in hosts))
    _write(root / "etc/hosts", "\n".join(lines) + "\n")


def _mirror(source: Path, target: Path) -> None:
    own = {*os.listdir(target), *HIDDEN}
    for entry in os.scandir(source):
        if entry.name not in own:
            _mirror_entry(entry, target / entry.name)


def _mirror_entry(entry: os.DirEntry[str], place: Path) -> None:
    """Links into /run are followed: their targets are hidden by the virtual machine's own /run."""
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith("/run/"):
        place.symlink_to(os.readlink(entry.path))
    elif entry.is_dir():
        place.symlink_to(MACHINE + os.path.realpath(entry.path))
    elif entry.is_file():
        shutil.copy2(entry.path, place)
        info = entry.stat()
        os.chown(place, info.st_uid, info.st_gid)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
