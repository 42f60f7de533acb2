"""The walk-throughs of flannel run as they stand, each in a lab of its own: real etcd, real dockerd, several hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wefted.lab import state
from wefted.lab.lab import Lab

from .acceptance import lab_name
from .engines import need

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("flannel-*.sh"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(recipe: Path) -> None:
    if "--docker" in recipe.read_text():
        need("docker")
    name = lab_name("recipe")
    try:
        done = run(recipe, name)
    finally:
        if name in state.names():
            Lab.open(name).down()
            pytest.fail(f"{recipe.name} left its lab behind")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def run(recipe: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe; one that waits for something in vain is ended before the test is."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["timeout", "100", "sh", "-eux", str(recipe)], env=os.environ | {"LAB": name, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
