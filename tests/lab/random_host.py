"""A host for random sequences: a real kernel, a real store and a real engine in this process, and quick to make and to check.

The host is a network namespace without a name; so are the containers, which stand as links in a directory, where the runtime
of named namespaces looks for them. Nothing is mounted, and everything is gone with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from wefted import wiring
from wefted.config import Config
from wefted.engine.engine import LocalEngine
from wefted.kernel.linux import LinuxKernel
from wefted.kernel.netns import setns, unshare
from wefted.model.firewall import NftElement
from wefted.model.objects import HOST, Change, Netns, Outcome
from wefted.model.route import Address, Route
from wefted.runtime.netns import NetnsRuntime

T = TypeVar("T")

UPLINK, OUTSIDE = "192.0.2.1", "192.0.2.2"
PARENT = "lan0"
_NUMBERS = itertools.count(max(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
_SETTINGS = ("net/ipv4/conf/eth0/forwarding", "net/ipv6/conf/all/forwarding")


class Crash(BaseException):
    """The end of a process, in the middle of what it did."""


class RandomHost:
    """One host for many sequences; each one begins with an empty store and an untouched kernel."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wefted-random-", dir="/dev/shm"))
        self._names = self._directory / "netns"
        self._names.mkdir()
        self._held: dict[str, int] = {}
        self._spare: list[int] = []
        self._fd = _namespace()
        self._loop = asyncio.new_event_loop()
        self.config = Config(runtime_dir=str(self._directory / "run"), state_dir=str(self._directory / "state"))
        self.engine: LocalEngine
        self.failed = False
        """Whether a sequence has begun and not come to its end."""
        self.ip("link set lo up", "link add eth0 type veth peer name out0", "link add lan0 type veth peer name lan1")
        self.ip("link set out0 up", "link set lan1 up", "link set lan0 up", "link set eth0 up")
        self.ip(f"address add {UPLINK}/24 dev eth0", "address add 2001:db8:ff::1/64 dev eth0 nodad")
        self.ip(f"route add default via {OUTSIDE}", "-6 route add default via 2001:db8:ff::2")
        self.base_links = self.links()
        self._untouched = self._snapshot()

    # -- the process -----------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def call(self, operation: str, **parameters: Any) -> Any:
        return self.run(self.engine.call(operation, parameters))

    def open(self, live: bool) -> None:
        """Start the engine: as an agent has it where it is `live`, else as a single command has it."""
        kernel, runtimes = wiring.LinuxKernel, wiring.runtimes
        wiring.LinuxKernel = lambda **settings: LinuxKernel(**settings, home=Netns(f"/proc/{os.getpid()}/fd/{self._fd}"))
        wiring.runtimes = lambda: {"netns": NetnsRuntime(str(self._names))}
        os.makedirs(self.config.state_dir, exist_ok=True)
        self.failed = True
        try:
            self.engine = self.run(wiring.open_engine(self.config, live=live))
        finally:
            wiring.LinuxKernel, wiring.runtimes = kernel, runtimes
        if live:
            self.look()

    def close(self) -> None:
        self.run(self.engine.close())

    def look(self) -> int:
        """Do what the agent's clock does; return the number of changes."""

        async def pass_over() -> int:
            host = self.engine.host
            async with host.lock:
                await self.engine.endpoints.following.drop_orphans()
                await self.engine.endpoints.following.find_all()
                report = await host.converge()
            assert not report.failures, [f"{o.change}: {o.error}" for o in report.failures]
            return len(report.changes)

        return self.run(pass_over())

    def drift(self) -> list[str]:
        """Return what a pass over everything would change now."""
        host = self.engine.host
        return [str(change) for change in self.run(host.worker(host.reconciler.drift, host.desired()))]

    def crash(self, after: int, live: bool, operation: str, **parameters: Any) -> None:
        """Let the process die in an operation, after so many kernel changes; nothing of it runs on. Then start anew."""
        host = self.engine.host
        apply, left = host.kernel.apply, [after]

        def dying(changes: Sequence[Change]) -> Sequence[Outcome]:
            now, left[0] = changes[: left[0]], left[0] - len(changes)
            outcomes = apply(now) if now else []
            if left[0] < 0:
                host.local.write = host.cluster.write = _dead  # type: ignore[method-assign]
                raise Crash
            return outcomes

        host.kernel.apply = dying  # type: ignore[method-assign]
        try:
            with contextlib.suppress(Crash):
                self.call(operation, **parameters)
        finally:
            self.close()
            self.open(live)
            self.look()

    # -- the kernel ------------------------------------------------------------------------------------------------

    def ip(self, *lines: str, container: str = "") -> None:
        """Change something by a foreign hand, in the host or in a container."""
        fd = self._held[container] if container else self._fd
        for line in lines:
            words = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "ip", *line.split()]
            done = subprocess.run(words, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stderr}"

    def nft(self, command: str) -> None:
        words = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._fd}", "nft", command]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self, name: str) -> None:
        """Start a container, in a namespace that was never used before it."""
        self._held[name] = self._spare.pop() if self._spare else _namespace()
        (self._names / name).symlink_to(f"/proc/{os.getpid()}/fd/{self._held[name]}")

    def stop(self, name: str) -> None:
        """Let a container and its namespace die, and everything in it."""
        (self._names / name).unlink()
        os.close(self._held.pop(name))

    def inside(self, name: str) -> tuple[set[tuple[str, str]], set[tuple[int, str]]]:
        """Return the interfaces with addresses of a container, and the default routes: IP version and interface."""
        state = self.run(self.engine.host.worker(self.engine.host.kernel.read, Netns(str(self._names / name))))
        addresses = {(o.link, str(o.address)) for o in state.objects.values() if isinstance(o, Address)}
        routes = [o for o in state.objects.values() if isinstance(o, Route) and o.destination.prefixlen == 0]
        return addresses, {(route.destination.version, route.link) for route in routes}

    def published(self) -> set[tuple[str, ...]]:
        """Return the published ports: IP version, address or "", protocol, port, and where it leads to."""
        state = self.run(self.engine.host.worker(self.engine.host.kernel.read, HOST))
        maps = [o for o in state.objects.values() if isinstance(o, NftElement) and o.container.startswith("published_")]
        return {(m.container[-1], *(("",) if len(m.match) == 2 else ()), *m.match, *m.value) for m in maps}

    def links(self, name: str = "") -> set[str]:
        """Return the names of all links, whosoever's."""
        return self.within(name, lambda: {link for _, link in socket.if_nameindex()})

    def within(self, name: str, work: Callable[[], T]) -> T:
        return _inside(self._held[name] if name else self._fd, work)

    def talk(self, sender: str, receiver: str, address: str) -> bool:
        """Tell whether a datagram from one container reaches another one at its address, and the answer comes back."""
        family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
        there = self.within(receiver, lambda: socket.socket(family, socket.SOCK_DGRAM))
        here = self.within(sender, lambda: socket.socket(family, socket.SOCK_DGRAM))
        with there, here:
            there.settimeout(2)
            here.settimeout(2)
            try:
                there.bind((address, 7777))
                here.sendto(b"?", (address, 7777))
                there.sendto(b"!", there.recvfrom(9)[1])
                return here.recv(9) == b"!"
            except OSError:
                return False

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, names: Iterable[str]) -> None:
        """Check that a sequence whose networks are all removed has left nothing, and make ready for the next one."""
        assert not self.drift()
        left = [key for key in self.run(self.engine.host.local.read("")).items if not _stays(key)]
        assert left == []
        self.close()
        assert self._snapshot() == self._untouched
        for name in names:
            assert self.links(name) == {"lo"}
            (self._names / name).unlink()
            self._spare.append(self._held.pop(name))
        shutil.rmtree(self.config.state_dir)
        self.failed = False

    def abandon(self) -> None:
        """Give up the host: everything dies with its namespaces."""
        if self.failed:
            self.close()
        for fd in (self._fd, *self._held.values(), *self._spare):
            os.close(fd)
        self._loop.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _snapshot(self) -> dict[str, Any]:
        """Return everything of the host's kernel that could be touched."""
        kernel = LinuxKernel(runtime_dir=self.config.runtime_dir, home=Netns(f"/proc/{os.getpid()}/fd/{self._fd}"))
        try:
            ours = sorted(map(str, kernel.read(HOST).objects.values()))
        finally:
            kernel.close()
        ours = [text for text in ours if not text.startswith("set ")]
        return {
            "ours": ours,
            "links": self.links(),
            "addresses": self.within("", _addresses),
            "routes": self.within("", _routes),
            "settings": self.within("", lambda: [Path("/proc/sys", name).read_text() for name in _SETTINGS]),
        }


