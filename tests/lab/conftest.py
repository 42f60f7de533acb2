"""`host`: a fresh network namespace that plays the host, with a kernel room of its own; nothing has to be cleaned up after it.

Namespaces have no names: they are held by descriptors of this process, and their paths are `/proc/<pid>/fd/<number>`.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wefted.kernel.linux import LinuxKernel
from wefted.kernel.netns import unshare
from wefted.kernel.wireguardprocess import WireguardProcesses
from wefted.model.objects import HOST, Netns
from wefted.testing.kernel_samples import FOREIGN, WIREGUARD_KEY

from .agent_logs import pytest_runtest_makereport as pytest_runtest_makereport

DEADLINE = 10.0

_NUMBERS = itertools.count(max(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when the condition holds; fail at the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE} s for: {what}"
        time.sleep(0.005)


class LabHost:
    """A namespace as host, and sandboxes. Implements `World` of the kernel's contract."""

    def __init__(self, runtime_dir: Path) -> None:
        self.runtime_dir = runtime_dir
        self._held: dict[Netns, int] = {}
        self._kernels: list[LinuxKernel] = []
        self._macs = itertools.count(1)
        self.netns = self._namespace()
        self._wireguard_key = runtime_dir.with_name("wireguard.key")
        self._wireguard_key.write_text(WIREGUARD_KEY)
        self.kernel = self.new_kernel()
        self.add_link(HOST, FOREIGN)

    def new_kernel(self) -> LinuxKernel:
        """Return another kernel room of this host, as after a restart."""
        self._kernels.append(LinuxKernel(runtime_dir=self.runtime_dir, home=self.netns, wireguard_key=self._wireguard_key))
        return self._kernels[-1]

    def sandbox(self) -> Netns:
        return self._namespace()

    def remove_sandbox(self, ns: Netns) -> None:
        """Let a namespace die, and wait until the kernel has removed its veths from the host."""
        veths = [link for link in self.links(ns) if link.get("linkinfo", {}).get("info_kind") == "veth"]
        indexes = {link["link_index"] for link in veths if "link_netnsid" in link}
        os.close(self._held.pop(ns))
        wait_until(lambda: not indexes & {link["ifindex"] for link in self.links(HOST)}, "the namespace's links to go")

    def add_link(self, ns: Netns, name: str) -> None:
        """Make a link that is up: one end of a veth whose other end is up too."""
        mac = f"06:00:00:00:00:{next(self._macs):02x}"
        self.run("ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", f"{name}-far", ns=ns)
        for end in (f"{name}-far", name):
            self.run("ip", "link", "set", end, "up", ns=ns)

    def remove_link(self, ns: Netns, name: str) -> None:
        self.run("ip", "link", "del", name, ns=ns)

    def take_down(self, ns: Netns, name: str) -> None:
        self.run("ip", "link", "set", name, "down", ns=ns)

    def strand(self, ns: Netns, name: str) -> None:
        """Do to a virtual link what the kernel does to a hardware link when its namespace dies."""
        home = f"/proc/{os.getpid()}/fd/{self._held[self.netns]}"
        self.run("ip", "link", "set", name, "netns", home, ns=ns)

    def run(self, *words: str, ns: Netns = HOST) -> str:
        """Run a command in a namespace of this host, by default its own; return what it printed."""
        done = subprocess.run(["nsenter", f"--net={ns or self.netns}", *words], capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def links(self, ns: Netns = HOST) -> list[dict[str, Any]]:
        """Return what `ip -d link` says."""
        found: list[dict[str, Any]] = json.loads(self.run("ip", "-d", "-j", "link", ns=ns))
        return found

    def close(self) -> None:
        processes = WireguardProcesses(self.runtime_dir / "wireguard", self.netns)
        for link in processes.links():
            processes.stop(link)
        for kernel in self._kernels:
            kernel.close()
        for fd in self._held.values():
            os.close(fd)

    def _namespace(self) -> Netns:
        """Make a namespace in a thread that ends at once; the descriptor keeps it alive."""
        held: list[int] = []

        def make() -> None:
            unshare()
            held.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        # A number that no other descriptor gets later, so that the path of a dead namespace leads nowhere.
        fd = fcntl.fcntl(held[0], fcntl.F_DUPFD_CLOEXEC, next(_NUMBERS))
        os.close(held[0])
        ns = Netns(f"/proc/{os.getpid()}/fd/{fd}")
        self._held[ns] = fd
        return ns


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LabHost]:
    lab = LabHost(tmp_path / "run")
    yield lab
    lab.close()
