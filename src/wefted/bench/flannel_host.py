"""The part of `wefted bench flannel` that runs in the virtual host: our agent, an etcd and many records of others."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wefted.client import RemoteEngine, complete
from wefted.errors import Unreachable, WeftedError

from . import leases

NETWORK = "10.32.0.0/11"
SOCKET = "/run/wefted/wefted.sock"
MANY = "/bench/many"
LINK_GROUP = "2003134068"
"""Of every link of ours, see docs/adr."""


class FlannelHost:
    """A host with an agent that uses the etcd at `store`."""

    def __init__(self, store: str, program: list[str]) -> None:
        self._program = program
        self._etcd = leases.Etcd(store)
        self._engine = RemoteEngine(SOCKET)
        self._joined = 0
        self._more = 0

    def fresh(self) -> float:
        """Join a network where this host has never been; return the milliseconds until `subnet.env`, and leave again."""
        self._joined += 1
        name, prefix = f"n{self._joined}", f"/bench/{self._joined}"
        self._configure(prefix, self._joined)
        file = f"/run/flannel/{name}.env"
        taken = leases.file_appears(file, lambda: self._call("flannel.join", name=name, prefix=prefix, subnet_file=file))
        text = Path(file).read_text()
        if "FLANNEL_SUBNET=10." not in text or "FLANNEL_MTU=1450\n" not in text:
            raise WeftedError(f"{file} is not what flannel writes: {text!r}")
        self._call("flannel.leave", name=name)
        return taken

    def daemon(self) -> float:
        """Start flanneld as a whole process beside the agent; return the milliseconds until `subnet.env`."""
        self._joined += 1
        prefix, file = f"/bench/{self._joined}", f"/run/flannel/d{self._joined}.env"
        self._configure(prefix, self._joined)
        words = [*self._program, "compat", "flanneld", f"-etcd-prefix={prefix}", f"-subnet-file={file}"]
        started: list[subprocess.Popen[bytes]] = []
        try:
            taken = leases.file_appears(file, lambda: started.append(_spawn(words)))
        finally:
            for child in started:
                child.send_signal(signal.SIGTERM)
                child.wait()
        self._call("flannel.leave", name="flannel")
        return taken

    def crowd(self, count: int) -> None:
        """Write the records of `count` other hosts."""
        self._configure(MANY, 9000)
        self._peers = leases.peers(NETWORK, count)
        self._etcd.write(leases.record(MANY, peer, 9000) for peer in self._peers)

    def join_crowd(self) -> tuple[float, int]:
        """Join them; return the milliseconds until the last route is there, and how many hosts are wholly known then."""
        join = {"name": "many", "prefix": MANY, "subnet_file": "/run/flannel/many.env"}
        taken = leases.kernel_follows(self._has_all(), lambda: self._call("flannel.join", **join), "all routes")
        return taken, leases.complete(self._peers)

    def start_with_crowd(self) -> tuple[float, int]:
        """Stop the agent, take its links away, start it: milliseconds until the last route is there, and how many are known."""
        self._run("down")
        subprocess.run(["ip", "link", "del", "group", LINK_GROUP], check=True, capture_output=True)
        if leases.complete(self._peers):
            raise WeftedError("something is left of what was to be built anew")
        taken = leases.kernel_follows(self._has_all(), lambda: self._run("up", "--foreground", wait=False), "all routes")
        self._await_agent()
        return taken, leases.complete(self._peers)

    def one_more(self) -> float:
        """Write the record of one more host; return the milliseconds until it is wholly known."""
        (peer,) = self._next()
        where = leases.destination(peer[0])
        put = [leases.record(MANY, peer, 9000)]
        taken = leases.kernel_follows(lambda found: where in found, lambda: self._etcd.write(put), f"the route to {peer[0]}")
        if leases.complete([peer]) != 1:
            raise WeftedError(f"{peer[0]} has a route, but not all that it needs")
        return taken

    def one_less(self) -> float:
        """Delete the record of that host; return the milliseconds until its route has gone."""
        (peer,) = leases.peers(NETWORK, 1, len(self._peers) + self._more - 1)
        where, gone = leases.destination(peer[0]), leases.key(MANY, peer[0])
        delete = lambda: self._etcd.write((), [gone])  # noqa: E731
        taken = leases.kernel_follows(lambda found: where not in found, delete, f"no route to {peer[0]}")
        leases.until(lambda: leases.complete([peer]) == 0 and peer[2] not in _forwarding(), f"nothing left of {peer[0]}")
        return taken

    def memory(self) -> float:
        """Return what the agent has in memory, in MB (VmRSS of proc(5), 10^6 bytes)."""
        status = Path(f"/proc/{self._call('status')['agent']['pid']}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def _has_all(self) -> Callable[[set[str]], bool]:
        wanted = {leases.destination(subnet) for subnet, _, _ in self._peers}
        return lambda found: wanted <= found

    def _next(self) -> list[leases.Peer]:
        found = leases.peers(NETWORK, 1, len(self._peers) + self._more)
        self._more += 1
        return found

    def _configure(self, prefix: str, vni: int) -> None:
        config = {"Network": NETWORK, "SubnetLen": 24, "Backend": {"Type": "vxlan", "VNI": vni}}
        self._etcd.write([(f"{prefix}/config", json.dumps(config))])

    def _call(self, operation: str, **parameters: Any) -> Any:
        return complete(self._engine.call(operation, parameters))

    def _run(self, *words: str, wait: bool = True) -> None:
        child = _spawn([*self._program, *words])
        if wait and child.wait():
            raise WeftedError(f"`wefted {' '.join(words)}` failed with exit code {child.returncode}")

    def _await_agent(self) -> None:
        self._engine = RemoteEngine(SOCKET)
        leases.until(self._answers, "the agent answers")

    def _answers(self) -> bool:
        try:
            return bool(self._call("status"))
        except Unreachable:  # no socket yet, or one that is bound and not yet listened on
            return False


def _spawn(words: Sequence[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet)


def _forwarding() -> str:
    program = shutil.which("bridge") or "bridge"
    return subprocess.run([program, "fdb", "show"], capture_output=True, text=True, check=True).stdout
