"""`wefted bench flannel` measures what it says, on few hosts. No test here asserts a time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from wefted.bench import leases

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")


def wefted(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WEFTED, *words], capture_output=True, text=True)


@pytest.mark.lab
def test_every_row_is_measured_and_looked_at() -> None:
    done = wefted("bench", "flannel", "--times", "1", "--peers", "20", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["fresh", "flanneld", "join-crowd", "start-crowd", "new-lease", "lost-lease"]
    assert all(row["count"] == row["verified"] == 1 for row in rows.values())
    assert (rows["join-crowd"]["hosts"], rows["lost-lease"]["memory_mb"] > 0) == (20, True)
    assert len(found["checks"]) == 6


@pytest.mark.parametrize("words", [("--times", "0"), ("--peers", "0"), ("--peers", "5000")])
def test_senseless_numbers_are_refused(words: tuple[str, str]) -> None:
    assert wefted("bench", "flannel", *words).returncode == 2


def test_the_hosts_of_a_crowd_are_all_different() -> None:
    found = [*leases.peers("10.32.0.0/11", 1000), *leases.peers("10.32.0.0/11", 1, 1000)]
    assert all(len(set(column)) == 1001 for column in zip(*found, strict=True))
    assert found[0] == ("10.63.255.0/24", "198.18.0.0", "02:fe:00:00:00:00")


def test_a_subnet_is_found_in_the_kernels_list() -> None:
    assert leases.destination("10.63.255.0/24") == "00FF3F0A"
