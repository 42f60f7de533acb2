"""Every block of the README is run: on this machine, or on virtual hosts where the words of the page are true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.testing.markdown import Block, blocks

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [block for block in blocks((ROOT / "README.md").read_text()) if block.language == "bash"]
ON_HOSTS = [block for block in BLOCKS if block.where.startswith("on: ")]
HERE = [block for block in BLOCKS if block.where.startswith("here")]
COLLECT_ONLY = "--collect-only --quiet tests/unit/test_house.py"
"""The README's `make test` is this very run: what it would start is collected, and not started again."""
OF_THIS_RUN = ("PYTEST", "WEFTED_", "MAKE", "MFLAGS", "ARGS")
"""Variables that a reader would not have."""
PATIENCE = 20.0
"""Seconds for one block on a host: the page promises repair within seconds, and shows one."""


def line(block: Block) -> str:
    return f"line {block.line}"


def run(command: list[str], seconds: float = 220.0, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OF_THIS_RUN)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return subprocess.run(
        command, cwd=ROOT, env={**environment, "PATH": path, **variables}, capture_output=True, text=True, timeout=seconds
    )


def must(command: list[str], seconds: float = 220.0, **variables: str) -> str:
    done = run(command, seconds, **variables)
    assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Hosts:
    """Two labs: one host that is alone, as `one`; and h1 and h2 with an etcd, their agents stopped as on a new host."""

    def __init__(self, folder: Path) -> None:
        suffix = uuid.uuid4().hex[:6]
        self.alone, self.cluster = f"one-{suffix}", f"two-{suffix}"
        self._folder = folder

    def up(self) -> None:
        must(["wefted", "lab", "up", "--name", self.alone, "--hosts", "1", "--bare"])
        must(["wefted", "lab", "up", "--name", self.cluster, "--hosts", "2"])
        for host in ("h1", "h2"):
            must(["wefted", "lab", "exec", "--name", self.cluster, host, "--", "wefted", "down"])

    def down(self) -> None:
        for lab in (self.alone, self.cluster):
            must(["wefted", "lab", "down", "--name", lab])

    def shell(self, place: str, text: str) -> str:
        """Run a block as root's shell on that host would, ended by its first failure."""
        lab, host = (self.alone, "h1") if place == "one" else (self.cluster, place)
        script = f"set -euo pipefail\ncd {self._folder}\n{text}"
        return must(["wefted", "lab", "exec", "--name", lab, host, "--", "bash", "-c", script], PATIENCE)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("readme"))
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_the_blocks_on_hosts_do_what_the_page_says(hosts: Hosts) -> None:
    """All of them in order: each one stands on what the blocks before it have made."""
    for block in ON_HOSTS:
        printed = hosts.shell(block.where.removeprefix("on: "), block.text)
        if block.output is not None:
            assert printed == block.output, f"line {block.line}"


@pytest.mark.parametrize("block", HERE, ids=line)
def test_a_block_on_this_machine_succeeds(block: Block) -> None:
    variables = {"ARGS": COLLECT_ONLY} if "collect only" in block.where else {}
    try:
        printed = must(["bash", "-euo", "pipefail", "-c", block.text], **variables)
    finally:
        for lab in set(re.findall(r"--name (\S+)", block.text)):
            must(["wefted", "lab", "down", "--name", lab])
    if block.output is not None:
        assert printed == block.output
