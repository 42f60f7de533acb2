"""The blocks of docs/howto/docker.md that name their hosts are run there, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.lab import Lab
from wefted.testing.markdown import blocks

from .acceptance import wait_for, wefted
from .dockers import two_dockers

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("docker_doctor"), pytest.mark.timeout(240)]

PAGE = Path(__file__).parents[2] / "docs/howto/docker.md"
PLACES = {"both": ("h1", "h2"), "h1": ("h1",), "h2": ("h2",)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from two_dockers()


def test_the_blocks_do_what_the_page_says(lab: Lab) -> None:
    placed = [block for block in blocks(PAGE.read_text()) if block.where.startswith("on: ")]
    assert len(placed) == 7
    for block in placed:
        for name in PLACES[block.where.removeprefix("on: ")]:
            lab.host(name).run(["bash", "-euo", "pipefail", "-c", block.text], cwd="/", timeout=30)
    wait_for(lambda: wefted(lab.host("h1"), "network", "ls") == [], 15, "the network's end in the cluster")
