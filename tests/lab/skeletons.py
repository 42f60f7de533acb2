"""Containers of LXC and systemd-nspawn by their own programs, from the root directory `skel` that a lab's host has for each.

What is here runs inside such a host; `words` of a test outside are handed to the host's `run` instead.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

Run = Callable[[Sequence[str]], str]
"""Runs a command on the host, and returns what it printed; raises when it fails."""

LXC = r"""
set -e
name=$1 type=$2 place=/var/lib/lxc/$1
if [ ! -e "$place/config" ]; then
  printf '%s\n' "lxc.rootfs.path = dir:$place/rootfs" "lxc.uts.name = $name" "lxc.net.0.type = $type" \
    'lxc.mount.auto = proc:mixed sys:ro' 'lxc.mount.entry = /usr usr none ro,bind 0 0' \
    'lxc.init.cmd = /usr/bin/sleep infinity' 'lxc.apparmor.profile = unconfined' >"/run/$name.conf"
  mkdir -p "$place"
  cp -a /var/lib/lxc/skel/rootfs "$place/rootfs"
  lxc-create -n "$name" -t none -f "/run/$name.conf" >/dev/null
  rm "/run/$name.conf"
fi
exec lxc-start -n "$name" -l INFO -o "/run/$name.log"
"""
"""Make an LXC container where there is none, and start it."""

NSPAWN = r"""
set -e
name=$1 root=/var/lib/machines/$1 log=/run/$1.log
shift
[ -d "$root" ] || cp -a /var/lib/machines/skel "$root"
# A unit of its own, as systemd would have made it: without systemd nobody does, and nspawn divides the group it is in.
while read -r _ place kind _; do
  case $kind in cgroup | cgroup2) ;; *) continue ;; esac
  mkdir -p "$place/$name.service"
  for setting in cpuset.cpus cpuset.mems; do
    [ ! -e "$place/cgroup.controllers" ] && [ -e "$place/$setting" ] && cat "$place/$setting" >"$place/$name.service/$setting"
  done
  echo $$ >"$place/$name.service/cgroup.procs"
done </proc/self/mounts
: >"$log"
systemd-nspawn --quiet -M "$name" -D "$root" --keep-unit --as-pid2 --console=pipe --bind-ro=/usr:/usr "$@" \
  sh -c 'echo ready; exec sleep infinity' </dev/null >"$log" 2>&1 &
echo $! >"/run/$name.pid"
until grep -qx ready "$log"; do
  kill -0 $! 2>/dev/null || { cat "$log"; exit 1; }
  sleep 0.02
done
"""
"""Start a machine, whose root is made where there is none, and wait until its program runs. Further words are nspawn's."""

MACHINED = r"""
set -e
mkdir -p /run/dbus
[ -e /run/dbus/system_bus_socket ] || dbus-daemon --system --fork
listens=/run/systemd/userdb/io.systemd.Machine
[ -e $listens ] || { /lib/systemd/systemd-machined </dev/null >/var/log/machined.log 2>&1 & }
until [ -e $listens ]; do sleep 0.02; done
"""
"""Start a bus and systemd-machined, which is all that nspawn needs of systemd to register a machine."""

ENDED = 'pid=$(cat "/run/$1.pid") && kill -"$2" "$pid" && while [ -e "/proc/$pid" ]; do sleep 0.02; done'


def here(words: Sequence[str]) -> str:
    """Run a command where this process is."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class LxcContainer:
    """A container of LXC: `kind` is its runtime's."""

    kind = "lxc"

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self._run = run

    def start(self, own_network: bool = True) -> None:
        self._run(["sh", "-c", LXC, "sh", self.name, "empty" if own_network else "none"])

    def stop(self) -> None:
        self._run(["lxc-stop", "-k", "-n", self.name])

    def leader(self) -> int:
        return int(self._run(["lxc-info", "-n", self.name, "-pH"]))

    def remove(self) -> None:
        self._run(["lxc-destroy", "-f", "-n", self.name])


class Machine:
    """A machine of systemd-nspawn, registered or not."""

    kind = "nspawn"

    def __init__(self, run: Run, name: str, registered: bool = False) -> None:
        self.name = name
        self._run = run
        self.registered = registered

    def start(self, own_network: bool = True) -> None:
        if self.registered:
            self._run(["sh", "-c", MACHINED])
        words = [f"--register={'yes' if self.registered else 'no'}", *(["--private-network"] if own_network else [])]
        self._run(["sh", "-c", NSPAWN, "sh", self.name, *words])

    def stop(self, signal: str = "TERM") -> None:
        self._run(["sh", "-c", ENDED, "sh", self.name, signal])

    def leader(self) -> int:
        supervisor = self._run(["cat", f"/run/{self.name}.pid"]).strip()
        return int(self._run(["cat", f"/proc/{supervisor}/task/{supervisor}/children"]).split()[0])

    def remove(self) -> None:
        self._run(["sh", "-c", f'{ENDED} 2>/dev/null; rm -rf "/var/lib/machines/$1"', "sh", self.name, "TERM"])
