"""Rows, verdicts and figures are what their samples say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.bench.rows import Check, Report, Row, Skipped, per_second, percentile

SAMPLES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def row(*samples: float) -> Row:
    return Row(name="agent", what="agent, API call", samples=samples, verified=len(samples))


def test_a_row_tells_its_figures() -> None:
    assert row(1.0, 2.0, 4.0).to_json() == {
        "name": "agent",
        "what": "agent, API call",
        "count": 3,
        "median_ms": 2.0,
        "p99_ms": 4.0,
        "min_ms": 1.0,
        "per_second": 428.6,
        "verified": 3,
    }


def test_further_figures_stand_beside_the_times() -> None:
    assert Row(name="n", what="w", samples=(1.0,), further={"cpu_ms": 42.5}).to_json()["cpu_ms"] == 42.5


@given(SAMPLES)
def test_a_percentile_is_one_of_the_samples_and_grows(samples: list[float]) -> None:
    found = [percentile(samples, percent) for percent in (0, 1, 50, 99, 100)]
    assert set(found) <= set(samples)
    assert all(a <= b for a, b in pairwise(found))
    assert found[0] == min(samples)
    assert found[-1] == max(samples)


def test_the_99th_percentile_of_a_hundred_leaves_one_out() -> None:
    assert percentile([float(n) for n in range(1, 101)], 99) == 99.0


@given(SAMPLES)
def test_a_rate_is_that_of_one_after_the_other(samples: list[float]) -> None:
    assert per_second(samples) * sum(samples) == pytest.approx(1000 * len(samples))


@pytest.mark.parametrize(
    ("measured", "most", "ok", "required"),
    [
        (5.0, False, True, ">= 5 times"),
        (4.9, False, False, ">= 5 times"),
        (5.0, True, True, "<= 5 times"),
        (5.1, True, False, "<= 5 times"),
    ],
)
def test_a_verdict_has_a_bound_on_one_side(measured: float, most: bool, ok: bool, required: str) -> None:
    check = Check(name="ratio", measured=measured, bound=5, most=most, unit="times")
    assert check.to_json() == {"name": "ratio", "measured": measured, "required": required, "unit": "times", "ok": ok}


def test_a_report_is_as_good_as_its_worst_verdict() -> None:
    good = Check(name="a", measured=1, bound=2, most=True, unit="ms")
    bad = Check(name="b", measured=3, bound=2, most=True, unit="ms")
    report = Report(machine={"cpus": 2}, rows=[row(1.0)], checks=[good, bad], skipped=[Skipped(name="cni", reason="absent")])
    assert not report.ok
    assert Report(machine={}, rows=[], checks=[good]).ok
    shown = report.to_json()
    assert [check["ok"] for check in shown["checks"]] == [True, False]
    assert shown["skipped"] == [{"name": "cni", "reason": "absent"}]
