"""Docker's daemon itself: which version it is, how it was started, what its configuration says, and starting it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wefted.errors import Unreachable, WeftedError
from wefted.model.flannel_docker import version_of

from .docker import SOCKET
from .engineapi import EngineApi

CONFIGURATION = Path("/etc/docker/daemon.json")
PID = Path("/run/docker.pid")
LOG = Path("/var/log/dockerd.log")
"""Where a daemon writes that no systemd runs."""
SYSTEMD = Path("/run/systemd/system")
"""There where systemd is process 1 (sd_booted(3))."""
PATIENCE = 60.0
"""Seconds for a daemon to end its containers, and again to start."""
STEP = 0.05


def configuration() -> str:
    """Return the text of daemon.json, or "" where there is none."""
    try:
        return CONFIGURATION.read_text()
    except FileNotFoundError:
        return ""


def configure(text: str) -> None:
    """Replace daemon.json in one step; its mode stays."""
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    mode = CONFIGURATION.stat().st_mode & 0o777 if CONFIGURATION.exists() else 0o644
    fresh = CONFIGURATION.with_name(f".{CONFIGURATION.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(CONFIGURATION)


def pid() -> int:
    """Return the process of the daemon, 0 where none runs."""
    try:
        found = int(PID.read_text())
        return found if Path(f"/proc/{found}/comm").read_text().strip() == "dockerd" else 0
    except (OSError, ValueError):
        return 0


def command_line() -> tuple[str, ...]:
    """Return how the daemon was started; empty where none runs."""
    try:
        return tuple(word.decode() for word in Path(f"/proc/{pid()}/cmdline").read_bytes().split(b"\0")[:-1])
    except OSError:
        return ()


def version() -> tuple[int, ...]:
    """Return major and minor version of the daemon that answers, or of the program; empty where there is neither."""
    try:
        told = asyncio.run(EngineApi("docker", SOCKET).get("/version"))
        return version_of(str(told.get("Version", "")))
    except WeftedError:
        return _installed()


def stop() -> None:
    """End the daemon, and wait until it has ended. Raises `WeftedError`, `Unreachable`."""
    running = pid()
    if SYSTEMD.is_dir():
        _systemctl("stop", "docker.socket", "docker.service")
    elif running:
        os.kill(running, signal.SIGTERM)
        _until(lambda: not _lives(running), "dockerd does not end", "its containers may not: docker ps")


def start(argv: Sequence[str]) -> None:
    """Start the daemon and wait until it answers: its unit, or without systemd the command line that it had."""
    if SYSTEMD.is_dir():
        _systemctl("start", "docker.service")
    else:
        with LOG.open("ab") as log:
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    _until(answers, "dockerd does not answer after its restart", f"see its log: {LOG}, or journalctl -u docker")


def answers() -> bool:
    """Tell whether a daemon takes requests."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(1)
        try:
            connection.connect(SOCKET)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def _installed() -> tuple[int, ...]:
    program = shutil.which("dockerd")
    if program is None:
        return ()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return version_of(said.removeprefix("Docker version ").partition(",")[0])


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise WeftedError(f"systemctl {' '.join(words)}: {done.stderr.strip()}", "see its log: journalctl -u docker")


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(condition: Callable[[], bool], failed: str, hint: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Unreachable(failed, hint)
        time.sleep(STEP)
