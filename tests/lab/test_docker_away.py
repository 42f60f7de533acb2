"""Docker while the agent, the store or Docker itself is away, and afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from wefted.lab.lab import Lab

from .acceptance import wait_for, wefted
from .dockers import (
    a_network,
    addresses_inside,
    links,
    pings,
    remove,
    restart_dockerd,
    rows,
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


class TestWithoutTheAgent:
    def test_docker_goes_on_and_afterwards_everything_is_in_line(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network, "--restart", "always")
        before = seen_by_docker(h1, "web1", network)
        wefted(h1, "down")
        try:
            begun = time.monotonic()
            h1.run(["docker", "ps"])
            assert time.monotonic() - begun < 2
            begun = time.monotonic()
            h1.run(["docker", "stop", "web1"])  # the engine's own stop time is 0: its signal is SIGKILL
            assert time.monotonic() - begun < 2
            refused = h1.run(["docker", "start", "web1"], check=False)
            assert "the wefted agent of this host does not run" in refused.stderr
            assert restart_dockerd(h1, "-TERM") < 5
        finally:
            wefted(h1, "up")
        h1.run(["docker", "start", "web1"])
        assert seen_by_docker(h1, "web1", network) == before
        wait_for(lambda: [r["container"] for r in rows(h1)] == ["docker:web1"], 15, "only what Docker has")
        run(h1, "web2", network)
        assert len({a for row in rows(h1) for a in row["addresses"]}) == 2

    def test_containers_run_on_while_the_agent_is_restarted(self, lab: Lab, network: str) -> None:
        h1, h2 = lab.host("h1"), lab.host("h2")
        run(h1, "web1", network)
        run(h2, "web2", network)
        wait_for(lambda: pings(h1, "web1", "web2"), 10, "the name")
        address, _ = seen_by_docker(h2, "web2", network)
        before = links(h1)
        wefted(h1, "down")
        assert pings(h1, "web1", address)
        wefted(h1, "up")
        assert (links(h1), pings(h1, "web1", address)) == (before, True)

    def test_without_the_store_containers_start_and_stop(self, lab: Lab, network: str) -> None:
        h1 = lab.host("h1")
        run(h1, "web1", network)
        lab.cut("etcd")
        try:
            run(h1, "web2", network)
            wait_for(lambda: pings(h1, "web1", "web2"), 10, "the local name")
            h1.run(["docker", "rm", "-f", "web2"])
        finally:
            lab.heal("etcd")
        assert len(rows(h1)) == 1

    def test_as_a_managed_plugin_docker_starts_it_itself(self, lab: Lab) -> None:
        h2 = lab.host("h2")
        driver = "wefted/net:latest"
        wefted(h2, "docker", "plugin", "/run/plugin")
        h2.run(["docker", "plugin", "create", "wefted/net", "/run/plugin"])
        h2.run(["docker", "plugin", "enable", "wefted/net"])
        try:
            h2.run(["docker", "network", "create", "-d", driver, "--ipam-driver", driver, "-o", "backend=vxlan", "managed"])
            run(h2, "web1", "managed")
            assert addresses_inside(h2, "web1") == [seen_by_docker(h2, "web1", "managed")[0]]
            wefted(h2, "down")
            try:
                begun = time.monotonic()
                h2.run(["docker", "stop", "web1"])
                assert time.monotonic() - begun < 2
                assert restart_dockerd(h2, "-TERM") < 5
            finally:
                wefted(h2, "up")
            h2.run(["docker", "start", "web1"])
            assert len(rows(h2, "managed")) == 1
        finally:
            remove(lab, "managed")
            h2.run(["docker", "plugin", "rm", "-f", "wefted/net"])
