"""Hosts without etcd that join flannel's networks through a server: `flanneld -listen`, `flanneld -remote` (flannel 0.5 to 0.10)."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.testing.certificates import make_certificates

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .flannel_lab import Etcd, env, key_of

pytestmark = pytest.mark.lab

PREFIX = "/nets"
BIN = "/run/classics"
PORT = 8888
OLD_CLIENT = Path(__file__).with_name("flannel_old_client.py")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four hosts; the etcd on the first listens on that host's loopback alone, so that nobody else can be in it."""
    with Lab.up(lab_name("served"), 4, bare=True) as made:
        for host in made.hosts:
            host.run(["mkdir", "-p", BIN])
            host.run(["wefted", "compat", "install", BIN])
        yield made


class LocalEtcd(Etcd):
    """An etcd that only its own host reaches."""

    @property
    def url(self) -> str:
        return "http://127.0.0.1:2379"


@pytest.fixture(scope="module")
def etcd(lab: Lab) -> Etcd:
    running = LocalEtcd(lab.host("h1"), ("--enable-v2",))
    running.start()
    running.configure(PREFIX)
    running.configure(f"{PREFIX}/blue", "10.40.0.0/16", Backend={"Type": "udp", "Port": 8290})
    return running


def serve(lab: Lab, *words: str) -> Popen[Any]:
    """Start a server on the first host and wait until it answers."""
    h1 = lab.host("h1")
    flags = ["-etcd-endpoints=http://127.0.0.1:2379", f"-etcd-prefix={PREFIX}", *words]
    listening = [] if any(word.startswith("-listen") for word in words) else [f"-listen={h1.address}:{PORT}"]
    child = h1.popen([f"{BIN}/flanneld", *flags, *listening])
    answers = ["curl", "-sf", f"http://{h1.address}:{PORT}/v1/_/config"]
    wait_for(lambda: h1.run(answers, check=False).returncode == 0, 20, "the server answers")
    return child


@pytest.fixture
def server(lab: Lab, etcd: Etcd) -> Iterator[list[Popen[Any]]]:
    """A server; tests may replace it."""
    running = [serve(lab)]
    yield running
    for child in running:
        child.terminate()
        assert child.wait(20) in (0, -signal.SIGKILL)


def client(lab: Lab, name: str, *words: str) -> Popen[Any]:
    """Start the daemon on a host that reaches no etcd."""
    return lab.host(name).popen([f"{BIN}/flanneld", f"-remote={lab.host('h1').address}:{PORT}", "-iface=eth0", *words])


def stop(*children: Popen[Any]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        assert child.wait(30) == 0


def state(host: Host, name: str = "flannel") -> dict[str, Any]:
    """Return what the host says of a network."""
    return next(row for row in wefted(host, "flannel", "ls") if row["name"] == name)


def leave(host: Host, name: str = "flannel") -> None:
    """Leave a network without an agent, with its containers."""
    for row in wefted(host, "ps"):
        wefted(host, "network", "disconnect", row["network"], row["container"])
    wefted(host, "flannel", "leave", name)


@pytest.mark.parametrize(
    ("network", "file", "base"), [("flannel", "subnet.env", "10.5"), ("blue", "networks/blue.env", "10.40")]
)
def test_two_hosts_without_etcd_are_in_the_network(
    lab: Lab, etcd: Etcd, server: list[Popen[Any]], network: str, file: str, base: str
) -> None:
    """`vxlan` without a name, `udp` by a name: subnets, their files, records as a flannel of that time writes them, traffic."""
    words = [] if network == "flannel" else [f"-networks={network}"]
    hosts = [lab.host("h2"), lab.host("h3")]
    daemons = [client(lab, host.name, *words) for host in hosts]
    prefix = PREFIX if network == "flannel" else f"{PREFIX}/{network}"
    for host in hosts:
        wait_for(lambda: bool(env(host, f"/run/flannel/{file}")), 20, "the file")  # noqa: B023
        found = env(host, f"/run/flannel/{file}")
        assert found["FLANNEL_NETWORK"] == f"{base}.0.0/16"
        value = json.loads(etcd.keys(prefix)[key_of(found)])
        assert value["PublicIP"] == str(host.address)
        assert state(host, network)["api"] == "server"
    rows = {host.name: wefted(host, "network", "connect", network, container(host, f"c-{network}"))[0] for host in hosts}
    for a, b in (("h2", "h3"), ("h3", "h2")):
        wait_for(lambda: ping(lab.host(a), f"c-{network}", address_of(rows[b])), 10, f"{a} reaches {b}")  # noqa: B023
    stop(*daemons)
    assert ping(hosts[0], f"c-{network}", address_of(rows["h3"])), "the traffic goes on without the daemons"
    for host in hosts:
        leave(host, network)
    wait_for(lambda: not etcd.keys(prefix), 5, "the leases were given back")
