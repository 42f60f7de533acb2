"""`wefted bench start` runs every command that is installed. No test here asserts a time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.lab

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")


def wefted(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFTED, *words], capture_output=True, text=True)


def test_starts_are_measured_beside_others() -> None:
    done = wefted("bench", "start", "--times", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) | {item["name"] for item in found["skipped"]} == {
        "start-version", "start-ps", "python", "ip", "docker", "podman",
    }  # fmt: skip
    assert {"start-version", "start-ps", "ip"} <= set(rows)
    for row in rows.values():
        assert row["count"] == row["verified"] == 2
        assert row["cpu_ms"] > 0
    assert [check["name"] for check in found["checks"]] == [
        "CPU of wefted --version, whole process",
        "CPU of wefted ps, whole process",
    ]


def test_no_run_is_refused() -> None:
    refused = wefted("bench", "start", "--times", "0")
    assert refused.returncode == 2
    assert "--times" in refused.stderr
