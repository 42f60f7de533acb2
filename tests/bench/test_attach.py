"""`wefted bench` runs, and what it claims to have attached was attached. No test here asserts a time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from wefted.bench.turns import FEW

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")
COUNT = 20
ENDPOINTS = 60


def wefted(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFTED, *words], capture_output=True, text=True)


def labs() -> list[str]:
    return [lab["name"] for lab in json.loads(wefted("lab", "ls", "--json").stdout)]


@pytest.fixture(scope="module")
def report() -> Any:
    done = wefted("bench", "attach", "--count", str(COUNT), "--endpoints", str(ENDPOINTS), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_row_has_the_documented_figures(report: Any) -> None:
    for row in report["rows"]:
        assert {"name", "what", "count", "median_ms", "p99_ms", "min_ms", "per_second", "verified"} <= set(row)
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p99_ms"]
        assert row["per_second"] > 0


def test_every_attach_was_looked_at(report: Any) -> None:
    ways = {"agent", "cli-agent", "cli-alone", "cni", "cni-masquerade", "ip-batch", "ip-calls", "pipework", "ovs-docker"}
    ways |= {"pipework-script", "pipework-arping"}
    skipped = {item["name"] for item in report["skipped"]}
    rows = {row["name"]: row for row in report["rows"]}
    assert ways == (ways & set(rows)) | skipped
    assert {"agent", "cli-agent", "cli-alone", "pipework"} <= set(rows)
    for name in ways & set(rows):
        assert rows[name]["count"] == rows[name]["verified"] == min(COUNT, FEW.get(name, COUNT))
    assert rows["agent-many"]["verified"] == ENDPOINTS
    assert rows["agent-detach"]["verified"] == ENDPOINTS


def test_what_is_missing_says_why(report: Any) -> None:
    assert all(item["reason"] for item in report["skipped"])


def test_the_requirements_are_judged(report: Any) -> None:
    names = [check["name"] for check in report["checks"]]
    assert any("one client" in name for name in names)
    assert any("last / first" in name for name in names)
    for check in report["checks"]:
        assert check["measured"] > 0
        assert isinstance(check["ok"], bool)
        assert check["required"].startswith(("<=", ">="))


def test_the_machine_is_named(report: Any) -> None:
    assert report["machine"]["cpus"] > 0
    assert report["machine"]["kernel"]


def test_no_lab_is_left(report: Any) -> None:
    assert not [name for name in labs() if name.startswith("bench-")]


def test_numbers_that_cannot_be_are_refused() -> None:
    refused = wefted("bench", "attach", "--endpoints", "20000")
    assert refused.returncode == 2
    assert "10,000" in refused.stderr
