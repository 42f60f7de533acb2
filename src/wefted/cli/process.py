"""The agent as a process: started in the background or as a systemd unit, and stopped."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wefted.errors import Unreachable, WeftedError

from .call import agent_pid, ask_agent

if TYPE_CHECKING:
    from wefted.config import Config

UNIT = "wefted.service"
UNIT_DIRS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
# -P: the directory where it runs must not shadow modules
PROGRAM = (sys.executable, "-P", "-m", "wefted.cli.main")
POLL = 0.005
"""Seconds between two looks at an agent that starts."""
TAIL = 15
"""Lines of its log that are shown when it dies."""


def start(config: Config, settings: Mapping[str, str], timeout: float) -> Any:
    """Start the agent and return its status when it answers. Raises the child's own exit code with the end of its log."""
    deadline = time.monotonic() + timeout
    if _has_unit(config):
        if settings:
            from wefted.wiring import keep_settings

            keep_settings(replace(config, **dict[str, Any](settings)))
        _systemctl("start")
        return _wait_answer(config, None, deadline)
    log = Path(config.state_dir, "agent.log")
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    offset = log.stat().st_size if log.exists() else 0
    child = _spawn(config, settings, log)
    try:
        status = _wait_answer(config, child, deadline)
    except BaseException:
        if child.poll() is None:
            child.terminate()
        raise
    if status is None:
        raise _death(child, log, offset)
    # it outlives this process; without a code, the destructor would warn of a child that still runs
    child.returncode = 0
    return status


def stop(pid: int, timeout: float) -> None:
    """End the agent and return when it is gone. Raises `WeftedError` if that takes longer than `timeout` seconds."""
    if _booted_with_systemd() and _systemctl("is-active", "--quiet", check=False) == 0:
        _systemctl("stop")
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        waiter = select.poll()
        waiter.register(process, select.POLLIN)
        if not waiter.poll(timeout * 1000):
            raise WeftedError(f"the agent (process {pid}) does not end within {timeout:g} s", f"end it by force: kill -9 {pid}")
    except ProcessLookupError:
        return
    finally:
        os.close(process)


def _has_unit(config: Config) -> bool:
    standard = (config.state_dir, config.runtime_dir) == ("/var/lib/wefted", "/run/wefted")
    return standard and _booted_with_systemd() and any(os.path.exists(f"{d}/{UNIT}") for d in UNIT_DIRS)


def _booted_with_systemd() -> bool:
    """See sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def _systemctl(*words: str, check: bool = True) -> int:
    done = subprocess.run(["systemctl", *words, UNIT], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise WeftedError(f"systemctl {words[0]} {UNIT}: {done.stderr.strip()}", f"see its log: journalctl -u {UNIT}")
    return done.returncode


def _spawn(config: Config, settings: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    places = ["--state-dir", config.state_dir, "--runtime-dir", config.runtime_dir]
    # Everybody can read the words of a command, and a URL may hold a password.
    told = {f"WEFTED_{key.upper()}": value for key, value in settings.items()}
    with log.open("ab") as output:
        return subprocess.Popen(
            [*PROGRAM, *places, "up", "--foreground"],
            env=os.environ | told,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )


def _wait_answer(config: Config, child: subprocess.Popen[bytes] | None, deadline: float) -> Any:
    """Return the agent's status as soon as it answers, or None when the child is dead."""
    while (left := deadline - time.monotonic()) > 0:
        if agent_pid(config) is not None:
            try:
                return ask_agent(config, "status", timeout=left)
            except Unreachable:
                pass
        if child is not None and child.poll() is not None:
            return None
        time.sleep(POLL)
    raise Unreachable("the agent started but did not answer in time", f"see its log: {config.state_dir}/agent.log")


def _death(child: subprocess.Popen[bytes], log: Path, offset: int) -> WeftedError:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()[-TAIL:]
    error = WeftedError("the agent ended while it started:\n" + "\n".join(f"  {line}" for line in lines), f"all of it: {log}")
    error.exit_code = child.returncode if child.returncode > 0 else 1
    return error
