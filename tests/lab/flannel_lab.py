"""Hosts that share networks of flannel's, an etcd of the test's own, and peers that are nothing but a record."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from subprocess import Popen
from typing import Any

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, wait_for, wefted

ENV = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
PEER_MAC = "62:36:36:1c:6d:33"


@dataclass
class Etcd:
    """An etcd on a host of the lab, which tests stop, wipe and start again."""

    host: Host
    flags: tuple[str, ...] = ()
    child: Popen[Any] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:2379"

    def start(self) -> None:
        """Start it and wait until it answers."""
        peer = "http://127.0.0.1:2380"
        urls = (f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peer}")
        quiet = ("--heartbeat-interval=20", "--election-timeout=100", "--logger=zap", "--log-level=error")
        self.child = self.host.popen(["etcd", "--data-dir=/run/etcd", *urls, *quiet, *self.flags])
        wait_for(lambda: self.ctl("get", "x", check=False).returncode == 0, 15, "etcd answers")

    def stop(self, *, wipe: bool = False) -> None:
        """Kill it; with `wipe` its data goes too."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()
        if wipe:
            self.host.run(["rm", "-rf", "/run/etcd"])

    def ctl(self, *words: str, check: bool = True, api: str = "3") -> Any:
        """Run etcd's own client beside it."""
        return self.host.run(
            ["etcdctl", f"--endpoints={self.url}", *words], check=check, env={**ENV, "ETCDCTL_API": api}, timeout=20
        )

    def configure(self, prefix: str, network: str = "10.5.0.0/16", **rest: object) -> None:
        """Write a network's configuration; VXLAN unless `Backend` is given."""
        self.ctl("put", f"{prefix}/config", json.dumps({"Network": network, "Backend": {"Type": "vxlan"}, **rest}))

    def keys(self, prefix: str) -> dict[str, str]:
        """Return the keys of the leases under a prefix, without it, and their values."""
        lines = self.ctl("get", "--prefix", f"{prefix}/subnets/").stdout.splitlines()
        return {key.rpartition("/")[2]: value for key, value in zip(lines[::2], lines[1::2], strict=True)}

    def peer(self, prefix: str, subnet: str, public: str, mac: str = PEER_MAC, vni: int = 1) -> None:
        """Write the lease of a host that is not there."""
        data = {"VNI": vni, "VtepMAC": mac}
        value = {"PublicIP": public, "PublicIPv6": None, "BackendType": "vxlan", "BackendData": data}
        self.ctl("put", f"{prefix}/subnets/{subnet.replace('/', '-')}", json.dumps(value))


@dataclass(frozen=True)
class Known:
    """What a host's kernel knows of a peer."""

    route: bool
    macs: frozenset[str]
    """Of the neighbour entry of the subnet's first address."""
    forwards: frozenset[str]
    """The MACs whose frames go to the public address."""


def known(host: Host, subnet: str, public: str) -> Known:
    """Ask the kernel of a host with iproute2."""
    first = subnet.partition("/")[0]
    route = host.run(["ip", "route", "show", subnet]).stdout
    neighbors = json.loads(host.run(["ip", "-j", "neigh", "show", first]).stdout or "[]")
    entries = json.loads(host.run(["bridge", "-j", "fdb", "show"]).stdout or "[]")
    return Known(
        f"via {first}" in route,
        frozenset(entry["lladdr"] for entry in neighbors if "lladdr" in entry),
        frozenset(entry["mac"] for entry in entries if entry.get("dst") == public),
    )


NOTHING = Known(False, frozenset(), frozenset())


def complete(mac: str = PEER_MAC) -> Known:
    """Return what is known of a peer that is there."""
    return Known(True, frozenset({mac}), frozenset({mac}))


def env(host: Host, path: str = "/run/flannel/subnet.env") -> dict[str, str]:
    """Return what an environment file says on a host; empty while there is none."""
    shown = host.run(["cat", path], check=False)
    return dict(line.split("=", 1) for line in shown.stdout.splitlines())


def key_of(found: dict[str, str]) -> str:
    """Return the key of the lease that an environment file speaks of."""
    return found["FLANNEL_SUBNET"].replace(".1/", ".0-")


def up(lab: Lab, etcd: Etcd, *names: str) -> None:
    """Start agents on these hosts."""
    for name in names:
        wefted(lab.host(name), "up", "--store", etcd.url, "--advertise", str(lab.host(name).address))


def connected(host: Host, network: str, name: str, version: int = 4) -> str:
    """Make a container in a network; return its address."""
    row = wefted(host, "network", "connect", network, container(host, name))[0]
    return address_of(row, version)
