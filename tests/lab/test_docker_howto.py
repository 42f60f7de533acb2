"""The blocks of the pages about Docker that name their hosts are run there, in their order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.lab import Lab
from wefted.testing.markdown import blocks

from .acceptance import wait_for, wefted
from .dockers import two_dockers

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

HOWTO = Path(__file__).parents[2] / "docs/howto"
PLACES = {"both": ("h1", "h2"), "h1": ("h1",), "h2": ("h2",)}
TOKEN = ["docker", "swarm", "join-token", "-q", "worker"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


@pytest.mark.parametrize(
    ("page", "count"), [("docker.md", 7), ("containers.md", 1), ("compose.md", 8), ("from-swarm.md", 11)], ids=str
)
def test_the_blocks_do_what_the_page_says(lab: Lab, page: str, count: int) -> None:
    if page == "compose.md" and shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    placed = [block for block in blocks((HOWTO / page).read_text()) if block.where.startswith("on: ")]
    assert len(placed) == count
    for block in placed:
        for name in PLACES[block.where.removeprefix("on: ")]:
            text = block.text
            if "--token TOKEN" in text:
                text = text.replace("TOKEN", lab.host("h1").run(TOKEN).stdout.strip())
            done = lab.host(name).run(["bash", "-euo", "pipefail", "-c", text], cwd="/", timeout=40, check=False)
            assert done.returncode == 0, f"{page}, line {block.line}: {done.stdout}\n{done.stderr}"
    wait_for(lambda: wefted(lab.host("h1"), "network", "ls") == [], 15, "the network's end in the cluster")
