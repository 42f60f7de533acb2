"""The commands as a person types them on a host that is a network namespace, with containers that are namespaces too."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def alive(pid: int) -> bool:
    """Tell whether a process still runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Host:
    """A host of its own: a namespace, a state directory, and bare namespaces as its containers."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.ns = f"wft-{mark}"
        self.containers = [f"wft-{mark}-c{n}" for n in (1, 2)]
        self.disk = Path(tempfile.mkdtemp(prefix="wefted-"))
        for ns in (self.ns, *self.containers):
            ip("netns", "add", ns)
            ip("-n", ns, "link", "set", "lo", "up")

    def close(self) -> None:
        self.run("down")
        for ns in (self.ns, *self.containers):
            ip("netns", "del", ns)
        shutil.rmtree(self.disk)

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        places = {"STATE_DIR": "wefted", "RUNTIME_DIR": "run", "CONFIG": "wefted.toml"}
        environment = os.environ | {f"WEFTED_{name}": str(self.disk / path) for name, path in places.items()}
        command = ["ip", "netns", "exec", self.ns, sys.executable, "-m", "wefted.cli.main", *words]
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60)

    def json(self, *words: str, stdin: str = "") -> Any:
        done = self.run(*words, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ping(self, source: int, address: str) -> bool:
        command = ["ip", "netns", "exec", self.containers[source], "ping", "-c1", "-W2", address]
        return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0

    def snapshot(self) -> str:
        """Return what stands in the host's kernel: links, addresses, routes, firewall."""
        nft = subprocess.run(["ip", "netns", "exec", self.ns, "nft", "list", "ruleset"], capture_output=True, text=True)
        parts = [ip("-n", self.ns, *words.split()) for words in ("-br link", "-br addr", "route", "-6 route", "rule")]
        return "\n".join([*parts, nft.stdout])


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture(params=[False, True], ids=["one-shot", "agent"])
def served(host: Host, request: pytest.FixtureRequest) -> Host:
    """The same host without an agent and with one: the commands must not differ."""
    if request.param:
        assert host.json("up")["agent"]["running"]
    return host


def test_containers_are_attached_reached_and_detached(served: Host) -> None:
    names = [f"netns:{name}" for name in served.containers]
    assert served.json("network", "create", "blue", "--subnet", "10.77.0.0/24")["name"] == "blue"
    endpoints = served.json("network", "connect", "blue", "-", stdin="\n".join(names))
    assert [(e["container"], e["state"]) for e in endpoints] == [(name, "up") for name in names]
    assert served.ping(0, endpoints[1]["addresses"][0].partition("/")[0])
    assert [e["container"] for e in served.json("ps")] == sorted(names)
    assert served.run("plan").stdout == "nothing to do\n"
    assert served.json("network", "disconnect", "blue", *names) == {"disconnected": names}
    assert served.json("network", "rm", "blue") == {"removed": ["blue"]}
    assert served.json("network", "ls") == []


def test_what_is_wrong_is_told_and_changes_nothing(served: Host) -> None:
    before = served.snapshot()
    for words in (["network", "inspect", "nope"], ["network", "connect", "nope", "netns:c"], ["network", "create", "x;y"]):
        done = served.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("wefted: ")
    assert served.snapshot() == before


def test_plan_shows_what_apply_repairs(host: Host) -> None:
    host.json("network", "create", "blue")
    host.json("network", "connect", "blue", f"netns:{host.containers[0]}")
    bridge = host.json("network", "inspect", "blue")[0]["link"]
    ip("-n", host.ns, "link", "del", bridge)
    assert bridge in host.run("plan").stdout
    assert bridge not in ip("-n", host.ns, "-br", "link")
    assert host.run("apply").returncode == 0
    assert bridge in ip("-n", host.ns, "-br", "link")
    assert host.json("plan") == {"changes": []}


def test_containers_keep_their_network_without_the_agent(host: Host) -> None:
    pid = host.json("up")["agent"]["pid"]
    host.json("network", "create", "blue")
    endpoints = host.json("network", "connect", "blue", *(f"netns:{name}" for name in host.containers))
    assert host.json("down") == {"agent": {"running": False, "pid": None}, "stopped": pid}
    assert not alive(pid)
    assert host.ping(0, endpoints[1]["addresses"][0].partition("/")[0])
    assert host.json("status")["agent"] == {"running": False, "pid": None, "uptime": 0}


def test_uninstall_leaves_the_host_as_it_was(host: Host) -> None:
    before = host.snapshot()
    host.json("up")
    host.json("network", "create", "blue")
    host.json("network", "connect", "blue", f"netns:{host.containers[0]}", "--publish", "8080:80")
    during = host.snapshot()
    assert during != before
    assert str(host.disk / "wefted") in host.json("uninstall", "--plan")["paths"]
    assert host.snapshot() == during
    assert host.json("uninstall", "--yes")["changes"]
    assert host.snapshot() == before
    assert list(host.disk.iterdir()) == []
