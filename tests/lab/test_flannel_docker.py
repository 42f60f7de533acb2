"""Real dockerds of two hosts whose default bridges are in one network of flannel's: the last step of the classic texts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import lab_name, wait_for, wefted
from .engines import docker_run, need
from .flannel_lab import Etcd, env, up

pytestmark = pytest.mark.lab

PREFIX = "/coreos.com/network"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts with a dockerd each, whose docker0 have one and the same address, and an etcd beside the first."""
    need("docker")
    with Lab.up(lab_name("handover"), 2, bare=True, engines=("docker",)) as made:
        etcd = Etcd(made.host("h1"))
        etcd.start()
        etcd.configure(PREFIX)
        up(made, etcd, "h1", "h2")
        for host in made.hosts:
            # Docker drops what it does not know (its policy of FORWARD): what flannel's walk-throughs tell to type
            host.run(["iptables", "-P", "FORWARD", "ACCEPT"])
            wefted(host, "flannel", "join", "--masquerade")
            wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
        yield made


def docker0(host: Host) -> list[str]:
    """Return the IPv4 addresses of docker0."""
    (link,) = json.loads(host.run(["ip", "-j", "-4", "address", "show", "docker0"]).stdout)
    return [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]


def inside(host: Host, name: str, *words: str) -> int:
    """Run a program in a container; return its exit code."""
    return host.run(["docker", "exec", name, *words], check=False).returncode


def test_the_options_of_docker_stand_beside_the_environment_file(lab: Lab) -> None:
    for host in lab.hosts:
        subnet = env(host)["FLANNEL_SUBNET"]
        assert host.run(["cat", "/run/flannel/docker"]).stdout == (
            f'DOCKER_OPT_BIP="--bip={subnet}"\nDOCKER_OPT_IPMASQ="--ip-masq=false"\nDOCKER_OPT_MTU="--mtu=1450"\n'
            f'DOCKER_NETWORK_OPTIONS=" --bip={subnet} --ip-masq=false --mtu=1450"\n'
        )


def test_the_plan_changes_nothing(lab: Lab) -> None:
    h1 = lab.host("h1")
    before = docker0(h1)
    planned = wefted(h1, "flannel", "docker", "--plan")
    assert planned["docker0"] == f"docker0 has {before[0]}; it gets {env(h1)['FLANNEL_SUBNET']}"
    assert f'bip: "{env(h1)["FLANNEL_SUBNET"]}"' in planned["changes"]
    assert (planned["planned"], planned["configured"], planned["restart_needed"]) == (True, False, True)
    assert "docker network create --subnet" in planned["instead"]
    assert (docker0(h1), h1.run(["cat", "/etc/docker/daemon.json"], check=False).stdout) == (before, "")


def test_a_broken_file_is_left_as_it_is(lab: Lab) -> None:
    h1 = lab.host("h1")
    h1.run(["mkdir", "-p", "/etc/docker"])
    h1.run(["tee", "/etc/docker/daemon.json"], input='{"mtu": ')
    refused = wefted(h1, "flannel", "docker", "--restart", check=False)
    assert (refused.returncode, "/etc/docker/daemon.json is not JSON" in refused.stderr) == (2, True)
    assert h1.run(["cat", "/etc/docker/daemon.json"]).stdout == '{"mtu": '
    h1.run(["tee", "/etc/docker/daemon.json"], input='{"log-level": "warn"}')


def test_containers_of_two_dockerds_reach_each_other(lab: Lab) -> None:
    """ping and curl from docker0 to docker0, each in its host's subnet, with the addresses that they have."""
    h1 = lab.host("h1")
    pid = h1.run(["cat", "/run/docker.pid"]).stdout
    told = wefted(h1, "flannel", "docker")
    assert (told["configured"], told["restarted"], told["restart_needed"]) == (True, False, True)
    assert h1.run(["cat", "/run/docker.pid"]).stdout == pid, "nothing is restarted unasked"
    addresses = {}
    for host in lab.hosts:
        done = wefted(host, "flannel", "docker", "--restart")
        assert (done["restarted"], done["docker0_removed"], done["restart_needed"]) == (True, True, False)
        assert docker0(host) == [env(host)["FLANNEL_SUBNET"]]
        host.run(["iptables", "-P", "FORWARD", "ACCEPT"])
        docker_run(host, "web", command=["python3", "-m", "http.server", "80"])
        shown = host.run(["docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).stdout.strip()
        addresses[host.name] = shown
    assert json.loads(h1.run(["cat", "/etc/docker/daemon.json"]).stdout)["log-level"] == "warn"
    for a, b in (("h1", "h2"), ("h2", "h1")):
        host, target = lab.host(a), addresses[b]
        wait_for(lambda: inside(host, "web", "ping", "-c1", "-W1", target) == 0, 10, f"{a} reaches {b}")  # noqa: B023
        assert inside(host, "web", "ping", "-c1", "-W2", "-s1422", "-Mdo", target) == 0, "whole packets"
        assert inside(host, "web", "curl", "-sf", "-o", "/dev/null", "-m5", f"http://{target}/") == 0
    log = lab.host("h2").run(["docker", "logs", "web"]).stderr + lab.host("h2").run(["docker", "logs", "web"]).stdout
    assert f"{addresses['h1']} - -" in log, "nobody has translated the address on the way"


def test_the_second_time_there_is_nothing_to_do(lab: Lab) -> None:
    h2 = lab.host("h2")
    pid = h2.run(["cat", "/run/docker.pid"]).stdout
    done = wefted(h2, "flannel", "docker", "--restart")
    assert (done["changes"], done["docker0"], done["restarted"]) == ([], "", False)
    assert h2.run(["cat", "/run/docker.pid"]).stdout == pid


def test_a_daemon_that_has_the_words_on_its_command_line_is_not_given_them_twice(lab: Lab) -> None:
    h2 = lab.host("h2")
    h2.run(["docker", "rm", "-f", "web"])
    pid = h2.run(["cat", "/run/docker.pid"]).stdout.strip()
    h2.run(["kill", pid])
    wait_for(lambda: h2.run(["test", "-e", f"/proc/{pid}"], check=False).returncode != 0, 20, "dockerd ends")
    h2.run(["rm", "/etc/docker/daemon.json"])
    h2.run(["sh", "-c", ". /run/flannel/docker; dockerd $DOCKER_NETWORK_OPTIONS >>/var/log/dockerd.log 2>&1 </dev/null &"])
    wait_for(lambda: h2.run(["docker", "ps"], check=False).returncode == 0, 20, "dockerd answers")
    assert docker0(h2) == [env(h2)["FLANNEL_SUBNET"]], "as docker.service.d/flannel.conf has it"
    refused = wefted(h2, "flannel", "docker", check=False)
    assert (refused.returncode, "dockerd is started with --bip=" in refused.stderr) == (2, True)
    assert h2.run(["test", "-e", "/etc/docker/daemon.json"], check=False).returncode != 0
