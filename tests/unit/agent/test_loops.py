"""What becomes of an agent's task that fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from wefted.agent import loops
from wefted.errors import Unreachable


@pytest.mark.parametrize(
    ("error", "told"),
    [(Unreachable("etcd is away"), "the clock ended"), (KeyError("e1"), "the clock failed")],
    ids=["away", "bug"],
)
async def test_a_task_that_fails_is_told_and_begins_again(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loops, "RETRY", 0.001)
    failures = [error, error]
    works: list[str] = []

    async def work() -> None:
        if failures:
            raise failures.pop()
        works.append("done")

    with caplog.at_level(logging.WARNING):
        await loops._again("the clock", work)
    assert works == ["done"]
    assert [record.getMessage() for record in caplog.records] == [told, told]
    assert all(bool(record.exc_info) == isinstance(error, KeyError) for record in caplog.records)


async def test_a_task_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "RETRY", 0.001)
    stop = asyncio.Event()
    seen = 0

    async def bad() -> None:
        raise ValueError("a bug")

    async def good() -> None:
        nonlocal seen
        while seen < 3:
            await asyncio.sleep(0.005)
            seen += 1
        stop.set()

    await asyncio.wait_for(loops._until(stop, [loops._again("bad", bad), loops._again("good", good)]), 5)
    assert seen == 3
