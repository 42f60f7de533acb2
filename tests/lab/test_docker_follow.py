"""A network that was attached by hand follows its container: over restarts of container, engine and host, and a new name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wefted.lab import engines
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import wefted
from .engines import docker_run, lab_with

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

IMAGE = "docker.io/library/skel:latest"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One host with every engine and an agent; the network `blue`."""
    for lab in lab_with("containerd", "docker", "podman"):
        wefted(lab.host("h1"), "network", "create", "blue", "--subnet", "10.20.0.0/16")
        yield lab


@pytest.fixture
def h1(lab: Lab) -> Host:
    return lab.host("h1")


def rows(host: Host, container: str) -> list[dict[str, Any]]:
    return [row for row in wefted(host, "ps") if row["container"] == container]


def seen_inside(host: Host, command: str, name: str, ifname: str) -> list[str]:
    """Return MAC and IPv4 address of an interface as a container sees it; nothing while that does not run, or has none."""
    show = ["ip", "-j", "address", "show", ifname]
    done = host.run([command, "exec", name, *show], check=False)
    if done.returncode:
        return []
    link = json.loads(done.stdout)[0]
    return [link["address"], *(a["local"] for a in link["addr_info"] if a["family"] == "inet")]


def ready(host: Host, container: str) -> bool:
    """Whether all endpoints of a container are attached."""
    found = rows(host, container)
    return bool(found) and all(row["state"] == "up" for row in found)


