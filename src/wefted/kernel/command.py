"""Commands of the user's, run on the host: what was run is a file of the runtime directory, written when it has ended well.

So after a crash a command may be run once more, and is never left out; what belongs to a host that has been booted is run anew.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wefted.errors import WeftedError
from wefted.model import codec
from wefted.model.command import Command
from wefted.model.naming import digest
from wefted.model.objects import HOST, KernelObject

from .fault import Fault
from .memory import write_whole
from .netlink import Refused
from .netns import Namespaces
from .transaction import Transaction

PATIENCE = 30.0
"""Seconds until a command that does not end is killed: nothing else can be done meanwhile."""


class CommandHandler:
    """Runs commands, remembers them, and takes them back."""

    def __init__(self, runtime_dir: Path, spaces: Namespaces, fault: Fault) -> None:
        self._directory = runtime_dir / "commands"
        self._spaces = spaces
        self._fault = fault

    def create(self, wanted: Command, tx: Transaction) -> None:
        """Run it once all links are as planned. Raises `Refused` with what it said."""
        if wanted.ns != HOST:
            raise Refused(errno.EOPNOTSUPP, "commands are run in the host's namespace only")
        tx.flush(HOST)
        output = self._run(wanted, wanted.run)
        self._remember(replace(wanted, output=output))
        self._fault.changed()

    def update(self, old: KernelObject, new: Command, tx: Transaction) -> None:
        """Take back what was run before, then run the new one."""
        if isinstance(old, Command):
            self.delete(old, tx)
        self.create(new, tx)

    def delete(self, old: Command, tx: Transaction) -> None:
        """Run what takes it back; then it is forgotten. Raises `Refused`."""
        memory = self._memory(old)
        if not memory.exists():
            return
        if old.undo:
            self._run(old, old.undo)
        memory.unlink(missing_ok=True)
        self._fault.changed()

    def read(self) -> Iterator[Command]:
        """Yield what has been run; a file that nobody can read is forgotten."""
        try:
            memories = sorted(path for path in self._directory.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return
        for memory in memories:
            try:
                yield codec.loads(Command, memory.read_bytes())
            except (OSError, WeftedError, ValueError, KeyError, TypeError):
                memory.unlink(missing_ok=True)

    def _run(self, command: Command, line: str) -> str:
        try:
            with self._spaces.inside(self._spaces.home_fd):
                done = subprocess.run(
                    ["/bin/sh", "-c", line], input=f"{command.stdin}\n", env=os.environ | dict(command.environment),
                    capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False,
                )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refused(errno.ETIMEDOUT, f"the command for {command.subject} did not end within {PATIENCE:.0f} s") from None
        except OSError as error:
            raise Refused(error.errno or errno.EIO, f"the command for {command.subject} cannot be run") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-300:]
            raise Refused(errno.EIO, f"the command for {command.subject} ended with {done.returncode}: {said}")
        return done.stdout

    def _memory(self, command: Command) -> Path:
        return self._directory / digest(command.network, command.subject)

    def _remember(self, command: Command) -> None:
        memory = self._memory(command)
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(memory, codec.dumps(command))
