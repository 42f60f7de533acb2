"""The blocks of docs/howto/dhcp.md, run on a host whose eth1 leads to a LAN with a DHCP server."""

from __future__ import annotations

from pathlib import Path

import pytest

from wefted.lab.lab import Lab
from wefted.testing.markdown import blocks

from .acceptance import lab_name, wefted
from .dhcp_server import DhcpServer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "dhcp.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    here = [block for block in blocks(PAGE.read_text()) if block.where == "on: host"]
    assert len(here) == 3
    with Lab.up(lab_name("howto"), 1) as lab:
        host = lab.host("h1")
        server = DhcpServer.behind_link(host, tmp_path, link="eth1")
        try:
            for block in here:
                host.run(["bash", "-euo", "pipefail", "-c", block.text])
            (row,) = wefted(host, "ps")
            assert (row["network"], row["container"]) == ("mixed", "netns:web2")
            assert row["addresses"][0].split("/")[0] in server.leases()
            assert len(server.leases()) == 1, "the first one was given back"
        finally:
            server.stop()
