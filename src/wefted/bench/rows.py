"""What a benchmark found: rows of a table, verdicts on what is required, and the peers that were not there. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured, with all of its samples in milliseconds; `further` are results of other kinds."""

    name: str
    what: str
    samples: tuple[float, ...]
    verified: int = 0
    """How many of the samples left what they should: looked at from outside, after the clock was stopped."""
    further: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return median(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values: times in milliseconds, `per_second` of one client that does nothing else."""
        return {
            "name": self.name,
            "what": self.what,
            "count": len(self.samples),
            "median_ms": round(self.median, 3),
            "p99_ms": round(percentile(self.samples, 99), 3),
            "min_ms": round(min(self.samples), 3),
            "per_second": round(per_second(self.samples), 1),
            "verified": self.verified,
            **self.further,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A verdict: what was measured against what is required; `most` tells whether the bound is an upper one."""

    name: str
    measured: float
    bound: float
    most: bool
    unit: str

    @property
    def ok(self) -> bool:
        return self.measured <= self.bound if self.most else self.measured >= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        required = f"{'<=' if self.most else '>='} {self.bound:g} {self.unit}".rstrip()
        return {"name": self.name, "measured": round(self.measured, 3), "required": required, "unit": self.unit, "ok": self.ok}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A row that could not be measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of one run."""

    machine: Mapping[str, Any]
    rows: Sequence[Row]
    checks: Sequence[Check] = ()
    skipped: Sequence[Skipped] = ()

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "machine": dict(self.machine),
            "rows": [row.to_json() for row in self.rows],
            "checks": [check.to_json() for check in self.checks],
            "skipped": [{"name": item.name, "reason": item.reason} for item in self.skipped],
        }


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that is not below `percent` of them (nearest rank)."""
    return sorted(samples)[max(0, ceil(len(samples) * percent / 100) - 1)]


def per_second(samples: Sequence[float]) -> float:
    """Return how many of these milliseconds-long things one client does in a second, one after the other."""
    return 1000 * len(samples) / sum(samples)
