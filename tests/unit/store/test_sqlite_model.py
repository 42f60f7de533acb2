"""The SQLite store does what the one in memory does, whatever is asked of it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from wefted.store.memory import MemoryStore
from wefted.store.sqlite import SqliteStore
from wefted.testing.store_machine import machine


def test_it_does_what_the_reference_does(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stores")
    numbers = iter(range(10**6))

    async def connect():
        return SqliteStore(str(directory / f"{next(numbers)}.db"))

    run_state_machine_as_test(machine(MemoryStore, connect), settings=settings(max_examples=40, stateful_step_count=25))
