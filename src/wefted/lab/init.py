"""The first process of a virtual machine. Run as a script, with `python -I -S`; imports nothing that is slow.

    init.py STATE_DIR NAME ROLE DISK GROUP

What the real machine has in /etc and /var/lib is there too: files as copies, directories as links into the real root, which is
mounted at /run/machine. They lie on a tmpfs, because making 150 files on a disk for each host takes longer than all the rest;
what shall outlast a boot lies on the disk. No overlayfs: it cannot be stacked where the real machine is a container.

With GROUP (it may be empty) the machine has that control group for itself, in each hierarchy, and sees it as the root: then
container engines in it find their way as on a machine of their own, and whatever they leave is found below it.

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
CLONE_NEWCGROUP = 0x2000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 2, 4, 8, 0x1000, 0x2000, 0x4000, 0x80000

MACHINE = "/run/machine"
"""Where the real machine's root is seen: the links on a virtual machine's disk lead there."""
SEEN = ("/", "/run", "/run/machine", "/etc", "/var", "/var/lib")
"""What is seen there, beside the way to the disk; those that are no mounts of their own are in the one above them."""
MIRRORED = ("/etc", "/var/lib")
SHARED = "/dev/shm"
"""Memory that processes of one machine share: podman keeps its locks there."""
KEPT = {
    "host": ("/etc/wefted", "/var/lib/wefted", "/var/lib/docker", "/var/lib/containerd", "/var/log"),
    "store": ("/var/lib/etcd", "/var/log"),
    "router": ("/var/log",),
}
"""Directories of each role that lie on its disk."""
KEPT_BY_ENGINES = (
    "/etc/docker", "/etc/containers", "/etc/containerd", "/etc/cni", "/var/lib/containers", "/var/lib/cni", "/var/lib/lxc",
    "/var/lib/machines",
)  # fmt: skip
"""Further ones, of a host with container engines."""
GROUPS = "/sys/fs/cgroup"
OWN_GROUP = "init"
"""Where its first process is: the root itself must stay free of processes, or version 2 gives it no controllers."""
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


def mount_run(disk: str) -> None:
    """Mount our own /run and shared memory, and below /run the machine's directories as they were before."""
    parts = disk.split("/")
    way = ("/".join(parts[:count]) for count in range(2, len(parts)))
    old = {directory: os.open(directory, os.O_PATH) for directory in dict.fromkeys((*SEEN, *way)) if os.path.ismount(directory)}
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for directory in RUN_DIRECTORIES:
        os.mkdir(f"/run/{directory}")
    for directory, descriptor in old.items():
        mount(f"/proc/self/fd/{descriptor}", MACHINE + directory, flags=MS_BIND)
        os.close(descriptor)
    if os.path.isdir(SHARED):
        mount("tmpfs", SHARED, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


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


def hierarchies() -> list[tuple[str, str, str]]:
    """Return (directory, kind, options) of each hierarchy of control groups, for a mount of the same.

    Where there are some of version 1, the one of version 2 beside them is left out: not every engine likes both (crun).
    """
    found = []
    for line in read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        directory, (kind, _, options) = before.split()[4], after.split(" ", 2)
        if kind in ("cgroup", "cgroup2") and directory.startswith(GROUPS):
            found.append((directory, kind, ",".join(filter(identifies, options.split(",")))))
    return [one for one in found if one[1] == "cgroup"] or found


def identifies(option: str) -> bool:
    """Whether a mount option says which hierarchy of version 1 it is: a controller, or a name."""
    return option.startswith("name=") or not ("=" in option or option in ("rw", "ro", "xattr", "nsdelegate"))


def enter_group(group: str) -> list[tuple[str, str, str]]:
    """Move into a control group of our own in each hierarchy, and see it as the root from now on; return the hierarchies."""
    found = hierarchies()
    for directory, _, _ in found:
        make_group(directory, group)
        write_value(f"{directory}/{group}/cgroup.procs", "0")
    check(libc.unshare(CLONE_NEWCGROUP), "unshare")
    for directory, kind, _ in found:
        make_group(directory, f"{group}/{OWN_GROUP}")
        write_value(f"{directory}/{group}/{OWN_GROUP}/cgroup.procs", "0")
        if kind == "cgroup2":
            delegate(f"{directory}/{group}")
    return found


def make_group(directory: str, group: str) -> None:
    """Make a group and those above it; each has the controllers (version 2) and processors (version 1) of the one above."""
    for name in group.split("/"):
        delegate(directory)
        above, directory = directory, f"{directory}/{name}"
        os.makedirs(directory, exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{above}/{setting}") and not os.path.exists(f"{above}/cgroup.controllers"):
                write_value(f"{directory}/{setting}", read(f"{above}/{setting}"))


def delegate(directory: str) -> None:
    """Let the groups below have all controllers that this one has, as far as the kernel allows it (version 2)."""
    if os.path.exists(f"{directory}/cgroup.controllers"):
        for controller in read(f"{directory}/cgroup.controllers").split():
            try:
                write_value(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError:
                continue


def mount_kernel(groups: list[tuple[str, str, str]]) -> None:
    """Mount /proc and /sys anew for our namespaces, and control groups: our own, or else all of the machine's."""
    inherited = not groups and os.path.ismount(GROUPS)
    if inherited:
        mount(GROUPS, "/run/cgroup", flags=MS_BIND | MS_REC)
    links = {e.name: os.readlink(e.path) for e in os.scandir(GROUPS) if e.is_symlink()} if groups else {}
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if inherited:
        mount("/run/cgroup", GROUPS, flags=MS_MOVE)
    elif groups:
        mount_groups(groups, links)
    os.rmdir("/run/cgroup")


def mount_groups(groups: list[tuple[str, str, str]], links: dict[str, str]) -> None:
    if groups[0][0] != GROUPS:
        mount("tmpfs", GROUPS, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for directory, kind, options in groups:
        os.makedirs(directory, exist_ok=True)
        data = f"none,{options}" if options.startswith("name=") else options
        mount(kind, directory, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, data)
    for name, target in links.items():
        os.symlink(target, f"{GROUPS}/{name}")


def mark_boot() -> None:
    """Give this machine a boot identity of its own: it differs after every boot, as a real one does."""
    write("/run/boot_id", read("/proc/sys/kernel/random/uuid"))
    mount("/run/boot_id", "/proc/sys/kernel/random/boot_id", flags=MS_BIND)


def write_value(path: str, text: str) -> None:
    """Write to a file of the kernel, which is there already."""
    with open(path, "w") as file:
        file.write(text)


def write_settings(role: str) -> None:
    for name, value in SETTINGS.get(role, {}).items():
        path = f"/proc/sys/{name}"
        if os.path.exists(path):
            write_value(path, value)


def build(name: str, role: str, disk: str, group: str) -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    check(libc.sethostname(name.encode(), len(name)), "sethostname")
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    groups = enter_group(group) if group else []
    mount_run(disk)
    if disk:
        mount_disk(MACHINE + disk, (*KEPT[role], *(KEPT_BY_ENGINES if group else ())))
        introduce(name, MACHINE + disk)
    mount_kernel(groups)
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


def become_init(name: str, role: str, disk: str, group: str) -> None:
    try:
        build(name, role, disk, group)
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
    name, role, disk, group = sys.argv[2:6]
    try:
        check(libc.unshare(NAMESPACES), "unshare")
    except OSError as error:
        say(f"error {error.strerror}")
        os._exit(1)
    child = os.fork()
    if child == 0:
        become_init(name, role, disk, group)
    say(f"pid {child}")
    os._exit(0)


if __name__ == "__main__":
    main()
