"""The first process of a virtual machine. Run as a script, with `python -I -S`; imports nothing that is slow.

    init.py STATE_DIR NAME ROLE DISK

What the real machine has in /etc and /var/lib is there too: files as copies, directories as links into the real root, which is
mounted at /run/machine. They lie on a tmpfs, because making 150 files on a disk for each host takes longer than all the rest;
what shall outlast a boot lies on the disk. No overlayfs: it cannot be stacked where the real machine is a container.

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
SEEN = ("/", "/run", "/run/machine", "/etc", "/var", "/var/lib")
"""What is seen there; those that are no mounts of their own are in the one above them."""
MIRRORED = ("/etc", "/var/lib")
KEPT = {
    "host": ("/etc/wefted", "/var/lib/wefted", "/var/lib/docker", "/var/lib/containerd", "/var/log"),
    "store": ("/var/lib/etcd", "/var/log"),
    "router": ("/var/log",),
}
"""Directories of each role that lie on its disk."""
HIDDEN = frozenset(
    (
        "wefted",
        "wefted-lab",
        "docker",
        "containerd",
        "cni",
        "containers",
        "openvswitch",
        "wireguard",
        "etcd",
        "lxc",
        "machines",
        "netns",
    )
)
"""What no virtual machine sees of the real one: the settings and containers of engines, and the disks of its labs."""
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
    """Mount our own /run, and below it the machine's directories as they were before."""
    old = {directory: os.open(directory, os.O_PATH) for directory in SEEN if os.path.ismount(directory)}
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for directory in RUN_DIRECTORIES:
        os.mkdir(f"/run/{directory}")
    for directory, descriptor in old.items():
        mount(f"/proc/self/fd/{descriptor}", MACHINE + directory, flags=MS_BIND)
        os.close(descriptor)


def mount_disk(disk: str, kept: tuple[str, ...]) -> None:
    """Put directories of our own over the machine's, and into them those that are kept on the disk."""
    for directory in MIRRORED:
        mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        mirror(directory)
    for directory in kept:
        os.makedirs(disk + directory, exist_ok=True)
        os.makedirs(directory, exist_ok=True)
        mount(disk + directory, directory, flags=MS_BIND)


def mirror(directory: str) -> None:
    for entry in os.scandir(MACHINE + directory):
        if entry.name not in HIDDEN:
            mirror_entry(entry, directory)


def mirror_entry(entry: os.DirEntry[str], directory: str) -> None:
    """Copy a file, link a directory, repeat a link; but a link into /run, which is another one here, is followed."""
    place, source = f"{directory}/{entry.name}", entry.path
    if entry.is_symlink():
        link = os.readlink(source)
        target = os.path.normpath(os.path.join(directory, link))
        if not target.startswith("/run/"):
            os.symlink(link, place)
            return
        source = MACHINE + target
    if os.path.isdir(source):
        os.symlink(source, place)
    elif os.path.isfile(source):
        copy(source, place)


def copy(source: str, target: str) -> None:
    """Copy content, mode and owner."""
    with open(source, "rb") as original, open(target, "wb") as made:
        made.write(original.read())
        info = os.fstat(original.fileno())
        os.fchmod(made.fileno(), info.st_mode & 0o7777)
        os.fchown(made.fileno(), info.st_uid, info.st_gid)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Write a file anew, and not through a link to somebody else's."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w") as file:
        file.write(text)


def introduce(name: str, disk: str) -> None:
    """Write who we are: a name, an identity that is made once for each disk, and the hosts file that the whole lab shares."""
    identity = f"{disk}/machine-id"
    if not os.path.exists(identity):
        write(identity, read("/proc/sys/kernel/random/uuid").replace("-", ""))
    write("/etc/machine-id", read(identity))
    write("/etc/hostname", f"{name}\n")
    write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n" + read(f"{os.path.dirname(disk)}/hosts"))


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
    write("/run/boot_id", read("/proc/sys/kernel/random/uuid"))
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
        mount_disk(MACHINE + disk, KEPT[role])
        introduce(name, MACHINE + disk)
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
