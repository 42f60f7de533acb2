"""The pages about CNI and podman are run: every block that says where, on a host with these engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from wefted.lab.host import Host
from wefted.testing.markdown import Block, blocks

from .test_cni_engines import host as host  # the same host, with engines that use CNI

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

HOWTO = Path(__file__).resolve().parents[2] / "docs/howto"
RUN = {page: [b for b in blocks((HOWTO / page).read_text()) if b.where] for page in ("cni.md", "podman.md")}


def name(block: Block) -> str:
    return f"line {block.line}"


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_the_page_work(host: Host, page: str) -> None:
    host.run(["wefted", "network", "rm", "blue"], check=False)
    for block in RUN[page]:
        done = host.run(["bash", "-ec", block.text], check=False)
        assert done.returncode == 0, f"{page}, {name(block)}: {done.stdout}\n{done.stderr}"
