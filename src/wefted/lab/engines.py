"""Container engines of a lab's hosts: each host's own daemon, with its own state, and an image to make containers from.

The daemons run without flags: what they need (a /run, disks, control groups, firewall) is the host's own, so that `dockerd`
typed in a host starts the same daemon again. Nobody supervises them. podman has no daemon; its service may be started by hand.
LXC and systemd-nspawn have neither daemon nor images, but a root directory to copy: `/var/lib/lxc/skel/rootfs` and
`/var/lib/machines/skel`.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wefted.errors import Unreachable, Unsupported, WeftedError

from .host import Host
from .image import require_busybox, write_archive
from .topology import Machine, Topology

PATIENCE = 30.0
"""Seconds that a containerd has to start before the dockerd that uses it."""
PROBE = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
PODMAN_SETTINGS: Mapping[str, str] = {
    "policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}\n',
    "registries.conf": "unqualified-search-registries = []\n",
    "containers.conf": """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
""",
    "storage.conf": """\
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
""",
}
"""Files of /etc/containers: there is no systemd in a host for its control groups and its journal, and no registry is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container engine: the programs it needs, the Debian packages they are in, its daemon (where it has one)."""

    name: str
    programs: tuple[str, ...]
    packages: str
    load: tuple[str, ...]
    """The command that takes an image archive from its standard input."""
    socket: str = ""

    @property
    def log(self) -> str:
        return f"/var/log/{self.programs[0]}.log"


def _unpack(directory: str) -> tuple[str, ...]:
    """Return what takes an image archive and leaves its one layer as a directory."""
    return ("sh", "-ec", 'mkdir -p "$0"; tar -xOf - layer.tar | tar -xf - -C "$0"', directory)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            name="containerd",
            programs=("containerd", "ctr", "runc"),
            packages="containerd runc",
            load=("ctr", "images", "import", "-"),
            socket="/run/containerd/containerd.sock",
        ),
        Engine(
            name="docker",
            programs=("dockerd", "docker", "containerd", "runc", "iptables"),
            packages="docker.io iptables",
            load=("docker", "load", "--quiet"),
            socket="/run/docker.sock",
        ),
        Engine(
            name="podman",
            programs=("podman", "conmon", "crun"),
            packages="podman crun netavark aardvark-dns iptables",
            load=("podman", "load", "--quiet"),
        ),
        Engine(name="lxc", programs=("lxc-start",), packages="lxc", load=_unpack("/var/lib/lxc/skel/rootfs")),
        Engine(
            name="nspawn", programs=("systemd-nspawn",), packages="systemd-container", load=_unpack("/var/lib/machines/skel")
        ),
    )
}
"""By the names in `topology.ENGINES`."""


def require(topology: Topology) -> None:
    """Raise `Unsupported` when an engine that a host shall have is not on this machine, with the packages it is in."""
    for name in {name: None for machine in topology.hosts for name in machine.engines}:
        engine = ENGINES[name]
        missing = [program for program in engine.programs if shutil.which(program) is None]
        if missing:
            hint = f"apt-get install --no-install-recommends {engine.packages} busybox-static"
            raise Unsupported(f"{name} is not installed here: there is no {', no '.join(missing)}", hint)
        require_busybox()


def group_of(lab: str, machine: Machine) -> str:
    """Return the control group of a host with engines; empty for all others, which need none."""
    return f"{_groups_of(lab)}/{machine.name}" if machine.engines else ""


def remove_groups(lab: str, machine: str = "") -> None:
    """Remove the control groups of a machine that is off, or of all machines of a lab."""
    root = Path("/sys/fs/cgroup")
    for group in (*root.glob(_groups_of(lab)), *root.glob(f"*/{_groups_of(lab)}")):
        doomed = group / machine if machine else group
        for directory in [*sorted((p for p in doomed.rglob("*") if p.is_dir()), reverse=True), doomed]:
            _remove_group(directory)


def start(host: Host, engines: Iterable[str]) -> None:
    """Start the daemons of a host. They go on after us."""
    for name in engines:
        if name == "podman":
            _write_settings(host)
        else:
            _start_daemon(host, ENGINES[name])
        if name == "containerd":  # a dockerd that does not find its socket starts a containerd of its own
            wait(host, [name], time.monotonic() + PATIENCE)


def wait(host: Host, engines: Iterable[str], deadline: float) -> None:
    """Wait until the daemons of a host answer. Raises `Unreachable` at the `deadline` (of the monotonic clock)."""
    for engine in (ENGINES[name] for name in engines):
        while engine.socket and not _answers(host, engine):
            if time.monotonic() > deadline:
                raise Unreachable(f"{host.name}: {engine.name} does not answer", f"its log: {_tail(host, engine)}")
            time.sleep(0.01)


def load(hosts: Sequence[tuple[Host, Sequence[str]]], image: Path, deadline: float) -> None:
    """Give each engine of each host the image `skel`, all at once. Raises `WeftedError` with what an engine said."""
    engines = [(host, ENGINES[name]) for host, names in hosts for name in names]
    if not engines:
        return
    write_archive(image)
    loading = [(host, engine, _load(host, engine, image)) for host, engine in engines]
    for host, engine, child in loading:
        said = _output(child, deadline)
        if child.returncode:
            raise WeftedError(f"{host.name}: {engine.name} does not take an image: {said[-2000:]}")


def _load(host: Host, engine: Engine, image: Path) -> subprocess.Popen[str]:
    with image.open("rb") as archive:
        return host.popen(engine.load, stdin=archive, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", text=True)


def _output(child: subprocess.Popen[str], deadline: float) -> str:
    try:
        return child.communicate(timeout=max(0.0, deadline - time.monotonic()))[0].strip()
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0].strip()


def _start_daemon(host: Host, engine: Engine) -> None:
    """Start a daemon as a child of the host's init, which will reap it: hence the shell, which ends at once."""
    shell = ["/bin/sh", "-c", f'"$@" </dev/null >>{engine.log} 2>&1 &', "sh", engine.programs[0]]
    host.run(shell, cwd="/")


def _write_settings(host: Host) -> None:
    """Write podman's settings on a new disk; what a user has changed stays."""
    for name, text in PODMAN_SETTINGS.items():
        path = host.root / "etc/containers" / name
        if not path.exists():
            path.write_text(text)


def _answers(host: Host, engine: Engine) -> bool:
    """Whether a daemon listens; Docker's listens before it can do anything, and is asked."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(host.root / engine.socket.lstrip("/")))
            if engine.name != "docker":
                return True
            connection.sendall(PROBE)
            return b" 200 OK" in connection.recv(4096).partition(b"\r\n")[0]
        except OSError:
            return False


def _tail(host: Host, engine: Engine) -> str:
    try:
        return (host.root / engine.log.lstrip("/")).read_text(errors="replace")[-1000:].strip() or "(empty)"
    except OSError:
        return "(not there)"


def _groups_of(lab: str) -> str:
    return f"wefted-lab.{lab}"


def _remove_group(directory: Path) -> None:
    """Remove a group unless a process is in it, which only somebody else can have put there."""
    with contextlib.suppress(OSError):
        directory.rmdir()
