"""Pipework, ours and the original's work: a port in a bridge that was made by hand, an address, the default route.

Of the original, a shell script, only its calls of `ip` are replayed: what it does to find the container depends on the engine.
`ovs-docker` is another such script.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from wefted.compat import install
from wefted.model.naming import link_name

from .launch import run
from .peers import FILES, Plain
from .sandboxes import INTERFACE

_STEPS = """\
set -e
bridge=$1 ns=$2 address=$3 gateway=$4 near=$5 far=$6
mtu=$(ip link show "$bridge" | awk '{ print $5 }')
if ip link show "$near" >/dev/null 2>&1; then exit 1; fi
ip link add name "$near" mtu "$mtu" type veth peer name "$far" mtu "$mtu"
ip link set "$near" master "$bridge"
ip link set "$near" up
ip link set "$far" netns "$ns"
inside="ip netns exec $ns ip"
$inside link set "$far" name eth0
$inside -4 addr add "$address" dev eth0
$inside -4 route delete default >/dev/null 2>&1 || true
$inside -4 link set eth0 up
$inside -4 route get "$gateway" >/dev/null 2>&1 || $inside -4 route add "$gateway/32" dev eth0
$inside -4 route replace default via "$gateway" dev eth0
"""
_ARP = 'ip netns exec "$ns" arping -c 1 -A -I eth0 "${address%/*}" >/dev/null 2>&1 || true\n'


class Pipework(Plain):
    """Our `pipework` as a whole process, which asks the agent, under its own name as `wefted compat install` puts it."""

    what = "pipework (ours), through the agent"
    prefix = "10.98.0.0/16"
    bridge = "pipe0"

    def prepare(self) -> None:
        super().prepare()
        self._program = next(path for path in install.install(str(FILES)) if path.endswith("/pipework"))

    def arrange(self, sandbox: str, number: int) -> None:
        """Nothing is read."""

    def attach(self, sandbox: str, number: int) -> float:
        words = [self.bridge, "-i", INTERFACE, f"netns:{sandbox}", f"{self.address(number)}/16@{self.address(-1)}"]
        return run([self._program, *words]).wall


class PipeworkScript(Plain):
    """The `ip` calls of the original, in the order of the original; `arping` waits for a second, as it does there."""

    def __init__(self, bridge: str, prefix: str, *, arping: bool) -> None:
        self.bridge = bridge
        self.prefix = prefix
        self.what = f"pipework (script), its ip calls{' and its arping' if arping else ''}"
        self._arping = arping

    def missing(self) -> str:
        absent = [name for name in ("ip", "awk", *(["arping"] if self._arping else [])) if not shutil.which(name)]
        return f"no {absent[0]}: apt-get install iproute2 mawk iputils-arping" if absent else ""

    def prepare(self) -> None:
        super().prepare()
        self._script.write_text(_STEPS + (_ARP if self._arping else ""))

    def arrange(self, sandbox: str, number: int) -> None:
        """One script serves all."""

    def attach(self, sandbox: str, number: int) -> float:
        ends = [link_name("pl", sandbox), link_name("pg", sandbox)]
        words = [self.bridge, sandbox, f"{self.address(number)}/16", str(self.address(-1)), *ends]
        return run(["/bin/sh", str(self._script), *words]).wall

    @property
    def _script(self) -> Path:
        return FILES / f"{self.bridge}.sh"


class OvsDocker(Plain):
    """`ovs-docker add-port`; it asks Docker for the container, so bare namespaces are beyond it."""

    what = "ovs-docker add-port"

    def missing(self) -> str:
        if not shutil.which("ovs-docker"):
            return "no ovs-docker: apt-get install openvswitch-switch, and the script from its sources"
        return "ovs-docker takes containers of Docker only"

    def arrange(self, sandbox: str, number: int) -> None:
        """Nothing is read."""

    def attach(self, sandbox: str, number: int) -> float:
        raise NotImplementedError(self.missing())
