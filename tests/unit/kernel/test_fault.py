"""The hook that kills strikes once, after the right change."""

from __future__ import annotations

import pytest

from wefted.kernel.fault import VARIABLE, Fault


@pytest.mark.parametrize(("value", "limit"), [("", 0), ("3", 3), ("many", 0), ("-1", 0)])
def test_the_environment_arms_it(monkeypatch: pytest.MonkeyPatch, value: str, limit: int) -> None:
    monkeypatch.setenv(VARIABLE, value)
    fault = Fault.from_environment()
    assert (fault.limit, fault.armed) == (limit, limit > 0)


def test_it_strikes_after_the_nth_change_only() -> None:
    struck: list[int] = []
    fault = Fault(3, lambda: struck.append(fault.changes))
    for _ in range(9):
        fault.changed()
    assert struck == [3]


def test_unarmed_it_only_counts() -> None:
    fault = Fault(0, lambda: pytest.fail("struck"))
    fault.changed()
    assert fault.changes == 1
