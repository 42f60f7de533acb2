"""`wefted bench backends` sends through every backend that this kernel has. No test here asserts a speed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.lab

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")


def test_every_backend_is_measured_in_every_mode() -> None:
    argv = [*WEFTED, "bench", "backends", "--rounds", "1", "--seconds", "0.1", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    skipped = {item["name"] for item in report["skipped"]}
    measured = {(row["backend"].partition(" in user space")[0], row["mode"]) for row in report["rows"]}
    modes = {"offload", "plain-nic"} - skipped
    backends = {"underlay", "host-gw", "vxlan", "udp", "udp by a C proxy", "udp by our relay", "wireguard"}
    assert measured == {(b, mode) for b in backends - skipped for mode in modes}
    for row in report["rows"]:
        assert row["tcp_gbit"] > 0
        assert 0 < row["p50_us"] <= 1000 * row["p99_ms"]
        assert row["per_second"] > 0
        assert row["kpps"] > 0
    mtus = {row["backend"]: row["mtu"] for row in report["rows"]}
    assert mtus["underlay"] == 1500
    assert mtus.get("vxlan", 1450) == 1450
    assert {mtu for name, mtu in mtus.items() if name.startswith("wireguard")} <= {1440}


def test_what_cannot_be_measured_is_refused() -> None:
    done = subprocess.run([*WEFTED, "bench", "backends", "--seconds", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--seconds" in done.stderr
