"""What is done in the hosts once they are up, with the installed command: agents, networks, containers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from wefted.errors import Unreachable, WeftedError

from .host import Host
from .topology import ContainerOrder, NetworkOrder

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")
SOCKET = "run/wefted/wefted.sock"
LOG = "/run/wefted-up.log"


def start(hosts: Sequence[Host], store: str, deadline: float) -> None:
    """Start an agent on each host, all at once, and wait until each answers. Raises `WeftedError` with what one said."""
    children = [(host, _up(host, store)) for host in hosts]
    failed = [host for host, child in children if _ended(child, deadline)]
    for host in failed:
        said = (host.root / LOG.lstrip("/")).read_text(errors="replace").strip()
        raise WeftedError(f"{host.name}: the agent does not start: {said[-2000:]}")
    for host in hosts:
        _wait(host, deadline)


def make_containers(host: Host, orders: Iterable[ContainerOrder]) -> None:
    """Make the bare namespaces that this host shall have and has not."""
    for order in orders:
        if order.host == host.name and not (host.root / "run/netns" / order.name).exists():
            host.run(["ip", "netns", "add", order.name])


def make_networks(host: Host, orders: Iterable[NetworkOrder]) -> None:
    """Make the networks, from one host, in their order."""
    for order in orders:
        host.run([*WEFTED, "network", "create", order.name, *order.options])


def connect(hosts: Iterable[Host], orders: Iterable[ContainerOrder]) -> None:
    """Attach the containers to their networks."""
    by_name = {host.name: host for host in hosts}
    for order in orders:
        for attachment in order.attachments:
            container = f"netns:{order.name}"
            by_name[order.host].run([*WEFTED, "network", "connect", attachment.network, container, *attachment.options])


def _up(host: Host, store: str) -> subprocess.Popen[bytes]:
    """Start `wefted up`. Its output goes to a file: the agent may inherit it, and the end of a pipe would never come."""
    flags = ["--store", store, "--advertise", str(host.address)]
    with (host.root / LOG.lstrip("/")).open("wb") as log:
        return host.popen([*WEFTED, "up", *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")


def _ended(child: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for its end; whether it failed."""
    try:
        return child.wait(max(0.0, deadline - time.monotonic())) != 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return True


def _wait(host: Host, deadline: float) -> None:
    while not answers(host):
        if time.monotonic() > deadline:
            raise Unreachable(f"{host.name}: the agent does not answer on /{SOCKET}")
        time.sleep(0.005)


def answers(host: Host) -> bool:
    """Whether somebody listens on the agent's socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.connect(str(host.root / SOCKET))
        except OSError:
            return False
    return True
