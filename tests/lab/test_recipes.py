"""Every recipe for one host runs where an agent is, does what it says, and leaves the host as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.host import Host

from .acceptance import wait_for
from .pipework import BIN, everything, lab_of_one, lan_port

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

ALL = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.sh"))
RECIPES = [recipe for recipe in ALL if not recipe.stem.startswith(("flannel-", "dockerd-"))]
"""Those of flannel make hosts of their own (`test_flannel_recipes`), others need a Docker engine (`test_dockerd_recipes`)."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab_of_one("recipes") as h1:
        lan_port(h1, "eth1")
        yield h1


@pytest.fixture(autouse=True)
def containers(host: Host) -> Iterator[None]:
    """A recipe that fails must not be the failure of the next one."""
    yield
    for name in host.run(["ls", "/run/netns"]).stdout.split():
        if name != "eth1-lan":
            host.run(["ip", "netns", "del", name])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(host: Host, recipe: Path) -> None:
    settled = everything(host)
    done = host.run(["sh", "-c", f'PATH={BIN}:$PATH exec sh -eux "$0"', str(recipe)], check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    wait_for(lambda: everything(host) == settled, 5, "the host is as it was")


def test_a_recipe_is_a_program_that_says_what_it_is() -> None:
    for recipe in ALL:
        lines = recipe.read_text().splitlines()
        assert lines[0] == "#!/bin/sh"
        assert lines[1].startswith("# ")
        assert "set -eu" in lines
        assert recipe.stat().st_mode & 0o100
