"""`flanneld` and `mk-docker-opts.sh` under their own names, on hosts with and without an agent."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.agents import answers
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted

pytestmark = pytest.mark.lab

PREFIX = "/atomic.io/network"
BIN = "/run/classics"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two hosts; an etcd of flannel's own on the first, and no agent of ours anywhere."""
    with Lab.up(lab_name("flanneld"), 2, bare=True) as made:
        h1 = made.host("h1")
        url = f"http://{h1.address}:2379"
        h1.popen(["etcd", "--data-dir", "/run/etcd", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
                  "--listen-peer-urls=http://127.0.0.1:2380"])  # fmt: skip
        config = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})
        put = ["etcdctl", f"--endpoints={url}", "put", f"{PREFIX}/config", config]
        wait_for(lambda: h1.run(put, check=False, env=ENV).returncode == 0, 10, "etcd answers")
        for host in made.hosts:
            host.run(["mkdir", "-p", BIN])
            host.run(["wefted", "compat", "install", BIN])
        yield made


ENV = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def flanneld(lab: Lab, name: str, *words: str) -> object:
    """Start the daemon on a host, as its unit does."""
    url = f"http://{lab.host('h1').address}:2379"
    return lab.host(name).popen([f"{BIN}/flanneld", f"-etcd-endpoints={url}", f"-etcd-prefix={PREFIX}", *words])


def env(host: Host) -> dict[str, str]:
    """Return what `subnet.env` says; empty while there is none."""
    shown = host.run(["cat", "/run/flannel/subnet.env"], check=False).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_two_daemons_join_their_hosts_and_docker_gets_its_options(lab: Lab) -> None:
    """The walk-through of the classic texts: configuration in etcd, a daemon on each host, subnet.env, docker's options."""
    daemons = [flanneld(lab, name, "-ip-masq", "-iface=eth0", "--healthz-port=8471") for name in ("h1", "h2")]
    for host in lab.hosts:
        wait_for(lambda: bool(env(host)), 10, "subnet.env")  # noqa: B023
        assert list(env(host)) == ["FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"]
        host.run([f"{BIN}/mk-docker-opts.sh", "-k", "DOCKER_NETWORK_OPTIONS", "-d", "/run/flannel/docker"])
        written = host.run(["cat", "/run/flannel/docker"]).stdout
        subnet = env(host)["FLANNEL_SUBNET"]
        assert f'DOCKER_NETWORK_OPTIONS=" --bip={subnet} --ip-masq=false --mtu=1450"\n' in written
        for path, code in (("healthz", "200"), ("readyz", "200"), ("other", "404")):
            shown = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:8471/{path}"]
            wait_for(lambda: host.run(shown, check=False).stdout == code, 5, path)  # noqa: B023
    rows = {host.name: wefted(host, "network", "connect", "flannel", container(host, "c"))[0] for host in lab.hosts}
    for a, b in (("h1", "h2"), ("h2", "h1")):
        target = address_of(rows[b])
        wait_for(lambda: ping(lab.host(a), "c", target), 5, f"{a} reaches {b}")  # noqa: B023
    before = env(lab.host("h2"))
    for daemon in daemons:
        daemon.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert daemon.wait(20) == 0, "flannel: panic: index out of range [0]"  # type: ignore[attr-defined]
    assert ping(lab.host("h1"), "c", address_of(rows["h2"])), "the traffic goes on without the daemon"
    again = flanneld(lab, "h2", "-ip-masq", "-iface=eth0")
    wait_for(lambda: answers(lab.host("h2")), 10, "it runs again")
    wait_for(lambda: not wefted(lab.host("h2"), "flannel", "ls")[0]["error"], 10, "it holds a subnet")
    assert env(lab.host("h2")) == before
    again.kill()  # type: ignore[attr-defined]
    again.wait()  # type: ignore[attr-defined]


def test_several_networks_by_name_and_by_watching(lab: Lab) -> None:
    """As flannel 0.7 had it; later versions need a daemon for each."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    url = f"http://{h1.address}:2379"

    def configure(name: str, number: int) -> None:
        config = json.dumps({"Network": f"10.{number}.0.0/16", "Backend": {"Type": "vxlan", "VNI": number}})
        h1.run(["etcdctl", f"--endpoints={url}", "put", f"{PREFIX}/{name}/config", config], env=ENV)

    def file(host: Host, name: str) -> str:
        return host.run(["cat", f"/run/flannel/networks/{name}.env"], check=False).stdout

    for number, name in enumerate(("blue", "green"), 40):
        configure(name, number)
    daemons = [
        flanneld(lab, "h1", "-iface=eth0", "-networks=blue,green", "-ip-blackhole-route"),
        flanneld(lab, "h2", "-iface=eth0", "-watch-networks"),
    ]
    for host in (h1, h2):
        for name, number in (("blue", 40), ("green", 41)):
            wait_for(lambda: f"FLANNEL_NETWORK=10.{number}.0.0/16" in file(host, name), 10, name)  # noqa: B023
    assert len(h1.run(["ip", "route", "show", "type", "blackhole"]).stdout.splitlines()) == 2
    configure("red", 42)
    wait_for(lambda: "FLANNEL_NETWORK=10.42.0.0/16" in file(h2, "red"), 5, "the network that came later")
    assert not file(h1, "red")
    found = {host.name: wefted(host, "network", "connect", "green", container(host, "g"))[0] for host in (h1, h2)}
    wait_for(lambda: ping(h1, "g", address_of(found["h2"])), 5, "both hosts are in one network")
    for daemon in daemons:
        daemon.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert daemon.wait(20) == 0  # type: ignore[attr-defined]


def test_beside_an_agent_it_is_a_door(lab: Lab) -> None:
    h2 = lab.host("h2")
    url = f"http://{lab.host('h1').address}:2379"
    wefted(h2, "up", "--store", url, "--advertise", str(h2.address))
    daemon = flanneld(lab, "h2")
    wait_for(lambda: bool(env(h2)), 10, "subnet.env")
    daemon.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    assert daemon.wait(20) == 0  # type: ignore[attr-defined]
    assert wefted(h2, "flannel", "ls")[0]["error"] == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("-iface=wlan9", 1, "Failed to find interface"),
        ("-etcd-endpoints=http://127.0.0.1:1", 1, "Failed to find any valid interface"),
        ("-kube-subnet-mgr", 1, "not supported: no Kubernetes"),
        ("-nothing", 2, "flag provided but not defined: -nothing"),
        ("-subnet-lease-renew-margin=2000", 1, "out of acceptable range"),
        ("-version", 0, "wefted "),
    ],
)
def test_mistakes_end_as_they_do_with_flannel(lab: Lab, words: str, code: int, message: str, tmp_path: Path) -> None:
    done = lab.host("h2").run([f"{BIN}/flanneld", *words.split()], check=False)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
