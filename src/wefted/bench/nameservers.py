"""The name servers that are compared: our agent's, which knows its containers' names, and dnsmasq with the same in a file."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wefted.errors import WeftedError

from . import sandboxes
from .ours import Agent
from .queries import SOCKETS, Question, ask, mixed, one

DOMAIN = "weft.internal"
NETWORK = "names"
SPARE = "spare"
OURS, THEIRS = "127.0.0.77", "127.0.0.78"
DEADLINE = 10.0

_HOSTS = Path("/run/wefted-bench-hosts")


class NameServers:
    """Both of them on the loopback of one virtual host."""

    def __init__(self, count: int) -> None:
        """Attach containers through the agent, and start dnsmasq where it is installed."""
        self._agent = Agent(NETWORK, "10.98.0.0/16")
        self._agent.call("network.create", name=NETWORK, subnets=["10.98.0.0/16", "fd98::/64"])
        names = [f"n{number}" for number in range(count)]
        sandboxes.make([*names, SPARE])
        rows = self._agent.call("network.connect", network=NETWORK, containers=[f"netns:{name}" for name in names])
        self._names = [f"{name}.{NETWORK}.{DOMAIN}" for name in names]
        self._addresses = [[address.partition("/")[0] for address in row["addresses"]] for row in rows]
        self._questions = mixed(self._names, self._addresses, DOMAIN)
        self._dnsmasq = self._start()
        self._wait(OURS)

    @property
    def missing(self) -> str:
        """Return why there is nothing to compare with, or nothing."""
        return "" if self._dnsmasq is not None else "dnsmasq is not installed: apt install dnsmasq-base"

    def round(self, server: str, count: int) -> tuple[float, int]:
        """Ask one of them; return milliseconds for each question, and how many were lost."""
        seconds, lost = ask(server, self._questions, count)
        return 1000 * seconds / count, lost

    @property
    def distinct(self) -> int:
        """Return how many different questions there are."""
        return len(self._questions)

    def new(self) -> tuple[float, int]:
        """Let a container come and go, so that our server must work out every answer anew; then ask each question once."""
        self._agent.call("network.connect", network=NETWORK, containers=[f"netns:{SPARE}"])
        self._wait_name(f"{SPARE}.{NETWORK}.{DOMAIN}", True)
        self._agent.detach([SPARE])
        self._wait_name(f"{SPARE}.{NETWORK}.{DOMAIN}", False)
        return self.round(OURS, self.distinct)

    def _wait_name(self, name: str, known: bool) -> None:
        """Return when our server knows a name, or knows it no longer. Raises `WeftedError` at the deadline."""
        self._wait(OURS, [one(name, known)])

    def close(self) -> None:
        """End dnsmasq."""
        if self._dnsmasq is not None:
            self._dnsmasq.terminate()
            self._dnsmasq.wait()

    def _start(self) -> subprocess.Popen[bytes] | None:
        program = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            return None
        pairs = zip(self._names, self._addresses, strict=True)
        _HOSTS.write_text("".join(f"{address} {name}\n" for name, own in pairs for address in own))
        child = subprocess.Popen([program, *_settings()], stdin=subprocess.DEVNULL)
        self._wait(THEIRS)
        return child

    def _wait(self, server: str, questions: Sequence[Question] = ()) -> None:
        """Return when a server answers every question. Raises `WeftedError` at the deadline."""
        end = time.monotonic() + DEADLINE
        while not _answers(server, questions or self._questions):
            if time.monotonic() > end:
                raise WeftedError(f"{server} does not know the names within {DEADLINE:g} s")


def _settings() -> Sequence[str]:
    """Return what makes dnsmasq do the same and no more: names from one file, nobody to ask, no log."""
    return (
        "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv", "--no-hosts",
        f"--addn-hosts={_HOSTS}", f"--local=/{DOMAIN}/", f"--listen-address={THEIRS}", "--bind-interfaces", "--local-ttl=1",
    )  # fmt: skip


def _answers(server: str, questions: Sequence[Question]) -> bool:
    try:
        _, lost = ask(server, questions, max(len(questions), SOCKETS))
    except (OSError, WeftedError):
        time.sleep(0.05)
        return False
    return lost == 0


def opened(count: int) -> tuple[NameServers, dict[str, Any]]:
    """Return both servers, and whether there is a second one."""
    servers = NameServers(count)
    return servers, {"missing": servers.missing, "servers": {"wefted": OURS, "dnsmasq": THEIRS}}
