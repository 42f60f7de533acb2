"""Our own ways to attach: through the agent by its API, by the command that asks the agent, by the command alone."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wefted.client import RemoteEngine, complete
from wefted.config import Config
from wefted.errors import Unsupported
from wefted.plugins.native import program

from .launch import run
from .peers import FILES, cni_environment, port_mapping

COMMAND = str(Path(sys.executable).with_name("wefted"))


def command() -> list[str]:
    """Return what is typed as `wefted`: the installed script, or the module where only that is there."""
    return [COMMAND] if os.access(COMMAND, os.X_OK) else [sys.executable, "-P", "-m", "wefted.cli.main"]


class Agent:
    """`network.connect` over a connection that is kept open, as a container engine's plugin does it."""

    what = "agent, API call"

    def __init__(self, network: str = "agent", prefix: str = "10.90.0.0/16") -> None:
        self.prefix = prefix
        self._name = network
        self._engine = RemoteEngine(os.fspath(Config().socket))

    def missing(self) -> str:
        return ""

    def prepare(self) -> None:
        self.call("network.create", name=self._name, subnets=[self.prefix])

    def arrange(self, sandbox: str, number: int) -> None:
        """Nothing is read."""

    def attach(self, sandbox: str, number: int) -> float:
        start = time.perf_counter()
        self.call("network.connect", network=self._name, containers=[f"netns:{sandbox}"])
        return 1000 * (time.perf_counter() - start)

    def detach(self, sandboxes: Sequence[str]) -> float:
        """Detach all of them by one call; return the milliseconds."""
        start = time.perf_counter()
        self.call("network.disconnect", network=self._name, containers=[f"netns:{name}" for name in sandboxes])
        return 1000 * (time.perf_counter() - start)

    def call(self, operation: str, **parameters: Any) -> Any:
        return complete(self._engine.call(operation, parameters))


class Plugin:
    """Our CNI plugin as an engine starts it, with a published port or without; it asks the agent."""

    def __init__(self, network: str, prefix: str, *, publish: bool) -> None:
        self.prefix = prefix
        self.what = f"our CNI plugin, ADD{' with a published port' if publish else ''}"
        self._name = network
        self._publish = publish

    def missing(self) -> str:
        try:
            self._program = str(program())
        except Unsupported as error:
            return error.message
        return ""

    def prepare(self) -> None:
        FILES.mkdir(exist_ok=True)

    def arrange(self, sandbox: str, number: int) -> None:
        config = {"cniVersion": "1.0.0", "name": self._name, "type": "wefted", "ipam": {"subnet": self.prefix}}
        self._file(sandbox).write_text(json.dumps(config | (port_mapping(number) if self._publish else {})))

    def attach(self, sandbox: str, number: int) -> float:
        return run([self._program], stdin=self._file(sandbox), environment=cni_environment(sandbox)).wall

    def _file(self, sandbox: str) -> Path:
        return FILES / f"{sandbox}.json"


class Command:
    """`wefted network connect` as a whole process. It asks the agent where one runs, and else does the work itself."""

    def __init__(self, network: str, prefix: str, what: str) -> None:
        self.prefix = prefix
        self.what = what
        self._name = network

    def missing(self) -> str:
        return ""

    def prepare(self) -> None:
        run([*command(), "network", "create", self._name, "--subnet", self.prefix])

    def arrange(self, sandbox: str, number: int) -> None:
        """Nothing is read."""

    def attach(self, sandbox: str, number: int) -> float:
        return run([*command(), "network", "connect", self._name, f"netns:{sandbox}"]).wall
