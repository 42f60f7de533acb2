"""What every `Runtime` must do, as tests: subclass `RuntimeContract` and provide a world of containers. Needs pytest-asyncio.

Assertions speak best after `pytest.register_assert_rewrite("wefted.testing.runtime_contract")`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Protocol

import pytest

from wefted.errors import UsageError
from wefted.interfaces import Runtime
from wefted.model.sandbox import SandboxEvent

DEADLINE = 10.0
"""Seconds until a test gives up waiting for an event."""


class World(Protocol):
    """Containers of one kind, and the runtime that is to find them."""

    runtime: Runtime
    bad_names: tuple[str, ...]

    def make(self) -> str:
        """Start a container; return its name."""

    def remove(self, name: str) -> None:
        """Stop a container."""

    def recreate(self, name: str) -> None:
        """Start a container again under the name of a stopped one (for `ReturningContract`)."""

    def sharing_host(self) -> str:
        """Start a container that uses the host's own namespace; return its name."""


class RuntimeContract:
    """The tests for every runtime. `world` is a fixture of the subclass."""

    async def test_what_does_not_run_is_not_found(self, world: World) -> None:
        name = world.make()
        world.remove(name)
        assert await world.runtime.find(name) is None

    async def test_what_runs_is_found(self, world: World) -> None:
        name = world.make()
        found = await world.runtime.find(name)
        assert found is not None
        assert found.container == f"{world.runtime.kind}:{name}"
        assert os.path.isabs(found.ns)
        assert found == await world.runtime.find(name)

    async def test_two_containers_are_told_apart(self, world: World) -> None:
        first, second = await world.runtime.find(world.make()), await world.runtime.find(world.make())
        assert first is not None
        assert second is not None
        assert first.identity != second.identity
        assert first.ns != second.ns

    async def test_a_bad_name_is_refused(self, world: World) -> None:
        for name in world.bad_names:
            with pytest.raises(UsageError):
                await world.runtime.find(name)

    async def test_a_container_in_the_hosts_namespace_is_refused(self, world: World) -> None:
        name = world.sharing_host()
        with pytest.raises(UsageError, match="shares the host's network"):
            await world.runtime.find(name)

    async def test_a_watch_tells_what_goes(self, world: World) -> None:
        name = world.make()
        await world.runtime.find(name)
        async with watching(world.runtime) as events:
            world.remove(name)
            event = await until(events, lambda e: e.container.endswith(f":{name}"))
        assert event == SandboxEvent(container=f"{world.runtime.kind}:{name}", sandbox=None)

    async def test_every_watcher_is_told(self, world: World) -> None:
        name = world.make()
        await world.runtime.find(name)
        async with watching(world.runtime) as first, watching(world.runtime) as second:
            world.remove(name)
            for events in (first, second):
                assert (await until(events, lambda e: e.container.endswith(f":{name}"))).sandbox is None

    async def test_a_closed_watch_leaves_no_descriptor(self, world: World) -> None:
        name = world.make()
        await world.runtime.find(name)
        before = _descriptors()
        for _ in range(3):
            async with watching(world.runtime):
                pass
        world.runtime.watch()  # never iterated
        assert _descriptors() == before


class ReturningContract(RuntimeContract):
    """Further tests, for runtimes whose containers may come back under their names."""

    async def test_what_comes_back_is_another_one(self, world: World) -> None:
        name = world.make()
        before = await world.runtime.find(name)
        assert before is not None
        async with watching(world.runtime) as events:
            world.remove(name)
            world.recreate(name)
            back = await until(events, lambda e: e.container == before.container and e.sandbox not in (None, before))
        assert back.sandbox is not None
        assert back.sandbox.identity != before.identity
        assert back.sandbox == await world.runtime.find(name)

    async def test_what_comes_back_after_its_end_was_told_is_another_one(self, world: World) -> None:
        name = world.make()
        before = await world.runtime.find(name)
        assert before is not None
        async with watching(world.runtime) as events:
            world.remove(name)
            await until(events, lambda e: e.container == before.container and e.sandbox is None)
            world.recreate(name)
            back = await until(events, lambda e: e.container == before.container and e.sandbox is not None)
        assert back.sandbox is not None
        assert back.sandbox.identity != before.identity


class AnnouncingContract(ReturningContract):
    """Further tests, for runtimes that tell of containers that nobody has looked for."""

    async def test_a_watch_tells_what_comes(self, world: World) -> None:
        async with watching(world.runtime) as events:
            name = world.make()
            event = await until(events, lambda e: e.container.endswith(f":{name}"))
        assert event.sandbox is not None
        assert event.sandbox == await world.runtime.find(name)


class BaselineContract(AnnouncingContract):
    """Further tests, for runtimes that know what there is as soon as they begin to watch."""

    async def test_what_was_there_before_is_not_told(self, world: World) -> None:
        old = world.make()
        async with watching(world.runtime) as events:
            new = world.make()
            seen: list[str] = []
            await until(events, lambda e: seen.append(e.container) or e.container.endswith(f":{new}"))  # type: ignore[func-returns-value]
        assert f"{world.runtime.kind}:{old}" not in seen


class RenamingWorld(World, Protocol):
    """Containers that can be renamed and that have an identifier."""

    def rename(self, name: str) -> str:
        """Rename a container, running or not; return its new name."""


class RenamingContract(AnnouncingContract):
    """Further tests, for engines that give their containers identifiers and names that change."""

    async def test_the_beginning_of_an_identifier_is_enough(self, world: RenamingWorld) -> None:
        found = await world.runtime.find(world.make())
        assert found is not None
        assert found.id
        assert await world.runtime.find(found.id[:12]) == found
        assert await world.runtime.find(found.id) == found

    async def test_a_watch_tells_a_new_name(self, world: RenamingWorld) -> None:
        before = await world.runtime.find(name := world.make())
        assert before is not None
        async with watching(world.runtime) as events:
            new = world.rename(name)
            event = await until(events, lambda e: bool(e.renamed))
        assert (event.container, event.renamed) == (f"{world.runtime.kind}:{new}", before.container)
        assert event.sandbox == await world.runtime.find(new)
        assert event.sandbox is not None
        assert (event.sandbox.identity, event.sandbox.id) == (before.identity, before.id)
        assert await world.runtime.find(name) is None


class watching:
    """A watch that has begun when the block begins, and that is closed at its end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __aenter__(self) -> asyncio.Queue[SandboxEvent]:
        self._seen: asyncio.Queue[SandboxEvent] = asyncio.Queue()
        self._events: Any = self._runtime.watch()
        self._task = asyncio.create_task(self._copy())
        await asyncio.sleep(0)
        return self._seen

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _copy(self) -> None:
        async with aclosing(self._events) as events:
            async for event in events:
                self._seen.put_nowait(event)


async def until(events: asyncio.Queue[SandboxEvent], wanted: Callable[[SandboxEvent], bool]) -> SandboxEvent:
    """Return the first event that is wanted. Raises `TimeoutError` after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not wanted(event := await events.get()):
            pass
    return event


def _descriptors() -> set[str]:
    """Return this process's open descriptors by what they are, the one that lists them aside."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found
