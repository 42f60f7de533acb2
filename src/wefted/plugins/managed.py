"""Our relay as a managed plugin of Docker: the directory that `docker plugin create` takes (docs/extend/config.md).

Docker starts such a plugin before it restores its networks, so its start never waits for one. The directory holds two small
files and empty places; Python and its libraries are the host's own, mounted read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wefted.errors import UsageError

from . import relay

SOCKET = "wefted.sock"
PROGRAM = "/wefted/relay.py"
PLACES = ("usr", "etc/alternatives", "run/docker/plugins", "host", "proc", "sys", "dev", "tmp", "wefted")
LINKS: Mapping[str, str] = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def write(directory: Path, upstream: Path) -> None:
    """Write a new directory; `upstream` is the agent's socket, below /run. Raises `UsageError`."""
    if not upstream.is_relative_to("/run"):
        raise UsageError(f"the agent's socket must be below /run, not {upstream}", "use the standard --runtime-dir")
    root = directory / "rootfs"
    try:
        root.mkdir(parents=True)
        for place in PLACES:
            (root / place).mkdir(parents=True, exist_ok=True)
        for name, target in LINKS.items():
            (root / name).symlink_to(target)
        shutil.copyfile(relay.__file__, root / PROGRAM.lstrip("/"))
        (directory / "config.json").write_text(json.dumps(config(upstream), indent=1) + "\n")
    except FileExistsError:
        raise UsageError(f"{root} exists already", "choose a new directory") from None
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror}") from None


def config(upstream: Path) -> dict[str, Any]:
    """Return the plugin's configuration. All of /run is mounted: the agent's part of it comes and goes with the agent."""
    below = upstream.relative_to("/run")
    return {
        "description": "wefted: addresses and names for containers on every host",
        "documentation": "https://docs.docker.com/engine/extend/",
        "entrypoint": [python(), "-I", "-S", PROGRAM, f"/run/docker/plugins/{SOCKET}", f"/host/{below}"],
        "interface": {"types": ["docker.networkdriver/1.0", "docker.ipamdriver/1.0"], "socket": SOCKET},
        "network": {"type": "none"},
        "linux": {"capabilities": ["CAP_DAC_OVERRIDE"], "allowAllDevices": False, "devices": None},
        "mounts": [_mount("usr", "/usr", "/usr"), _mount("alternatives", "/etc/alternatives", "/etc/alternatives"),
                   _mount("run", "/run", "/host")],
        "propagatedMount": "",
        "env": [],
        "args": {"Name": "", "Description": "", "Settable": None, "Value": None},
    }  # fmt: skip


def python() -> str:
    """Return a Python that the plugin finds below /usr. Raises `UsageError`."""
    for found in (os.path.realpath(sys.executable), shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if found is not None and found.startswith("/usr/"):
            return found
    raise UsageError("the plugin runs with a Python below /usr, and this host has none", "apt-get install python3-minimal")


def _mount(name: str, source: str, destination: str) -> dict[str, Any]:
    return {"name": name, "source": source, "destination": destination, "type": "bind", "options": ["rbind", "ro"]}
