"""The commands of docs/howto/lan.md are run in order, on a host that is as the page says; what it lacks is skipped by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.testing.markdown import Block, blocks

from .acceptance import lab_name, wefted

pytestmark = [pytest.mark.lab]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "lan.md"
BLOCKS = [block for block in blocks(PAGE.read_text()) if block.language == "bash"]
SETUP = """
ip netns add lan
ip link add eth1 type veth peer name eth1 netns lan
ip -n lan address add 192.0.2.1/24 dev eth1
ip -n lan link set eth1 up
ip address add 192.0.2.10/24 dev eth1
ip link set eth1 up
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab.up(lab_name("page"), 1) as up:
        shell(up.host("h1"), SETUP)
        yield up.host("h1")


def shell(host: Host, text: str) -> None:
    host.run(["bash", "-euo", "pipefail", "-c", text])


def line(block: Block) -> str:
    return f"line {block.line}"


def test_every_block_says_where_it_runs() -> None:
    assert len(BLOCKS) >= 6
    assert {block.where.partition(" with ")[0] for block in BLOCKS} == {"on: h1"}


@pytest.mark.parametrize("block", BLOCKS, ids=line)
def test_a_block_does_what_the_page_says(host: Host, block: Block) -> None:
    feature = block.where.partition(" with ")[2]
    missing = wefted(host, "status")["kernel"]["missing"]
    if feature in missing:
        pytest.skip(missing[feature])
    shell(host, block.text)
    assert wefted(host, "plan") == {"changes": []}
