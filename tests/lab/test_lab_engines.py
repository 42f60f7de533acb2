"""Hosts with container engines of their own: real ones, up quickly, kept over a boot, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab import engines, state
from wefted.lab.document import parse
from wefted.lab.engines import ENGINES
from wefted.lab.lab import Lab

from .engines import docker_run, lab_with, need
from .labs import a_name, reaches, traces, until, wefted

pytestmark = [pytest.mark.lab]


@pytest.fixture
def name() -> Iterator[str]:
    yield from a_name()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """One bare host with every engine."""
    yield from lab_with(*ENGINES, bare=True)


class TestEngines:
    """What the engines of a host can do."""

    def test_docker_runs_containers_with_the_machines_programs(self, shared):
        h1 = shared.host("h1")
        docker_run(h1, "tools")
        assert h1.run(["docker", "exec", "tools", "python3", "-c", "print(6 * 7)"]).stdout == "42\n"

    def test_its_image_has_a_busybox_and_ends_at_once(self, shared):
        h1 = shared.host("h1")
        h1.run(["docker", "run", "-d", "--name", "bb", "skel"])
        assert "192.168.50.1" in h1.run(["docker", "exec", "bb", "ping", "-c1", "-w2", "192.168.50.1"]).stdout
        start = time.monotonic()
        h1.run(["docker", "rm", "-f", "bb"])
        assert time.monotonic() - start < 5

    def test_limits_work_and_stay_below_the_hosts_own_group(self, shared):
        h1 = shared.host("h1")
        made = h1.run(["docker", "run", "-d", "--name", "small", "-m", "64m", "skel"]).stdout.strip()
        # `find` goes on where groups of others go away meanwhile.
        find = ["find", "/sys/fs/cgroup", "-type", "d", "-name", f"*{made}*"]
        groups = [Path(line) for line in subprocess.run(find, capture_output=True, text=True).stdout.splitlines()]
        assert groups
        assert all(f"wefted-lab.{shared.name}/h1/" in str(group) for group in groups)
        limits = [
            file.read_text().strip() for g in groups for file in (*g.glob("memory.limit_in_bytes"), *g.glob("memory.max"))
        ]
        assert limits == [str(64 << 20)]

    def test_podman(self, shared):
        run = shared.host("h1").run
        run(["podman", "run", "-d", "--name", "pod1", "skel"])
        assert run(["podman", "exec", "pod1", "cat", "/sys/class/net/eth0/carrier"]).stdout == "1\n"
        run(["podman", "rm", "-f", "pod1"])

    def test_containerd(self, shared):
        run = shared.host("h1").run
        run(["ctr", "run", "-d", "docker.io/library/skel:latest", "plain"])
        assert "RUNNING" in run(["ctr", "task", "ls"]).stdout
        assert run(["ctr", "task", "exec", "--exec-id", "x", "plain", "ls", "/sys/class/net"]).stdout == "lo\n"

    def test_a_containerd_that_runs_is_dockers_too(self, shared):
        assert "moby" in shared.host("h1").run(["ctr", "namespaces", "ls", "-q"]).stdout.split()

    def test_a_daemon_that_was_killed_starts_again_without_flags(self, shared):
        h1 = shared.host("h1")
        docker_run(h1, "steady", "--restart", "always")
        h1.run(["pkill", "-9", "-x", "dockerd"])
        h1.run(["sh", "-c", "dockerd </dev/null >/dev/null 2>&1 &"])
        engines.wait(h1, ["docker"], time.monotonic() + 60)
        state_of = ["docker", "inspect", "--format", "{{.State.Running}}", "steady"]
        until(lambda: h1.run(state_of).stdout == "true\n", 30)


class TestLife:
    """Up, boot and down."""

    def test_two_hosts_with_docker_come_up_by_command(self, name):
        need("docker")
        start = time.monotonic()
        done = wefted("up", "--hosts", "2", "--docker", "--name", name)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - start < 12  # about 2 s on a quiet machine
        lab = Lab.open(name)
        for host in lab.hosts:
            docker_run(host, "web1")
        engine_ids = {host.run(["docker", "info", "--format", "{{.ID}}"]).stdout for host in lab.hosts}
        assert len(engine_ids) == 2
        assert reaches(lab, "h1", "192.168.50.2")
        assert wefted("down", "--name", name).returncode == 0
        assert traces(name) == []

    def test_a_boot_keeps_images_and_containers(self, name):
        need(*ENGINES)
        with Lab.up(name, 1, bare=True, engines=list(ENGINES)) as lab:
            docker_run(lab.host("h1"), "always", "--restart", "always")
            docker_run(lab.host("h1"), "never")
            lab.host("h1").run(["podman", "create", "--name", "pod", "skel"])
            lab.poweroff("h1")
            lab.boot("h1")
            h1 = lab.host("h1")
            listed = h1.run(["docker", "ps", "-a", "--format", "{{json .}}"]).stdout.splitlines()
            assert {json.loads(line)["Names"] for line in listed} == {"always", "never"}
            running = ["docker", "ps", "--format", "{{.Names}}"]
            until(lambda: h1.run(running).stdout == "always\n", 30)
            assert h1.run(["podman", "ps", "-a", "--format", "{{.Names}}"]).stdout == "pod\n"
        assert traces(name) == []

    def test_engines_of_a_file(self, name):
        need("docker", "podman")
        topology = parse("hosts: {a: {engines: docker}, b: {engines: podman}, c: }", store=False)
        with Lab.up(name, topology, bare=True) as lab:
            assert "skel" in lab.host("a").run(["docker", "images"]).stdout
            assert "skel" in lab.host("b").run(["podman", "images"]).stdout
            assert not (lab.host("c").root / "run/docker.sock").exists()

    def test_killed_inits_leave_no_control_group(self, name):
        need("docker")
        lab = Lab.up(name, 1, bare=True, engines=["docker"])
        docker_run(lab.host("h1"), "web1")
        for process in state.processes(name).values():
            os.kill(process.pid, signal.SIGKILL)
        Lab(name).down()
        assert traces(name) == []

    def test_what_is_not_installed_is_named_with_its_package(self, name, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        done = wefted("up", "--hosts", "1", "--bare", "--docker", "--name", name)
        assert done.returncode == 2
        assert "needs the command `ip`" in done.stderr
        monkeypatch.setattr(engines.shutil, "which", lambda program: None if program == "dockerd" else f"/usr/bin/{program}")
        with pytest.raises(Exception, match="docker is not installed here: there is no dockerd") as caught:
            Lab.up(name, 1, bare=True, engines=["docker"])
        assert "apt-get install --no-install-recommends docker.io" in caught.value.hint
        assert traces(name) == []
