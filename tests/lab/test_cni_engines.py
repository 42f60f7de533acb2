"""podman, containerd and Docker attach their containers to our networks: by CNI, by the hook, by the runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import lab_name, wait_for, wefted
from .engines import TOOLS, need
from .test_cni import need_program

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

IMAGE = "docker.io/library/skel:latest"
SHOW = ("ip", "-o", "-4", "addr", "show", "scope", "global")
MANY = 50
SETTINGS = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
hooks_dir = ["/etc/containers/oci/hooks.d"]
[containers]
log_driver = "k8s-file"
[network]
network_backend = "cni"
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host with all engines, an agent, network blue, and what `wefted cni install` puts where the engines look."""
    need_program()
    need("podman", "containerd", "docker")
    with Lab.up(lab_name("cnieng"), 1, bare=True, engines=("podman", "containerd", "docker")) as lab:
        h1 = lab.host("h1")
        wefted(h1, "up")
        h1.run(["mount", "-t", "tmpfs", "none", "/opt"])
        (h1.root / "etc/containers/containers.conf").write_text(SETTINGS)
        wefted(h1, "cni", "install", "--hooks", "--hook-file", "/etc/containers/oci/hooks.d/wefted.json")
        (h1.root / "etc/docker").mkdir(exist_ok=True)
        runtimes = {"runtimes": {"wefted": {"path": "/opt/cni/bin/wefted-runc"}}}
        (h1.root / "etc/docker/daemon.json").write_text(json.dumps(runtimes))
        h1.run(["pkill", "-HUP", "-x", "dockerd"])
        listed = ["docker", "info", "--format", "{{json .Runtimes}}"]
        wait_for(lambda: "wefted" in json.loads(h1.run(listed).stdout), 10, "Docker's new runtime")
        wefted(h1, "network", "create", "blue", "--subnet", "10.66.0.0/16")
        yield h1


def addresses(text: str) -> dict[str, str]:
    """Return interface -> address, of what `SHOW` prints."""
    return {words[1]: words[3] for line in text.splitlines() if (words := line.split())}


def shown(host: Host, words: Sequence[str]) -> dict[str, str]:
    return addresses(host.run([*words, *SHOW]).stdout)


def empty(host: Host) -> bool:
    return wefted(host, "ps") == []


class TestPodman:
    """By CNI and by the hook."""

    def test_run(self, host):
        found = shown(host, ["podman", "run", "--rm", "--network", "wefted", IMAGE])
        assert list(found) == ["eth0"]
        wait_for(lambda: empty(host), 5, "the end of the endpoint")

    def test_ports_names_and_addresses(self, host):
        run = ["podman", "run", "-d", "--network", "wefted:ip=10.64.0.99", "--name", "web", "-p", "8081:80", *TOOLS, IMAGE]
        host.run([*run, "python3", "-m", "http.server", "80"])
        row = wefted(host, "ps")[0]
        assert row["addresses"] == ["10.64.0.99/16"]
        assert "web" in row["aliases"]
        assert [(p["host_port"], p["port"]) for p in row["ports"]] == [(8081, 80)]
        fetch = ["busybox", "wget", "-q", "-O", "-", f"http://{host.address}:8081/"]
        wait_for(lambda: "Directory listing" in host.run(fetch, check=False).stdout, 10, "the published port")
        look = ["podman", "run", "--rm", "--network", "wefted", IMAGE, "nslookup", "web.wefted.weft.internal"]
        wait_for(lambda: "10.64.0.99" in host.run(look, check=False).stdout, 10, "the name from another container")
        host.run(["podman", "restart", "web"])
        assert wefted(host, "ps")[0]["addresses"] == ["10.64.0.99/16"]
        host.run(["podman", "rm", "-f", "web"])
        assert empty(host)

    def test_the_hook_attaches_before_the_first_instruction(self, host):
        words = ["podman", "run", "--rm", "--network", "none", "--annotation", "wefted.network=blue"]
        found = shown(host, [*words, "--annotation", "wefted.ip=10.66.0.44", IMAGE])
        assert found == {"eth0": "10.66.0.44/16"}

    def test_the_hook_beside_podmans_own_network(self, host):
        words = ["podman", "run", "--rm", "--network", "podman", "--annotation", "wefted.network=blue", IMAGE]
        found = shown(host, words)
        assert found["eth0"].startswith("10.88.")
        assert found["eth1"].startswith("10.66.")

    def test_a_container_in_the_hosts_network_is_not_touched(self, host):
        wait_for(lambda: empty(host), 5, "the end of the containers before")
        before = host.run(["ip", "-o", "addr"]).stdout.count("10.66.")
        host.run(["podman", "run", "--rm", "--network", "host", "--annotation", "wefted.network=blue", IMAGE, "true"])
        assert empty(host)
        assert host.run(["ip", "-o", "addr"]).stdout.count("10.66.") == before

    def test_a_network_that_does_not_exist_is_told(self, host):
        words = ["podman", "run", "--rm", "--network", "none", "--annotation", "wefted.network=nosuch", IMAGE, "true"]
        assert "wefted-oci-hook" in host.run(words, check=False).stderr


class TestContainerd:
    """`ctr run --cni`."""

    def test_run(self, host):
        found = shown(host, ["ctr", "run", "--rm", "--cni", IMAGE, "plain"])
        assert list(found) == ["eth0"]
        wait_for(lambda: empty(host), 5, "the end of the endpoint")


class TestDocker:
    """A runtime beside runc; the networks stand in labels."""

    def test_a_label(self, host):
        words = ["docker", "run", "--rm", "--runtime", "wefted", "--label", "wefted.network=blue", "skel"]
        found = shown(host, words)
        assert {name: ip.split(".")[0] for name, ip in found.items()} == {"eth0": "172", "eth1": "10"}

    def test_no_network_of_dockers(self, host):
        words = ["docker", "run", "--rm", "--runtime", "wefted", "--network", "none", "-e", "WEFTED_NETWORK=blue", "skel"]
        assert list(shown(host, words)) == ["eth0"]

    def test_without_a_word_nothing_happens(self, host):
        assert list(shown(host, ["docker", "run", "--rm", "--runtime", "wefted", "skel"])) == ["eth0"]

    def test_what_fails_leaves_no_container(self, host):
        words = ["docker", "run", "--runtime", "wefted", "--label", "wefted.network=nosuch", "--name", "bad", "skel", "true"]
        assert host.run(words, check=False).returncode == 125
        assert host.run(["runc", "--root", "/run/docker/runtime-runc/moby", "list", "-q"], check=False).stdout == ""
        host.run(["docker", "rm", "bad"])


@pytest.mark.parametrize(
    "words",
    [["--network", "wefted"], ["--network", "none", "--annotation", "wefted.network=blue"]],
    ids=["cni", "hook"],
)
def test_fifty_of_fifty_find_their_interface_with_their_first_instruction(host: Host, words: list[str]) -> None:
    run = ["podman", "run", "--rm", *words, IMAGE, "ip", "addr", "show", "dev", "eth0"]

    def one(_: int) -> tuple[int, str]:
        for _ in range(3):
            done = host.run(run, check=False)
            if done.returncode or done.stdout:
                break  # now and then podman loses what a container says that ends at once
        return done.returncode, done.stdout or done.stderr

    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(one, range(MANY)))
    assert [said for code, said in found if code or "inet 10.6" not in said] == []
    wait_for(lambda: empty(host), 10, "all endpoints to go")
