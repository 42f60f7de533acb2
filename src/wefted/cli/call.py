"""Where an operation is done: by the agent if one listens on its socket, else here, by an engine for this one operation."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wefted.errors import UsageError

if TYPE_CHECKING:
    from wefted.config import Config


def perform(config: Config, operation: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Do one operation of `wefted.engine.operations` and return its JSON value. Raises `WeftedError`."""
    if agent_pid(config) is not None:
        return ask_agent(config, operation, parameters)
    return perform_here(config, operation, parameters)


def ask_agent(config: Config, operation: str, parameters: Mapping[str, Any] | None = None, timeout: float = 120.0) -> Any:
    """Let the agent do it. Raises `Unreachable` if it gives no answer for `timeout` seconds."""
    from wefted.client import RemoteEngine, complete

    engine = RemoteEngine(os.fspath(config.socket), timeout)
    try:
        return complete(engine.call(operation, parameters or {}))
    finally:
        complete(engine.close())


def perform_here(config: Config, operation: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Do it in this process, whether an agent runs or not."""
    from wefted.wiring import run_once

    return run_once(config, operation, parameters or {})


def agent_pid(config: Config) -> int | None:
    """Return the process that listens on the agent's socket, or None; a socket that was left behind counts as none.

    The kernel knows who listens (SO_PEERCRED, unix(7)), so an agent that no longer answers is found too.
    """
    path = os.fspath(config.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect(path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        except PermissionError:
            raise UsageError(f"this needs root: {path} is not yours to open", "type sudo in front of it") from None
        except OSError as error:
            raise UsageError(f"cannot use the socket {path}: {error}", "choose another --runtime-dir") from None
        pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid
