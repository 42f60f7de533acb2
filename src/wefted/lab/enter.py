"""Running things inside a virtual machine: one system call on a thread that is thrown away, so nothing has to switch back.

setns(2) and unshare(2) concern the calling thread alone. The thread takes a file system view of its own (CLONE_FS), joins all
the machine's namespaces by pidfd, does its work and ends. A program started there is born in the machine's pid namespace and
is a direct child of this process: no wrapper stands between, and signals, exit codes and descriptors need no passing on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wefted.errors import KernelError, WeftedError

from .init import CLONE_NEWCGROUP, CLONE_NEWNET, NAMESPACES, check, libc
from .process import Process

T = TypeVar("T")

_CLONE_FS = 0x200
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def inside(process: Process, work: Callable[[], T], namespaces: int = NAMESPACES | CLONE_NEWCGROUP) -> T:
    """Return what `work` returns when it is called in the namespaces of `process`; what it raises is raised here.

    Raises `WeftedError` when the process has ended and `KernelError` when the kernel refuses.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _join(process, namespaces)
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="inside")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def popen(process: Process, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program in the machine of `process`; `options` are those of `Popen`, and `env` is added to `environment()`.

    Without `cwd` it starts in the caller's directory where the machine has it, else in the root directory.
    """
    env = environment(options.pop("env", None) or {})
    move = _mover(options.pop("cwd", None))
    return inside(process, lambda: (move(), subprocess.Popen(list(argv), env=env, **options))[1])


def in_network(process: Process, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program of the real machine in the network namespace of `process` only."""
    return inside(process, lambda: subprocess.Popen(list(argv), **options), CLONE_NEWNET)


def spawn(process: Process, argv: Sequence[str]) -> int:
    """Start a program in the machine, with our standard streams and no signal blocked; return its number. Raises `OSError`."""
    env = environment({})
    move = _mover(None)
    return inside(process, lambda: (move(), os.posix_spawn(_program(argv[0], env), list(argv), env, setsigmask=()))[1])


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of programs in the machine: ours without what configures wefted here, our command in the PATH."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEFTED_") and k != "NOTIFY_SOCKET"}
    path = [str(Path(sys.executable).parent), *env.get("PATH", "").split(":"), *_PATH.split(":")]
    env["PATH"] = ":".join(dict.fromkeys(p for p in path if p))
    return {**env, **extra}


def _join(process: Process, namespaces: int) -> None:
    try:
        pidfd = process.open()
    except ProcessLookupError:
        raise WeftedError("this virtual machine has just ended") from None
    try:
        check(libc.unshare(_CLONE_FS), "unshare")
        check(libc.setns(pidfd, namespaces), "setns")
    except OSError as error:
        raise KernelError(f"cannot enter a virtual machine: {error.strerror}", errno=error.errno or 0) from None
    finally:
        os.close(pidfd)


def _mover(wanted: str | os.PathLike[str] | None) -> Callable[[], None]:
    """Return what changes to the directory `wanted`, or to the one that we are in now if the machine has it too."""
    if wanted is not None:
        return lambda: os.chdir(wanted)
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = "/"

    def move() -> None:
        with contextlib.suppress(OSError):
            os.chdir(here)

    return move


def _program(name: str, env: Mapping[str, str]) -> str:
    """Return the path of a program. posix_spawnp(3) would look in the PATH of this process, not in that of `env`."""
    if "/" in name:
        return name
    paths = (f"{directory}/{name}" for directory in env["PATH"].split(":"))
    found = next((p for p in paths if os.path.isfile(p) and os.access(p, os.X_OK)), None)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "command not found", name)
    return found
