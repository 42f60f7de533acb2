"""Programs in user space that carry flannel's `udp` format, beside ours in the kernel: each between containers of its own.

The proxy in C is compiled from `tests/bench/udp_proxy.c` of a git checkout; where that or a compiler is missing, its row is
left out. Our relay is the program that the agent runs where the kernel takes no programs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wefted.errors import UsageError, WeftedError
from wefted.lab.host import Host
from wefted.services import udp_relay

MTU = 1472
SOURCE = Path(__file__).parents[3] / "tests/bench/udp_proxy.c"
PLACE = "run/forwarders"
"""Where a host has what belongs to them: nothing of it is left when the host is gone."""

Program = Callable[[str, Host, Host, int, int], list[str]]
"""From the TUN device, this host, the other one, the network's number and this host's, to the command line."""


@dataclass(frozen=True, slots=True)
class Forwarder:
    """A network 10.2NN.0.0/16 whose packets a program carries: a bridge, a TUN device and a container on each host."""

    name: str
    number: int
    program: Program

    @property
    def namespace(self) -> str:
        return f"forwarder{self.number}"

    def address(self, host: int) -> str:
        """Return the container's address on the first or the second host."""
        return f"10.{200 + self.number}.{host}.2"

    def start(self, first: Host, second: Host) -> None:
        """Make all of it and start the programs. Raises `UsageError` where one cannot be had."""
        for own, here, there in ((1, first, second), (2, second, first)):
            (here.root / PLACE).mkdir(exist_ok=True)
            here.run(["ip", "-batch", "-"], input="\n".join(self._outside(own)) + "\n")
            here.run(["ip", "-n", self.namespace, "-batch", "-"], input="\n".join(self._inside(own)) + "\n")
            for device in (f"fbr{self.number}", f"tun{self.number}"):
                here.run(["sh", "-c", f"echo 1 >/proc/sys/net/ipv4/conf/{device}/forwarding"])
            self._run(here, self.program(f"tun{self.number}", here, there, self.number, own))

    def _outside(self, own: int) -> list[str]:
        number, gateway = self.number, f"10.{200 + self.number}.{own}.1"
        return [
            f"link add name fbr{number} mtu {MTU} type bridge",
            f"addr add {gateway}/24 dev fbr{number}",
            f"link set fbr{number} up",
            f"netns add {self.namespace}",
            f"link add name fve{number} mtu {MTU} master fbr{number} type veth peer name eth0 mtu {MTU} netns {self.namespace}",
            f"link set fve{number} up",
            f"tuntap add dev tun{number} mode tun",
            f"link set tun{number} mtu {MTU} up",
            f"addr add 10.{200 + number}.{own}.0/32 dev tun{number}",
            f"route add 10.{200 + number}.0.0/16 dev tun{number}",
        ]

    def _inside(self, own: int) -> list[str]:
        return [
            "link set lo up",
            "link set eth0 up",
            f"addr add {self.address(own)}/24 dev eth0",
            f"route add default via 10.{200 + self.number}.{own}.1",
        ]

    def _run(self, host: Host, argv: list[str]) -> None:
        child = host.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            raise WeftedError(f"{host.name}: {self.name} does not start")


def c_proxy(tun: str, here: Host, there: Host, number: int, own: int) -> list[str]:
    """Return how the proxy in C is started. Raises `UsageError` where it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not SOURCE.exists():
        raise UsageError("it is compiled from a git checkout, with a C compiler")
    subprocess.run([compiler, "-O2", "-o", str(here.root / PLACE / "udp-proxy"), str(SOURCE)], check=True)
    net = f"10.{200 + number}"
    block = f"{net}.{3 - own}.0/24={there.address}"
    return [f"/{PLACE}/udp-proxy", tun, str(here.address), str(9000 + number), f"{net}.{own}.0", block]


def our_relay(tun: str, here: Host, there: Host, number: int, own: int) -> list[str]:
    """Return how our relay is started."""
    net, port = f"10.{200 + number}", 9000 + number
    said = {
        "link": tun, "local": str(here.address), "port": port, "blocks": [f"{net}.{own}.0/24"],
        "peers": {f"{net}.{3 - own}.0/24": [str(there.address), port]},
    }  # fmt: skip
    (here.root / PLACE / "tunnel.json").write_text(json.dumps(said))
    return [sys.executable, "-I", "-S", str(Path(udp_relay.__file__)), f"/{PLACE}/tunnel.json"]
