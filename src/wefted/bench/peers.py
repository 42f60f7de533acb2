"""The other tools, each making the same objects: the CNI plugins `bridge` and `host-local`, `ip -batch`, single calls of ip."""

from __future__ import annotations

import json
import os
import shutil
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from wefted.model.naming import link_name, mac_of

from .launch import run
from .sandboxes import INTERFACE, batch

FILES = Path("/run/wefted-bench")
CNI = Path("/usr/lib/cni")


def cni_environment(sandbox: str) -> dict[str, str]:
    """Return what a plugin is started with for an ADD."""
    return {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": sandbox,
        "CNI_NETNS": f"/run/netns/{sandbox}",
        "CNI_IFNAME": INTERFACE,
        "CNI_PATH": str(CNI),
    }


def port_mapping(number: int) -> dict[str, object]:
    """Return the part of a configuration that publishes one port, another one for each number."""
    mapping = {"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}
    return {"capabilities": {"portMappings": True}, "runtimeConfig": {"portMappings": [mapping]}}


class CniAdd:
    """The ADD of the CNI plugin `bridge` (CNI specification 1.0.0, section 2), which itself runs `host-local`.

    With `masquerade` it runs iptables too, several times; our networks masquerade by one rule for all of their endpoints.
    """

    def __init__(self, bridge: str, prefix: str, *, masquerade: bool) -> None:
        self.prefix = prefix
        self.what = f"CNI bridge + host-local, ADD{', ipMasq' if masquerade else ''}"
        self._bridge = bridge
        self._masquerade = masquerade

    def missing(self) -> str:
        absent = [name for name in ("bridge", "host-local") if not os.access(CNI / name, os.X_OK)]
        if absent:
            return f"no {CNI / absent[0]}: apt-get install containernetworking-plugins"
        return "no iptables: apt-get install iptables" if self._masquerade and not shutil.which("iptables") else ""

    def prepare(self) -> None:
        FILES.mkdir(exist_ok=True)
        self._network.write_text(json.dumps(self._configuration()))

    def arrange(self, sandbox: str, number: int) -> None:
        """One configuration serves all."""

    def attach(self, sandbox: str, number: int) -> float:
        return run([str(CNI / "bridge")], stdin=self._network, environment=cni_environment(sandbox)).wall

    @property
    def _network(self) -> Path:
        return FILES / f"{self._bridge}.json"

    def _configuration(self) -> dict[str, object]:
        return {
            "cniVersion": "1.0.0",
            "name": f"bench-{self._bridge}",
            "type": "bridge",
            "bridge": self._bridge,
            "isGateway": True,
            "isDefaultGateway": True,
            "ipMasq": self._masquerade,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self.prefix}]]},
        }


class CniChain(CniAdd):
    """The same with a published port: `bridge` and then `portmap`, as an engine runs a list of plugins.

    Between the two, which are all that is on the clock, stands the engine's part: the result of one goes into the next.
    """

    def __init__(self, bridge: str, prefix: str) -> None:
        super().__init__(bridge, prefix, masquerade=False)
        self.what = "CNI bridge + host-local, then portmap, ADD"

    def missing(self) -> str:
        absent = (
            "" if os.access(CNI / "portmap", os.X_OK) else f"no {CNI / 'portmap'}: apt-get install containernetworking-plugins"
        )
        return super().missing() or absent or ("" if shutil.which("iptables") else "no iptables: apt-get install iptables")

    def attach(self, sandbox: str, number: int) -> float:
        result = FILES / f"{sandbox}.result"
        environment = cni_environment(sandbox)
        first = run([str(CNI / "bridge")], stdin=self._network, environment=environment, output=result)
        then = {"cniVersion": "1.0.0", "name": f"bench-{self._bridge}", "type": "portmap", **port_mapping(number)}
        described = FILES / f"{sandbox}.json"
        described.write_text(json.dumps(then | {"prevResult": json.loads(result.read_text())}))
        return first.wall + run([str(CNI / "portmap")], stdin=described, environment=environment).wall


class Plain:
    """What all users of `ip` have in common: a bridge, and the names and addresses of endpoints."""

    prefix = ""
    bridge = ""

    def missing(self) -> str:
        return "" if shutil.which("ip") else "no ip: apt-get install iproute2"

    def prepare(self) -> None:
        FILES.mkdir(exist_ok=True)
        self.program = str(shutil.which("ip"))
        gateway = f"{self.address(-1)}/{ip_network(self.prefix).prefixlen}"
        batch([f"link add {self.bridge} type bridge", f"addr add {gateway} dev {self.bridge}", f"link set {self.bridge} up"])

    def address(self, number: int) -> IPv4Address:
        address = ip_network(self.prefix)[number + 2]
        assert isinstance(address, IPv4Address)
        return address

    def inner(self, number: int) -> list[str]:
        """Return what is done inside the namespace, once the interface is there."""
        return [
            "link set lo up",
            f"addr add {self.address(number)}/{ip_network(self.prefix).prefixlen} dev {INTERFACE}",
            f"link set {INTERFACE} up",
            f"route add default via {self.address(-1)}",
        ]


class IpBatch(Plain):
    """One `ip -batch` on the host and one in the namespace: the fewest processes that iproute2 can do it with."""

    what = "ip -batch, twice (host, namespace)"
    prefix = "10.93.0.0/16"
    bridge = "batch0"

    def arrange(self, sandbox: str, number: int) -> None:
        host = link_name("ba", sandbox)
        peer = f"peer name {INTERFACE} mtu 1500 address {mac_of(sandbox)} netns {sandbox}"
        lines = [f"link add {host} mtu 1500 master {self.bridge} type veth {peer}", f"link set {host} up"]
        (FILES / f"{sandbox}.host").write_text("\n".join(lines) + "\n")
        (FILES / f"{sandbox}.inner").write_text("\n".join(self.inner(number)) + "\n")

    def attach(self, sandbox: str, number: int) -> float:
        outside = run([self.program, "-batch", str(FILES / f"{sandbox}.host")])
        inside = run([self.program, "-n", sandbox, "-batch", str(FILES / f"{sandbox}.inner")])
        return outside.wall + inside.wall


class IpCalls(Plain):
    """Ten calls of `ip`, as scripts do it: the pair is made on the host, then one end is moved."""

    what = "ip, 10 single calls"
    prefix = "10.94.0.0/16"
    bridge = "calls0"

    def arrange(self, sandbox: str, number: int) -> None:
        """Nothing is read."""

    def attach(self, sandbox: str, number: int) -> float:
        host, peer = link_name("ca", sandbox), link_name("cp", sandbox)
        inside = ["-n", sandbox]
        calls = [
            ["link", "add", host, "type", "veth", "peer", "name", peer],
            ["link", "set", host, "mtu", "1500"],
            ["link", "set", host, "master", self.bridge],
            ["link", "set", host, "up"],
            ["link", "set", peer, "netns", sandbox],
            [*inside, "link", "set", peer, "name", INTERFACE, "address", mac_of(sandbox)],
            *([*inside, *line.split()] for line in self.inner(number)),
        ]
        return sum(run([self.program, *call]).wall for call in calls)
