"""The image `skel` that every engine of a lab has: a skeleton of directories and a busybox, made here and not fetched.

Run it with `-v /usr:/usr:ro -v /etc/alternatives:/etc/alternatives:ro`, and every program of this machine is in the container.
It ends at once when it is stopped: its signal is SIGKILL, for a process 1 without a handler ignores all others.

The archive is one of `docker save` (Docker Image Specification v1.2), which Docker, podman and containerd read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from pathlib import Path

from wefted.errors import Unsupported

NAME = "docker.io/library/skel:latest"
"""`skel` for docker; the other engines want to know where an image would come from."""
BUSYBOX = "/bin/busybox"
DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
FILES = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/nsswitch.conf": "hosts: files dns\n"}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def require_busybox() -> None:
    """Raise `Unsupported` when there is no busybox that runs without libraries."""
    if not os.path.exists(BUSYBOX):
        raise Unsupported(f"the image for the lab's containers needs {BUSYBOX}", "apt-get install busybox-static")


def write_archive(path: Path) -> None:
    """Write the archive to a file."""
    layer = _layer()
    config = _config(hashlib.sha256(layer).hexdigest())
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer)
        _add(archive, name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _config(layer: str) -> bytes:
    machine = platform.machine()
    config = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sleep", "infinity"],
            "StopSignal": "SIGKILL",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    return json.dumps(config).encode()


def _layer() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in DIRECTORIES:
            _add_entry(tar, directory, tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755)
        for name, target in {**LINKS, **{f"usr/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}}.items():
            _add_entry(tar, name, tarfile.SYMTYPE, 0o777, target)
        for name, text in FILES.items():
            _add(tar, name, text.encode())
        _add(tar, "usr/bin/busybox", Path(BUSYBOX).read_bytes(), 0o755)
    return buffer.getvalue()


def _add_entry(tar: tarfile.TarFile, name: str, kind: bytes, mode: int, target: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    tar.addfile(entry)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