def _stays(key: str) -> bool:
    """Tell whether a record outlives all networks: who this host is, and the last number that a network got."""
    return key in ("node", "cluster/number", "revision") or key.startswith("cluster/nodes/")


async def _dead(*_: Any) -> Any:
    raise Crash


def _namespace() -> int:
    """Return a descriptor of a new namespace, with a number that no other descriptor gets later."""
    held: list[int] = []

    def make() -> None:
        unshare()
        held.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    _in_thread(make)
    fd = fcntl.fcntl(held[0], fcntl.F_DUPFD_CLOEXEC, next(_NUMBERS))
    os.close(held[0])
    return fd


def _inside(fd: int, work: Callable[[], T]) -> T:
    def enter() -> T:
        setns(fd)
        return work()

    return _in_thread(enter)


def _in_thread(work: Callable[[], T]) -> T:
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def _table(name: str) -> list[list[str]]:
    return [line.split() for line in Path("/proc/thread-self/net", name).read_text().splitlines()]


def _addresses() -> set[tuple[str, str]]:
    """Return the addresses of the calling thread's namespace: interface and address, without link-local ones."""
    done = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in done.splitlines()]
    return {(row[1], row[3]) for row in rows if not row[3].startswith(("127.", "::1/", "fe80:"))}


def _routes() -> set[tuple[str, ...]]:
    four = {(row[0], row[1], row[2], row[7]) for row in _table("route")[1:]}
    six = {(row[9], row[0], row[1], row[4]) for row in _table("ipv6_route") if not row[0].startswith(("fe80", "ff0"))}
    return four | six