def within(seconds: float, condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class TestDocker:
    """Docker's containers."""

    @pytest.fixture
    def web(self, lab: Lab, h1: Host, request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
        """A container in the network, and what it sees of it."""
        name = request.node.name.removeprefix("test_")[:40]
        docker_run(h1, name)
        row = wefted(h1, "network", "connect", "blue", name, "--ifname", "net0")[0]
        assert row["container"] == f"docker:{name}"
        seen = seen_inside(h1, "docker", name, "net0")
        assert seen == [row["mac"], row["addresses"][0].partition("/")[0]]
        yield name, seen
        h1 = lab.host("h1")  # it may have been booted
        h1.run(["docker", "rm", "-f", name], check=False)
        for left in [row for row in wefted(h1, "ps") if name in row["container"]]:
            wefted(h1, "network", "disconnect", left["network"], left["container"])

    def test_restart(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["docker", "restart", name])
        within(1.0, lambda: seen_inside(h1, "docker", name, "net0") == seen, "the same address and MAC")

    def test_kill_and_start(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["docker", "kill", name])
        within(2.0, lambda: [row["state"] for row in rows(h1, f"docker:{name}")] == ["down"], "the endpoint is down")
        h1.run(["docker", "start", name])
        within(1.0, lambda: seen_inside(h1, "docker", name, "net0") == seen, "the same address and MAC")

    def test_made_anew_under_the_same_name(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["docker", "rm", "-f", name])
        docker_run(h1, name)
        within(1.0, lambda: seen_inside(h1, "docker", name, "net0") == seen, "the same address and MAC")

    def test_restart_of_the_engine(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["docker", "update", "--restart", "always", name])
        h1.run(["pkill", "-9", "-x", "dockerd"])
        assert wefted(h1, "ps"), "the agent goes on"
        h1.run(["sh", "-c", "dockerd </dev/null >>/var/log/dockerd.log 2>&1 &"])
        engines.wait(h1, ["docker"], time.monotonic() + 60)
        running = ["docker", "inspect", "--format", "{{.State.Running}}", name]
        within(30, lambda: h1.run(running, check=False).stdout == "true\n", "the engine has started it again")
        within(1.5, lambda: seen_inside(h1, "docker", name, "net0") == seen, "the same address and MAC")

    def test_a_stop_of_the_engine_leaves_the_record(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["pkill", "-TERM", "-x", "dockerd"])
        within(30, lambda: not (h1.root / "run/docker.sock").exists(), "its socket has gone")
        within(30, lambda: h1.run(["pgrep", "-x", "dockerd"], check=False).returncode != 0, "the engine has gone")
        within(2.0, lambda: [row["state"] for row in rows(h1, f"docker:{name}")] == ["down"], "the endpoint is down")
        refused = wefted(h1, "network", "connect", "blue", f"docker:{name}", check=False)
        assert refused.returncode == 2
        assert "no docker engine runs on this host" in refused.stderr
        h1.run(["sh", "-c", "dockerd </dev/null >>/var/log/dockerd.log 2>&1 &"])
        engines.wait(h1, ["docker"], time.monotonic() + 60)
        h1.run(["docker", "start", name])
        within(1.0, lambda: seen_inside(h1, "docker", name, "net0") == seen, "the same address and MAC")

    def test_rename(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        before = h1.run(["ip", "-j", "link"]).stdout
        h1.run(["docker", "rename", name, f"{name}-new"])
        within(1.0, lambda: ready(h1, f"docker:{name}-new"), "the endpoint has the new name")
        assert rows(h1, f"docker:{name}") == []
        assert h1.run(["ip", "-j", "link"]).stdout == before, "no link was touched"
        assert seen_inside(h1, "docker", f"{name}-new", "net0") == seen
        docker_run(h1, name)
        other = wefted(h1, "network", "connect", "blue", name)[0]
        assert other["addresses"] != rows(h1, f"docker:{name}-new")[0]["addresses"]
        h1.run(["docker", "restart", f"{name}-new"])
        within(1.0, lambda: seen_inside(h1, "docker", f"{name}-new", "net0") == seen, "the same address and MAC")
        h1.run(["docker", "rm", "-f", f"{name}-new"])

    def test_rename_while_no_agent_runs(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["wefted", "down"])
        h1.run(["docker", "rename", name, f"{name}-new"])
        h1.run(["wefted", "up"])
        within(2.0, lambda: ready(h1, f"docker:{name}-new"), "the endpoint has the new name")
        assert seen_inside(h1, "docker", f"{name}-new", "net0") == seen
        h1.run(["docker", "rm", "-f", f"{name}-new"])

    def test_names_resolve_in_it_and_its_resolver_is_given_back(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        docker_run(h1, "asks")
        path = h1.root / h1.run(["docker", "inspect", "--format", "{{.ResolvConfPath}}", "asks"]).stdout.strip().lstrip("/")
        before = path.read_text()
        row = wefted(h1, "network", "connect", "blue", "asks")[0]
        ask = ["docker", "exec", "asks", "getent", "ahostsv4", f"{name}.blue"]
        within(2.0, lambda: seen[1] in h1.run(ask, check=False).stdout, "the name")
        assert f"nameserver {row['gateways'][0]}\n" in path.read_text()
        h1.run(["docker", "restart", "asks"])
        within(2.0, lambda: seen[1] in h1.run(ask, check=False).stdout, "the name, after a restart")
        wefted(h1, "network", "disconnect", "blue", "asks")
        within(2.0, lambda: path.read_text() == before, "Docker's own file")
        h1.run(["docker", "rm", "-f", "asks"])

    def test_dockers_own_names_go_first_where_it_has_some(self, h1: Host, web: tuple[str, list[str]]) -> None:
        h1.run(["docker", "network", "create", "apps"])
        docker_run(h1, "inapps", "--net", "apps")
        path = h1.root / h1.run(["docker", "inspect", "--format", "{{.ResolvConfPath}}", "inapps"]).stdout.strip().lstrip("/")
        before = path.read_text()
        assert "127.0.0.11" in before
        wefted(h1, "network", "connect", "blue", "inapps")
        within(2.0, lambda: wefted(h1, "dns", "lookup", "inapps", check=False).returncode == 0, "its name")
        assert path.read_text() == before
        h1.run(["docker", "rm", "-f", "inapps"])
        h1.run(["docker", "network", "rm", "apps"])
        wefted(h1, "network", "disconnect", "blue", "docker:inapps")

    def test_docker_can_attach_it_too(self, h1: Host, web: tuple[str, list[str]]) -> None:
        """Docker calls its interfaces eth0, eth1, ...: ours have other names."""
        docker_run(h1, "busy")
        assert wefted(h1, "network", "connect", "blue", "busy")[0]["ifname"] == "weft0"
        h1.run(["docker", "network", "create", "more"])
        h1.run(["docker", "network", "connect", "more", "busy"])
        h1.run(["docker", "restart", "busy"])
        within(2.0, lambda: ready(h1, "docker:busy") and bool(seen_inside(h1, "docker", "busy", "weft0")), "all of them")
        assert seen_inside(h1, "docker", "busy", "eth1")
        h1.run(["docker", "rm", "-f", "busy"])
        h1.run(["docker", "network", "rm", "more"])
        wefted(h1, "network", "disconnect", "blue", "docker:busy")

    def test_a_container_in_the_hosts_network_is_refused(self, h1: Host) -> None:
        docker_run(h1, "open", "--net", "host")
        before = h1.run(["ip", "-j", "address"]).stdout
        refused = wefted(h1, "network", "connect", "blue", "docker:open", check=False)
        assert refused.returncode == 2
        assert "shares the host's network" in refused.stderr
        assert h1.run(["ip", "-j", "address"]).stdout == before
        h1.run(["docker", "rm", "-f", "open"])

    def test_what_shares_a_network_is_attached_once(self, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        docker_run(h1, "side", "--net", f"container:{name}")
        row = wefted(h1, "network", "connect", "blue", "docker:side")[0]
        assert row["container"] == f"docker:{name}"
        assert seen_inside(h1, "docker", "side", "net0") == seen
        pid = h1.run(["docker", "inspect", "--format", "{{.State.Pid}}", "side"]).stdout.strip()
        refused = wefted(h1, "network", "connect", "blue", f"pid:{pid}", check=False)
        assert refused.returncode == 2
        assert f"lives in the namespace of docker:{name}" in refused.stderr
        h1.run(["docker", "rm", "-f", "side"])

    def test_by_id_and_by_label(self, h1: Host) -> None:
        made = docker_run(h1, "tagged", "--label", "app=shop")
        assert wefted(h1, "network", "connect", "blue", made[:12])[0]["container"] == "docker:tagged"
        assert wefted(h1, "network", "connect", "blue", "docker:app=shop")[0]["container"] == "docker:tagged"
        h1.run(["docker", "rm", "-f", "tagged"])
        wefted(h1, "network", "disconnect", "blue", "docker:tagged")

    def test_the_host_is_rebooted(self, lab: Lab, h1: Host, web: tuple[str, list[str]]) -> None:
        name, seen = web
        h1.run(["docker", "update", "--restart", "always", name])
        lab.poweroff("h1")
        lab.boot("h1")
        h1 = lab.host("h1")
        within(30, lambda: ready(h1, f"docker:{name}"), "the endpoint is up")
        assert seen_inside(h1, "docker", name, "net0") == seen


class TestOthers:
    """podman and containerd."""

    def test_podman_restart_rename_and_recreation(self, h1: Host) -> None:
        tools = ("-v", "/usr:/usr:ro", "-v", "/etc/alternatives:/etc/alternatives:ro")
        h1.run(["podman", "run", "-d", "--name", "pod1", *tools, "skel"])
        assert wefted(h1, "network", "connect", "blue", "pod1", "--ifname", "net0")[0]["container"] == "podman:pod1"
        seen = seen_inside(h1, "podman", "pod1", "net0")
        assert len(seen) == 2
        h1.run(["podman", "restart", "-t", "0", "pod1"])
        within(1.5, lambda: seen_inside(h1, "podman", "pod1", "net0") == seen, "the same address and MAC")
        h1.run(["podman", "rename", "pod1", "pod2"])
        within(1.0, lambda: ready(h1, "podman:pod2"), "the endpoint has the new name")
        h1.run(["podman", "kill", "pod2"])
        within(2.0, lambda: not ready(h1, "podman:pod2"), "the endpoint is down")
        h1.run(["podman", "start", "pod2"])
        within(1.5, lambda: seen_inside(h1, "podman", "pod2", "net0") == seen, "the same address and MAC")
        h1.run(["podman", "rm", "-f", "pod2"])
        wefted(h1, "network", "disconnect", "blue", "podman:pod2")

    def test_a_pod_has_one_network(self, h1: Host) -> None:
        h1.run(["podman", "pod", "create", "--name", "both", "--infra-image", IMAGE, "--infra-command", "sleep infinity"])
        for name in ("left", "right"):
            h1.run(["podman", "run", "-d", "--pod", "both", "--name", name, "skel"])
        first = wefted(h1, "network", "connect", "blue", "podman:left")[0]
        assert wefted(h1, "network", "connect", "blue", "podman:right")[0]["id"] == first["id"]
        h1.run(["podman", "pod", "rm", "-f", "both"])
        wefted(h1, "network", "disconnect", "blue", first["container"])

    def test_containerd_task_anew(self, h1: Host) -> None:
        h1.run(["ctr", "run", "-d", IMAGE, "plain"])
        row = wefted(h1, "network", "connect", "blue", "containerd:plain")[0]
        addresses = ["ctr", "task", "exec", "--exec-id", "x", "plain", "ip", "-o", "address"]
        assert row["addresses"][0] in h1.run(addresses).stdout
        h1.run(["ctr", "task", "rm", "--force", "plain"])
        within(2.0, lambda: not ready(h1, "containerd:plain"), "the endpoint is down")
        h1.run(["ctr", "task", "start", "-d", "plain"])
        within(1.5, lambda: ready(h1, "containerd:plain"), "the endpoint is up")
        assert row["addresses"][0] in h1.run(addresses).stdout
        h1.run(["ctr", "task", "rm", "--force", "plain"])
        wefted(h1, "network", "disconnect", "blue", "containerd:plain")
