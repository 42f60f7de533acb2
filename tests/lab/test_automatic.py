"""Containers of real engines are attached because a label says so, or the settings of the host, where no hook is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import lab_name, wait_for, wefted
from .engines import docker_run, need

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

IMAGE = "docker.io/library/skel:latest"
SERVICE = "podman system service --time 0 </dev/null >>/var/log/podman.log 2>&1 & echo $!"


@pytest.fixture(scope="module")
def h1() -> Iterator[Host]:
    """A host with the networks `blue`, `red`, and `usual` for every container that says nothing."""
    need("docker", "podman")
    with Lab.up(lab_name("auto"), 1, bare=True, engines=("docker", "podman")) as lab:
        host = lab.host("h1")
        (host.root / "etc/wefted").mkdir(exist_ok=True)
        (host.root / "etc/wefted/wefted.toml").write_text('auto_network = "usual"\n')
        wefted(host, "up")
        for number, name in enumerate(("blue", "red", "usual")):
            wefted(host, "network", "create", name, "--subnet", f"10.{70 + number}.0.0/16")
        yield host


@pytest.fixture(autouse=True)
def no_containers(h1: Host) -> Iterator[None]:
    yield
    for engine in ("docker", "podman"):
        for identifier in h1.run([engine, "ps", "-aq"]).stdout.split():
            h1.run([engine, "rm", "-f", identifier])
    wait_for(lambda: wefted(h1, "ps") == [], 15, "the end of all endpoints")


def rows(host: Host, container: str) -> dict[str, Any]:
    return {row["network"]: row for row in wefted(host, "ps") if row["container"] == container}


def up_in(host: Host, container: str) -> set[str]:
    return {network for network, row in rows(host, container).items() if row["state"] == "up"}


def inside(host: Host, engine: str, name: str) -> set[str]:
    """Return the IPv4 addresses that a container sees, without Docker's, podman's and the loopback."""
    shown = json.loads(host.run([engine, "exec", name, "/usr/sbin/ip", "-j", "addr"]).stdout)
    found = {a["local"] for link in shown for a in link["addr_info"] if a["family"] == "inet"}
    return {address for address in found if address.startswith("10.7")}


def test_a_label_of_docker(h1: Host) -> None:
    docker_run(h1, "web1", "--label", "wefted.network=blue,red", "--label", "wefted.ip=10.70.0.44")
    wait_for(lambda: up_in(h1, "docker:web1") == {"blue", "red"}, 10, "both networks")
    before = {network: row["addresses"] for network, row in rows(h1, "docker:web1").items()}
    assert before["blue"] == ["10.70.0.44/16"]
    told = {address.partition("/")[0] for addresses in before.values() for address in addresses}
    assert inside(h1, "docker", "web1") == told
    h1.run(["docker", "stop", "web1"])
    wait_for(lambda: up_in(h1, "docker:web1") == set(), 10, "the end")
    assert set(rows(h1, "docker:web1")) == {"blue", "red"}
    h1.run(["docker", "start", "web1"])
    wait_for(lambda: up_in(h1, "docker:web1") == {"blue", "red"}, 10, "both networks again")
    assert inside(h1, "docker", "web1") == told
    h1.run(["docker", "rm", "-f", "web1"])
    wait_for(lambda: rows(h1, "docker:web1") == {}, 5, "the end of the endpoints with the container")


def test_the_network_of_those_that_say_nothing(h1: Host) -> None:
    docker_run(h1, "plain")
    docker_run(h1, "own", "--label", "wefted.network=")
    wait_for(lambda: up_in(h1, "docker:plain") == {"usual"}, 10, "the usual network")
    docker_run(h1, "later")
    wait_for(lambda: up_in(h1, "docker:later") == {"usual"}, 10, "the usual network of a later one")
    assert rows(h1, "docker:own") == {}


def test_the_hosts_own_namespace_is_never_touched(h1: Host) -> None:
    docker_run(h1, "shared", "--network", "host", "--label", "wefted.network=blue")
    docker_run(h1, "after", "--label", "wefted.network=red")
    wait_for(lambda: up_in(h1, "docker:after") == {"red"}, 10, "a container that was started after it")
    assert rows(h1, "docker:shared") == {}
    assert "weft0" not in h1.run(["ip", "-br", "link"]).stdout


def test_a_removal_that_nobody_saw(h1: Host) -> None:
    docker_run(h1, "web2", "--label", "wefted.network=blue")
    wait_for(lambda: up_in(h1, "docker:web2") == {"blue"}, 10, "the network")
    wefted(h1, "down")
    h1.run(["docker", "rm", "-f", "web2"])
    docker_run(h1, "web3", "--label", "wefted.network=red")
    wefted(h1, "up")
    wait_for(lambda: rows(h1, "docker:web2") == {}, 10, "the end of what was removed meanwhile")
    wait_for(lambda: up_in(h1, "docker:web3") == {"red"}, 10, "what was started meanwhile")


def test_podman_by_annotation_and_by_label(h1: Host) -> None:
    h1.run(["podman", "run", "-d", "--name", "pod1", "--annotation", "wefted.network=red", IMAGE])
    wait_for(lambda: up_in(h1, "podman:pod1") == {"red"}, 10, "the annotation's network")
    h1.run(["podman", "rm", "-f", "pod1"])
    wait_for(lambda: rows(h1, "podman:pod1") == {}, 10, "the end of the endpoint")
    pid = h1.run(["sh", "-c", SERVICE]).stdout.strip()
    try:
        wait_for((h1.root / "run/podman/podman.sock").exists, 10, "podman's service")
        h1.run(["podman", "run", "-d", "--name", "pod2", "--label", "wefted.network=blue", IMAGE])
        wait_for(lambda: up_in(h1, "podman:pod2") == {"blue"}, 10, "the label's network")
    finally:
        h1.run(["kill", pid])
