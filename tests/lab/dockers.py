"""What the tests of Docker's plugin share: two hosts with a real dockerd each, a third one outside, and Docker's words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from wefted.lab import engines
from wefted.lab.document import parse
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import lab_name, wait_for, wefted
from .engines import docker_run, need

CREATE = ("docker", "network", "create", "-d", "wefted", "--ipam-driver", "wefted")
IN_BACKGROUND = '"$@" </dev/null >>/var/log/background.log 2>&1 &'
HOSTS = "hosts: {h1: {engines: docker}, h2: {engines: docker}, h3: }"
SERVE = "mkdir -p /tmp/w; cd /tmp/w; echo hello from $(hostname) >index.html; exec python3 -m http.server 80"


def in_background(host: Host, *words: str) -> None:
    """Start a program as the host's service manager would."""
    host.run(["sh", "-c", IN_BACKGROUND, "sh", *words], cwd="/")


def create(lab: Lab, name: str, *options: str, hosts: tuple[str, ...] = ("h1", "h2")) -> None:
    """Make a network on each host: the first of them has the first blocks, and so the addresses that a test chooses."""
    first, *others = map(lab.host, hosts)
    first.run([*CREATE, *options, name])
    if others:
        wait_for(lambda: _has_blocks(first, name), 10, f"{first.name} has its blocks of {name}")
    for host in others:
        host.run([*CREATE, *options, name])


def _has_blocks(host: Host, name: str) -> bool:
    found = next((row for row in wefted(host, "network", "ls") if row["name"] == name), None)
    return found is not None and len(found["blocks"]) == len(found["subnets"])


def run(host: Host, name: str, network: str, *words: str, command: tuple[str, ...] = ()) -> None:
    docker_run(host, name, "--network", network, *words, command=command)


def inside(host: Host, name: str, *words: str, check: bool = True) -> Any:
    return host.run(["docker", "exec", name, *words], check=check)


def pings(host: Host, name: str, target: str) -> bool:
    return inside(host, name, "ping", "-c1", "-W2", target, check=False).returncode == 0


def seen_by_docker(host: Host, name: str, network: str) -> tuple[str, str]:
    """Return the address and the MAC that Docker believes in."""
    found = json.loads(host.run(["docker", "inspect", name, "-f", "{{json .NetworkSettings.Networks}}"]).stdout)[network]
    return found["IPAddress"], found["MacAddress"]


def addresses_inside(host: Host, name: str) -> list[str]:
    """Return the addresses of eth0 as the container's kernel has them."""
    shown = json.loads(inside(host, name, "/usr/sbin/ip", "-j", "addr", "show", "dev", "eth0").stdout)
    return [f"{a['local']}" for a in shown[0]["addr_info"] if a["scope"] == "global"]


def rows(host: Host, network: str = "") -> list[dict[str, Any]]:
    return [row for row in wefted(host, "ps") if network in ("", row["network"]) and row["host"] == host.name]


def remove(lab: Lab, network: str) -> None:
    """Remove all containers of both hosts, and the network."""
    for host in (lab.host("h1"), lab.host("h2")):
        containers = host.run(["docker", "ps", "-aq"]).stdout.split()
        if containers:
            host.run(["docker", "rm", "-f", *containers])
        done = host.run(["docker", "network", "rm", network], check=False)
        assert done.returncode == 0 or f"network {network} not found" in done.stderr, done.stderr


def links(host: Host) -> list[str]:
    shown = json.loads(host.run(["ip", "-j", "link"]).stdout)
    return sorted(link["ifname"] for link in shown if link["ifname"][:3] in ("ve-", "vd-", "br-", "vx-"))


def restart_dockerd(host: Host, signal: str = "-9") -> float:
    """End a host's dockerd, start it again, and return how many seconds that took until it answered."""
    host.run(["pkill", signal, "-x", "dockerd"])
    wait_for(lambda: host.run(["pgrep", "-x", "dockerd"], check=False).returncode != 0, 30, "the end of dockerd")
    begun = time.monotonic()
    in_background(host, "dockerd")
    engines.wait(host, ["docker"], begun + 60)
    return time.monotonic() - begun


def two_dockers() -> Iterator[Lab]:
    """Two hosts with Docker and the relay that packaging starts before Docker, and a third one without."""
    need("docker")
    with Lab.up(lab_name("plugin"), parse(HOSTS, store=True)) as made:
        for name in ("h1", "h2"):
            in_background(made.host(name), "wefted", "docker", "relay")
            wait_for((made.host(name).root / "run/docker/plugins/wefted.sock").exists, 5, "the relay's socket")
        yield made


def a_network(lab: Lab) -> Iterator[str]:
    """A network over both hosts, on vxlan, gone at the end with everything in it."""
    create(lab, "net1", "-o", "backend=vxlan")
    yield "net1"
    remove(lab, "net1")
    for name in ("h1", "h2"):
        host = lab.host(name)
        wait_for(lambda h=host: links(h) == [], 15, f"links that are left on {name}", lambda h=host: links(h))  # type: ignore[misc]
        assert rows(host) == []
