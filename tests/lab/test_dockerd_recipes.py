"""The recipes that need a Docker engine run on hosts with a real one, do what they say, and leave the hosts as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import lab_name, wait_for, wefted
from .engines import need

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ALONE = [path for path in sorted(RECIPES.glob("dockerd-*.sh")) if path.stem != "dockerd-two-hosts"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need("docker")
    with Lab.up(lab_name("dockerd"), 2, engines=("docker",)) as made:
        yield made


def run(host: Host, recipe: Path, *words: str) -> None:
    done = host.run(["sh", "-eux", str(recipe), *words], check=False, timeout=60, cwd="/")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def left(host: Host) -> tuple[list[str], object, object, str]:
    """Return the links, our networks and endpoints, and the containers of a host."""
    links = [link["ifname"] for link in json.loads(host.run(["ip", "-j", "link"]).stdout)]
    containers = host.run(["docker", "ps", "-aq"]).stdout
    return sorted(links), wefted(host, "network", "ls"), wefted(host, "ps"), containers


@pytest.mark.parametrize("recipe", ALONE, ids=lambda path: path.stem)
def test_on_one_host(lab: Lab, recipe: Path) -> None:
    host = lab.host("h1")
    before = left(host)
    run(host, recipe)
    wait_for(lambda: left(host) == before, 15, "the host is as it was")


def test_two_daemons_share_a_subnet(lab: Lab) -> None:
    recipe = RECIPES / "dockerd-two-hosts.sh"
    hosts = {"1": lab.host("h1"), "2": lab.host("h2")}
    for host in hosts.values():
        pid = int((host.root / "run/docker.pid").read_text())
        host.run(["kill", str(pid)])
        wait_for(lambda h=host: not (h.root / "run/docker.pid").exists(), 30, "the end of the lab's daemon")  # type: ignore[misc]
    for step in ("up", "check", "down"):
        for number, host in hosts.items():
            run(host, recipe, step, number)
    for host in hosts.values():
        wait_for(lambda h=host: wefted(h, "network", "ls") == [], 15, "the network's end")  # type: ignore[misc]
        wait_for(lambda h=host: "newbridge" not in h.run(["ip", "-br", "link"]).stdout, 15, "the bridge's end")  # type: ignore[misc]
