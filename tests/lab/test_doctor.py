"""`wefted doctor` on hosts with Docker: what it finds, and that the commands it names help."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import wait_for, wefted
from .dockers import (
    CREATE,
    a_network,
    create,
    pings,
    run,
    seen_by_docker,
    two_dockers,
)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    yield from a_network(lab)


class TestDoctor:
    def examined(self, host: Host) -> dict[str, list[dict[str, str]]]:
        """Return what is wrong, by the check that found it; the exit code says whether anything is."""
        done = wefted(host, "doctor", check=False)
        told = json.loads(done.stdout)
        assert (done.returncode == 0) == told["healthy"], done.stderr
        wrong = [finding for finding in told["findings"] if finding["level"] == "problem"]
        assert bool(wrong) == (not told["healthy"])
        return {check: [f for f in wrong if f["check"] == check] for check in {f["check"] for f in wrong}}

    def test_a_host_that_is_well(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network)
        wait_for(lambda: self.examined(h1) == {}, 10, "a healthy host")

    def test_dockers_firewall_and_the_command_that_opens_it(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network)
        run(h1, "web2", network)
        wait_for(lambda: pings(h1, "web1", "web2"), 10, "the way")
        address, _ = seen_by_docker(h1, "web2", network)
        wefted(h1, "down")
        try:
            h1.run(["iptables", "-F", "DOCKER-USER"])
            assert not pings(h1, "web1", address)
            [finding] = self.examined(h1)["firewall"]
            assert "policy of FORWARD to DROP" in finding["cause"]
            h1.run(["sh", "-c", finding["command"]])
            assert pings(h1, "web1", address)
            assert "firewall" not in self.examined(h1)
            h1.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-d", f"{address}/32", "-j", "DROP"])
            [finding] = self.examined(h1)["firewall"]
            assert address in finding["finding"]
            h1.run(["sh", "-c", finding["command"]])
            assert "firewall" not in self.examined(h1)
        finally:
            wefted(h1, "up")

    def test_the_agent_opens_the_way_again_and_touches_nobody_elses_rules(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        h1.run(["iptables", "-F", "DOCKER-USER"])
        foreign = ["-s", "192.0.2.1/32", "-m", "comment", "--comment", "mine", "-j", "DROP"]
        h1.run(["iptables", "-A", "DOCKER-USER", *foreign])
        listed = ["iptables", "-S", "DOCKER-USER"]
        wait_for(lambda: h1.run(listed).stdout.count("--comment wefted") == 3, 20, "our rules")
        assert h1.run(listed).stdout.splitlines()[-1] == " ".join(["-A", "DOCKER-USER", *foreign])
        h1.run(["iptables", "-D", "DOCKER-USER", *foreign])

    def test_a_network_that_cannot_be_joined(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        wefted(h1, "network", "create", "other", "--backend", "none")
        try:
            h1.run([*CREATE, "-o", "backend=vxlan", "other"])
            wait_for(lambda: "docker" in self.examined(h1), 15, "the finding")
            [finding] = self.examined(h1)["docker"]
            assert finding["cause"] == "network 'other' exists with backend none, not vxlan"
            h1.run(["sh", "-c", finding["command"]])
        finally:
            wait_for(lambda: "docker" not in self.examined(h1), 15, "its end")
            wefted(h1, "network", "rm", "other")


class TestUninstall:
    def test_it_takes_our_rules_out_of_dockers_chain(self, lab: Lab) -> None:
        """The last test here: h2 has no agent after it."""
        h2 = lab.host("h2")
        listed = ["iptables", "-S", "DOCKER-USER"]
        create(lab, "net2", hosts=("h2",))
        wait_for(lambda: h2.run(listed).stdout.count("--comment wefted") == 3, 20, "our rules")
        h2.run(["docker", "network", "rm", "net2"])
        dockers = [line for line in h2.run(listed).stdout.splitlines() if "--comment wefted" not in line]
        wefted(h2, "uninstall", "--yes")
        assert h2.run(listed).stdout.splitlines() == dockers
        assert dockers[0] == "-N DOCKER-USER"
        assert h2.run(["nft", "list", "table", "inet", "wefted"], check=False).returncode != 0
