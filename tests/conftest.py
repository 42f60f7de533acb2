"""What every test run does: lab tests need root and say so, and each skipped test is named at the end with its reason."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# contracts live in the package, or are of several rooms: their assertions shall speak as those of a test do
for contract in ("wefted.testing.kernel_contract", "wefted.testing.store_contract", "tests.unit.store.keys_contract"):
    pytest.register_assert_rewrite(contract)

LAB = Path(__file__).parent / "lab"
MEMORY = Path("/dev/shm")
ENOUGH = 8 << 30
"""Bytes of memory from which on labs have their disks in it: of an etcd whose disk is slow, tests learn nothing."""
if MEMORY.is_mount() and shutil.disk_usage(MEMORY).free >= ENOUGH:
    os.environ.setdefault("WEFTED_LAB_DISKS", str(MEMORY))  # here, before the lab's own modules are imported
NEEDS_ROOT = "lab tests make namespaces, which needs root: run `sudo make test`"


def pytest_configure() -> None:
    """Let nothing depend on who looks, and signals reach what tests start.

    A run in the background of a script, or by nohup, inherits that a signal is ignored, and hands it on.
    """
    settings.register_profile("busy", deadline=None)  # how long an example takes is the machine's business
    settings.load_profile("busy")
    os.environ.pop("COLUMNS", None)  # tables are cut to it
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything below tests/lab, skip what is marked where there is no root, and leave out what takes long."""
    if "soak" not in str(config.option.markexpr):
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
    for item in items:
        if LAB in item.path.parents:
            item.add_marker(pytest.mark.lab)
        if os.geteuid() != 0 and item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List skipped tests under their reasons; workers of a parallel run have sent their reports here by now."""
    by_reason: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        by_reason.setdefault(_reason(report), []).append(report.nodeid)
    if not by_reason:
        terminalreporter.write_line("no test was skipped")
        return
    terminalreporter.section("skipped tests and why")
    for reason, tests in sorted(by_reason.items()):
        terminalreporter.write_line(f"{len(tests)} skipped: {reason}")
        for test in sorted(tests):
            terminalreporter.write_line(f"    {test}")
