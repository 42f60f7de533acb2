"""The part of a benchmark that runs inside a virtual host. Started as a program: a JSON request a line, a JSON answer a line.

{"do": "attach", "contender": "cni", "names": ["s0", "s1"], "first": 0}    ->  {"answer": [41.2, 40.7]}
whatever fails                                                                 ->  {"error": "...", "hint": "..."}
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from wefted.errors import WeftedError

from . import sandboxes
from .classics import OvsDocker, Pipework, PipeworkScript
from .contender import Contender
from .flannel_host import FlannelHost
from .launch import run
from .nameservers import NameServers, opened
from .ours import Agent, Command, Plugin, command
from .peers import CniAdd, CniChain, IpBatch, IpCalls

MAKERS: Mapping[str, Callable[[], Contender]] = {
    "agent": Agent,
    "agent-many": lambda: Agent("many", "10.95.0.0/16"),
    "cli-agent": lambda: Command("command", "10.91.0.0/16", "wefted network connect, through the agent"),
    "cli-alone": lambda: Command("alone", "10.96.0.0/16", "wefted network connect, no agent"),
    "cni": lambda: CniAdd("cni0", "10.92.0.0/16", masquerade=False),
    "cni-ours": lambda: Plugin("cni-ours", "10.111.0.0/16", publish=False),
    "cni-ours-port": lambda: Plugin("cni-ours-port", "10.112.0.0/16", publish=True),
    "cni-portmap": lambda: CniChain("cni2", "10.113.0.0/16"),
    "cni-masquerade": lambda: CniAdd("cni1", "10.97.0.0/16", masquerade=True),
    "ip-batch": IpBatch,
    "ip-calls": IpCalls,
    "pipework": Pipework,
    "pipework-script": lambda: PipeworkScript("script0", "10.99.0.0/16", arping=False),
    "pipework-arping": lambda: PipeworkScript("arping0", "10.100.0.0/16", arping=True),
    "ovs-docker": OvsDocker,
}


class Inside:
    """Does what is asked, one request after the other."""

    def __init__(self) -> None:
        self._contenders: dict[str, Contender] = {}
        self._names: NameServers | None = None
        self._flannel: FlannelHost | None = None

    def answer(self, request: Mapping[str, Any]) -> Any:
        """Return the answer to a request. Raises `WeftedError`."""
        parameters = {key: value for key, value in request.items() if key != "do"}
        return getattr(self, f"do_{request['do']}")(**parameters)

    def do_open(self, contender: str) -> dict[str, str]:
        """Prepare a contender; tell what it is, or why it is missing."""
        made = MAKERS[contender]()
        reason = made.missing()
        if not reason:
            made.prepare()
            self._contenders[contender] = made
        return {"what": made.what, "missing": reason}

    def do_make(self, names: list[str]) -> None:
        sandboxes.make(names)

    def do_attach(self, contender: str, names: list[str], first: int) -> list[float]:
        """Attach namespaces one after the other; return the milliseconds of each."""
        made = self._contenders[contender]
        numbered = list(enumerate(names, first))
        for number, name in numbered:
            made.arrange(name, number)
        gc.collect()
        return [made.attach(name, number) for number, name in numbered]

    def do_detach(self, contender: str, names: list[str]) -> float:
        made = self._contenders[contender]
        assert isinstance(made, Agent)
        return made.detach(names)

    def do_ready(self, contender: str, names: list[str]) -> list[str]:
        return sandboxes.ready(names, self._contenders[contender].prefix)

    def do_empty(self, names: list[str]) -> list[str]:
        return sandboxes.empty(names)

    def do_answered(self, names: list[str]) -> list[str]:
        return sandboxes.answered(names)

    def do_command(self, words: list[str]) -> list[str]:
        """Return one of our commands as it is started."""
        return [*command(), *words]

    def do_program(self, words: list[str]) -> list[str]:
        """Return another command with its whole path, or nothing where it is not installed."""
        path = shutil.which(words[0])
        return [path, *words[1:]] if path else []

    def do_start(self, argv: list[str]) -> tuple[float, float]:
        """Run a command; return its wall and CPU milliseconds."""
        done = run(argv)
        return done.wall, done.cpu

    def do_flannel_open(self, store: str, program: list[str]) -> None:
        """Be ready for what `do_flannel` does."""
        self._flannel = FlannelHost(store, program)

    def do_flannel(self, what: str, **parameters: Any) -> Any:
        """Do one thing of `FlannelHost`."""
        assert self._flannel is not None
        return getattr(self._flannel, what)(**parameters)

    def do_names_open(self, count: int) -> dict[str, Any]:
        """Attach containers and start the other name server."""
        self._names, told = opened(count)
        return told

    def do_names_round(self, server: str, count: int) -> tuple[float, int]:
        assert self._names is not None
        return self._names.round(server, count)

    def do_names_distinct(self) -> int:
        """Tell how many different questions there are."""
        assert self._names is not None
        return self._names.distinct

    def do_names_new(self) -> tuple[float, int]:
        assert self._names is not None
        return self._names.new()

    def do_names_close(self) -> None:
        if self._names is not None:
            self._names.close()


def main() -> None:
    """Answer until the end of input."""
    inside = Inside()
    for line in sys.stdin:
        try:
            value = {"answer": inside.answer(json.loads(line))}
        except WeftedError as error:
            value = {"error": error.message, "hint": error.hint}
        print(json.dumps(value), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever asked has been told to end
        main()
