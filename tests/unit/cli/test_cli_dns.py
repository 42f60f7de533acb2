"""`wefted dns` and the names in `wefted status`, as text."""

from __future__ import annotations

import pytest

ROW = {
    "names": ["c1.blue.weft.internal", "c1.weft.internal"],
    "addresses": ["10.20.0.2", "fd20::2"],
    "network": "blue",
    "container": "netns:c1",
    "host": "h1",
}


def test_a_line_for_each_name(agent, run):
    agent.answers["dns.list"] = [ROW]
    lines = run("dns", "ls").output.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "ADDRESSES", "CONTAINER", "HOST"],
        ["c1.blue.weft.internal", "10.20.0.2,", "fd20::2", "netns:c1", "h1"],
        ["c1.weft.internal", "10.20.0.2,", "fd20::2", "netns:c1", "h1"],
    ]


@pytest.mark.parametrize(
    ("asked", "found", "lines"),
    [
        ("c1", {"addresses": ["10.20.0.2", "fd20::2"], "names": ["c1.x"], "services": []}, ["10.20.0.2", "fd20::2"]),
        ("10.20.0.2", {"addresses": ["10.20.0.2"], "names": ["c1.x", "c2.x"], "services": []}, ["c1.x", "c2.x"]),
        ("fd20::2", {"addresses": ["fd20::2"], "names": ["c1.x"], "services": []}, ["c1.x"]),
        ("_tcp.c1", {"addresses": [], "names": [], "services": [{"port": 80, "target": "c1.x"}]}, ["c1.x 80"]),
    ],
)
def test_what_a_name_or_an_address_stands_for(agent, run, asked, found, lines):
    agent.answers["dns.lookup"] = {"name": asked, **found}
    assert run("dns", "lookup", asked).output.splitlines() == lines
    assert agent.asked == [("dns.lookup", {"name": asked})]


@pytest.mark.parametrize(
    ("listening", "error", "lines"),
    [
        (["127.0.0.77"], "", ["names      2 in weft.internal, asked at 127.0.0.77"]),
        ([], "cannot listen", ["names      not answered: cannot listen"]),
        (["10.1.0.1"], "cannot listen", ["names      2 in weft.internal, asked at 10.1.0.1", "           cannot listen"]),
        ([], "", []),
    ],
)
def test_the_status_tells_of_names(agent, run, status, listening, error, lines):
    dns = {"address": None, "listening": listening, "domain": "weft.internal", "names": 2, "error": error}
    agent.answers["status"] = status | {"dns": dns}
    shown = run("status").output.splitlines()
    assert [line for line in shown if "names " in line or "cannot" in line] == lines
