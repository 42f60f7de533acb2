"""Watchers of directories: many of them, one descriptor, and each hears of its own directories."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from wefted.runtime.inotify import Inotify


def descriptors() -> int:
    return sum(os.readlink(f"/proc/self/fd/{fd}").endswith("inotify") for fd in os.listdir("/proc/self/fd") if _is_link(fd))


def _is_link(fd: str) -> bool:
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return True


async def test_all_watchers_of_a_loop_share_a_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    watchers = [Inotify() for _ in range(5)]
    for watcher in watchers:
        assert watcher.follow(str(tmp_path))
    assert descriptors() == before + 1
    (tmp_path / "x").touch()
    assert [await watcher.wait(5) for watcher in watchers] == [{"x"}] * 5
    for watcher in watchers[1:]:
        watcher.close()
    (tmp_path / "y").touch()
    assert await watchers[0].wait(5) == {"y"}
    watchers[0].close()
    watchers[0].close()
    assert descriptors() == before


async def test_each_hears_of_its_own_directories(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first, second = Inotify(), Inotify()
    first.follow(str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "absent"))
    second.follow(str(tmp_path / "b"))
    for name in ("a", "b", "c"):
        (tmp_path / name / f"in-{name}").touch()
    assert await first.wait(5) == {"in-a", "in-b"}
    assert await second.wait(5) == {"in-b"}
    assert not second.follow(str(tmp_path / "absent"))
    second.follow(str(tmp_path / "c"))
    (tmp_path / "b" / "again").touch()
    (tmp_path / "c" / "again-c").touch()
    assert await second.wait(5) == {"again-c"}
    assert await first.wait(5) == {"again"}
    first.close()
    second.close()


async def test_a_directory_that_goes_is_told_to_all_of_its_watchers(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    first, second = Inotify(), Inotify()
    for watcher in (first, second):
        watcher.follow(str(place))
    place.rmdir()
    assert [await first.wait(5), await second.wait(5)] == [None, None]
    place.mkdir()
    assert first.follow(str(place))
    (place / "x").touch()
    async with asyncio.timeout(5):
        while await first.wait(1) != {"x"}:
            pass
    first.close()
    second.close()


async def test_one_that_is_forgotten_frees_what_it_had(tmp_path: Path) -> None:
    before = descriptors()
    watcher = Inotify()
    watcher.follow(str(tmp_path))
    del watcher
    assert descriptors() == before


async def test_silence_and_a_nudge(tmp_path: Path) -> None:
    watcher = Inotify()
    watcher.follow(str(tmp_path))
    assert await watcher.wait(0.01) == set()
    watcher.wake()
    assert await watcher.wait(5) == set()
    watcher.close()
