"""What the tests of `pipework` share: a virtual host with the command under its own name, and looking at links."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, wefted

BIN = "/run/classics"


@contextmanager
def lab_of_one(word: str, *, agent: bool = True) -> Iterator[Host]:
    """Bring up a host on which `pipework` is installed, and take it down."""
    with Lab.up(lab_name(word), 1, bare=not agent) as lab:
        host = lab.host("h1")
        host.run(["mkdir", "-p", BIN])
        assert f"{BIN}/pipework" in wefted(host, "compat", "install", BIN)["installed"]
        yield host


def pipework(host: Host, line: str, *, ns: str = "") -> subprocess.CompletedProcess[str]:
    """Run `pipework` with words as a shell would split them; `ns` runs it inside a named namespace."""
    inside = ["ip", "netns", "exec", ns] if ns else []
    return host.run([*inside, f"{BIN}/pipework", *line.split()], check=False)


def done(host: Host, line: str) -> None:
    """Run `pipework`, which must succeed silently."""
    result = pipework(host, line)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", ""), line


def link(host: Host, name: str, ns: str = "") -> dict[str, Any]:
    """Return what `ip -d addr` says of a link; empty where there is none."""
    where = ["-n", ns] if ns else []
    shown = host.run(["ip", *where, "-d", "-j", "addr", "show", "dev", name], check=False)
    found: list[dict[str, Any]] = json.loads(shown.stdout) if shown.returncode == 0 else []
    return found[0] if found else {}


def addresses(host: Host, ns: str, name: str = "eth1") -> list[str]:
    """Return the addresses of a container's interface that are not link-local."""
    infos = link(host, name, ns).get("addr_info", [])
    return [f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"]


def default_routes(host: Host, ns: str, family: str = "-4") -> list[tuple[str, str]]:
    """Return gateway and interface of a container's default routes, the one that is used first."""
    shown = host.run(["ip", family, "-j", "-n", ns, "route", "show", "default"]).stdout
    return [(route.get("gateway", ""), route["dev"]) for route in json.loads(shown or "[]")]


def everything(host: Host, *containers: str) -> str:
    """Return all that an attach could change, as text: links, addresses, routes, firewall, namespaces, records."""
    inside = "; ".join(f"ip -n {name} addr; ip -n {name} route; ip -n {name} -6 route" for name in containers)
    shown = host.run(["sh", "-c", f"ip addr; ip route; ls /run/netns; nft list ruleset; {inside}"]).stdout
    return f"{shown.replace(' tentative', '')}{wefted(host, 'network', 'ls')}{wefted(host, 'ps')}"


def running(host: Host, *names: str) -> None:
    """Make containers whose loopback is up, as that of every container that runs is."""
    for name in names:
        container(host, name)
        host.run(["ip", "-n", name, "link", "set", "lo", "up"])


def lan_port(host: Host, name: str) -> None:
    """Give the host a further interface: one end of a cable whose other end is in the namespace NAME-lan, with 10.0.0.1."""
    for words in (
        f"netns add {name}-lan",
        f"link add {name} type veth peer name lan0 netns {name}-lan",
        f"link set {name} up",
        f"-n {name}-lan addr add 10.0.0.1/24 dev lan0",
        f"-n {name}-lan link set lan0 up",
    ):
        host.run(["ip", *words.split()])
