"""The rules in Docker's chain for others: which ones, and for which IP version."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from wefted.kernel import dockeruser
from wefted.kernel.dockeruser import DockerUser


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that change something; the chain is there in both versions, and empty."""
    commands: list[str] = []

    def run(program: str, *words: str) -> dockeruser.subprocess.CompletedProcess[str]:
        if "-S" not in words:
            commands.append(" ".join((program, *words)))
        return dockeruser.subprocess.CompletedProcess((program,), 0, "-N DOCKER-USER\n", "")

    monkeypatch.setattr(dockeruser, "_run", run)
    monkeypatch.setattr(dockeruser.shutil, "which", lambda program: f"/usr/sbin/{program}")
    return commands


def test_members_of_a_network_pass_in_its_own_version(typed: list[str]) -> None:
    """As flannel's FLANNEL-FWD: containers behind Docker's own bridge are members, and no link of ours is on their side."""
    DockerUser().open("eth0", [ip_network("10.5.0.0/16"), ip_network("fd05::/48")])
    own = [command for command in typed if " -s " in command]
    assert own == [
        "iptables -w 5 -I DOCKER-USER -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment wefted -j ACCEPT",
        "ip6tables -w 5 -I DOCKER-USER -s fd05::/48 -d fd05::/48 -m comment --comment wefted -j ACCEPT",
    ]


def test_without_members_there_are_our_links_alone(typed: list[str]) -> None:
    DockerUser().open("eth0")
    assert len(typed) == 6
    assert not [command for command in typed if " -s " in command]
    assert DockerUser().missing("eth0") == [command.replace("-w 5 ", "") for command in typed]


RAW = {
    "iptables": ["-P PREROUTING ACCEPT", "-P OUTPUT ACCEPT", "-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP"],
    "ip6tables": ["-P PREROUTING ACCEPT", "-A PREROUTING -d fd55::2/128 ! -i br-0c2c9457e539 -j DROP"],
}
"""As Docker 28.5.2 writes them for a container on docker0 with a published port, and for one in a network with IPv6."""


def test_both_raw_tables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(program: str, *words: str) -> dockeruser.subprocess.CompletedProcess[str]:
        assert words[-4:] == ("-t", "raw", "-S", "PREROUTING")
        return dockeruser.subprocess.CompletedProcess((program,), 0, "\n".join(RAW[program]), "")

    monkeypatch.setattr(dockeruser, "_run", run)
    monkeypatch.setattr(dockeruser.shutil, "which", lambda program: f"/usr/sbin/{program}")
    assert DockerUser().raw_drops() == [RAW["iptables"][-1], RAW["ip6tables"][-1]]
