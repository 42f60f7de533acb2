"""The first process of a virtual machine. Run as a script, with `python -I -S`; imports nothing that is slow.

    init.py STATE_DIR NAME ROLE DISK

It makes the namespaces, mounts what the machine sees, writes "pid N" and "ready" (or "error ...") to its output, and waits
for "go" on its input: by then it is on record. At the end of input instead, it ends, so that whoever dies while starting a
machine leaves nothing. Afterwards it reaps. When it is killed the kernel ends every process in it, and every namespace.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 2, 4, 8, 0x1000, 0x2000, 0x4000, 0x80000

MACHINE = "/run/machine"
"""Where the real machine's root is seen: the links on a virtual machine's disk lead there."""
RUN_DIRECTORIES = ("netns", "lock", "cgroup", "machine")
SETTINGS = {
    "wire": {
        "net/bridge/bridge-nf-call-iptables": "0",
        "net/bridge/bridge-nf-call-ip6tables": "0",
        "net/bridge/bridge-nf-call-arptables": "0",
        "net/ipv6/conf/default/disable_ipv6": "1",
    },
    "router": {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"},
}
"""Sysctls of each role: a switch must not show the frames to the firewall nor speak itself; a router forwards."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    check(result, f"mount {kind or source} on {target}")


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def mount_run() -> None:
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for directory in RUN_DIRECTORIES:
        os.mkdir(f"/run/{directory}")


def mount_disk(disk: str) -> None:
    """Put the disk's directories over the machine's, whose own stay visible below MACHINE."""
    mount("/", MACHINE, flags=MS_BIND)
    for directory in ("/etc", "/var", "/var/lib"):
        if os.path.ismount(directory):
            mount(directory, MACHINE + directory, flags=MS_BIND)
    for directory in ("/etc", "/var/log", "/var/lib"):
        mount(disk + directory, directory, flags=MS_BIND)


def mount_kernel() -> None:
    """Mount /proc and /sys anew for our namespaces, and keep the machine's control groups, which a container engine needs."""
    groups = os.path.ismount("/sys/fs/cgroup")
    if groups:
        mount("/sys/fs/cgroup", "/run/cgroup", flags=MS_BIND | MS_REC)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if groups:
        mount("/run/cgroup", "/sys/fs/cgroup", flags=MS_MOVE)
    os.rmdir("/run/cgroup")


def mark_boot() -> None:
    """Give this machine a boot identity of its own: it differs after every boot, as a real one does."""
    with open("/proc/sys/kernel/random/uuid", "rb") as source, open("/run/boot_id", "wb") as target:
        target.write(source.read())
    mount("/run/boot_id", "/proc/sys/kernel/random/boot_id", flags=MS_BIND)


def write_settings(role: str) -> None:
    for name, value in SETTINGS.get(role, {}).items():
        path = f"/proc/sys/{name}"
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)


def build(name: str, role: str, disk: str) -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    check(libc.sethostname(name.encode(), len(name)), "sethostname")
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    mount_run()
    if disk:
        mount_disk(disk)
    mount_kernel()
    mark_boot()
    write_settings(role)


def reap() -> None:
    """Collect the dead for ever. SIGCHLD is blocked before the first look, so that none is missed in between."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


def become_init(name: str, role: str, disk: str) -> None:
    try:
        build(name, role, disk)
    except OSError as error:
        say(f"error {error.strerror or error}")
        os._exit(1)
    say("ready")
    if os.read(0, 3) != b"go\n":
        os._exit(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    reap()


def main() -> None:
    name, role, disk = sys.argv[2:5]
    try:
        check(libc.unshare(NAMESPACES), "unshare")
    except OSError as error:
        say(f"error {error.strerror}")
        os._exit(1)
    child = os.fork()
    if child == 0:
        become_init(name, role, disk)
    say(f"pid {child}")
    os._exit(0)


if __name__ == "__main__":
    main()
