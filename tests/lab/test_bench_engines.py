"""`wefted bench engines` runs real containers each way and leaves nothing. No test here asserts a speed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from wefted.bench.engines import _checks
from wefted.bench.rows import Row

from .engines import need

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")


def test_every_way_is_measured_or_skipped_by_name() -> None:
    need("docker", "podman")
    done = subprocess.run([*WEFTED, "bench", "engines", "--rounds", "1", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {row["name"]: row for row in report["rows"]}
    skipped = {item["name"] for item in report["skipped"]}
    everything = {"docker-ours", "docker-bridge", "docker-overlay", "podman-ours", "podman-bridge"}
    assert set(rows) | skipped == everything | {"cni-ours-port", "cni-portmap"}
    assert {"docker-ours", "docker-bridge", "podman-bridge"} <= set(rows)
    assert [rows[name]["verified"] for name in everything & set(rows)] == [1] * len(everything & set(rows))
    assert report["checks"][0]["name"].startswith("docker run, our network / Docker's bridge")


def test_what_cannot_be_measured_is_refused() -> None:
    done = subprocess.run([*WEFTED, "bench", "engines", "--rounds", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--rounds" in done.stderr


def test_a_verdict_needs_both_sides() -> None:
    rows = [
        Row(name=name, what=name, samples=samples) for name, samples in (("docker-ours", (104.0,)), ("docker-bridge", (100.0,)))
    ]
    assert [(check.measured, check.ok) for check in _checks(rows)] == [(1.04, True)]
    assert list(_checks(rows[:1])) == []
