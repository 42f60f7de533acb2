"""What can happen to /run/netns: it is missing, it comes later, files are bound late, links lead elsewhere."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.model.sandbox import SandboxEvent
from wefted.runtime import namespace
from wefted.runtime.netns import NetnsRuntime
from wefted.testing.runtime_contract import until, watching

pytestmark = pytest.mark.lab


class Place:
    """A directory for namespaces that is nobody else's."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "run" / "netns"
        self.runtime = NetnsRuntime(str(self.directory))
        self._bound: list[Path] = []
        self._holders: list[subprocess.Popen[bytes]] = []

    def hold(self) -> int:
        """Start a process in a namespace of its own; return its PID."""
        process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        self._holders.append(process)
        return process.pid

    def bind(self, name: str, pid: int) -> None:
        path = self.directory / name
        path.touch()
        subprocess.run(["mount", "--bind", f"/proc/{pid}/ns/net", path], check=True)
        self._bound.append(path)

    def unbind(self, name: str) -> None:
        path = self.directory / name
        subprocess.run(["umount", "--lazy", path], check=True)
        self._bound.remove(path)

    def close(self) -> None:
        for path in self._bound:
            subprocess.run(["umount", "--lazy", path], check=True)
        for process in self._holders:
            process.kill()
            process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def of(name: str, *, gone: bool = False) -> object:
    return lambda event: event.container == f"netns:{name}" and (event.sandbox is None) == gone


async def test_a_missing_directory_is_not_made(place: Place) -> None:
    async with watching(place.runtime):
        assert await place.runtime.find("c1") is None
    assert not place.directory.parent.exists()


async def test_a_directory_that_comes_later_is_followed(place: Place) -> None:
    pid = place.hold()
    async with watching(place.runtime) as events:
        place.directory.parent.mkdir()
        await asyncio.sleep(0)
        place.directory.mkdir()
        place.bind("c1", pid)
        event = await until(events, of("c1"))  # type: ignore[arg-type]
        place.bind("c2", pid)
        await until(events, of("c2"))  # type: ignore[arg-type]
    assert event.sandbox == await place.runtime.find("c1")


async def test_a_directory_that_is_made_again_is_followed(place: Place) -> None:
    place.directory.mkdir(parents=True)
    pid = place.hold()
    place.bind("c1", pid)
    async with watching(place.runtime) as events:
        place.unbind("c1")
        (place.directory / "c1").unlink()
        place.directory.rmdir()
        assert await until(events, of("c1", gone=True)) == SandboxEvent(container="netns:c1", sandbox=None)  # type: ignore[arg-type]
        place.directory.mkdir()
        place.bind("c1", pid)
        assert (await until(events, of("c1"))).sandbox is not None  # type: ignore[arg-type]


async def test_a_file_is_a_sandbox_once_a_namespace_is_bound_on_it(place: Place) -> None:
    place.directory.mkdir(parents=True)
    pid = place.hold()
    async with watching(place.runtime) as events:
        (place.directory / "c1").touch()
        place.bind("other", pid)
        await until(events, of("other"))  # type: ignore[arg-type]
        assert await place.runtime.find("c1") is None
        assert events.empty()
        place.bind("c1", pid)
        event = await until(events, of("c1"))  # type: ignore[arg-type]
    assert event.sandbox == await place.runtime.find("c1")


async def test_a_file_that_is_never_bound_is_never_told(place: Place) -> None:
    place.directory.mkdir(parents=True)
    pid = place.hold()
    async with watching(place.runtime) as events:
        (place.directory / "plain").touch()
        (place.directory / "plain").unlink()
        place.bind("c1", pid)
        assert (await events.get()).container == "netns:c1"


async def test_a_link_to_the_namespace_of_a_process_is_a_sandbox(place: Place) -> None:
    place.directory.mkdir(parents=True)
    pid = place.hold()
    async with watching(place.runtime) as events:
        os.symlink(f"/proc/{pid}/ns/net", place.directory / "c1")
        event = await until(events, of("c1"))  # type: ignore[arg-type]
    assert event.sandbox == await place.runtime.find("c1")


async def test_another_kind_of_namespace_is_none(place: Place) -> None:
    place.directory.mkdir(parents=True)
    os.symlink("/proc/self/ns/uts", place.directory / "c1")
    assert await place.runtime.find("c1") is None


async def test_many_at_once_are_all_told(place: Place) -> None:
    place.directory.mkdir(parents=True)
    pid = place.hold()
    names = {f"c{number}" for number in range(100)}
    async with watching(place.runtime) as events:
        for name in names:
            os.symlink(f"/proc/{pid}/ns/net", place.directory / name)
        seen: set[str] = set()
        while seen != {f"netns:{name}" for name in names}:
            seen.add((await until(events, lambda event: True)).container)
        for name in names:
            (place.directory / name).unlink()
        while seen:
            event = await until(events, lambda event: event.sandbox is None)
            seen.discard(event.container)


async def test_where_the_kernel_numbers_no_namespaces_time_tells_them_apart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "_number", lambda descriptor: 0)
    place.directory.mkdir(parents=True)
    pid = place.hold()
    place.bind("c1", pid)
    path = str(place.directory / "c1")
    process = f"/proc/{pid}/ns/net"
    assert namespace.identity_of(path) == namespace.identity_of(path)
    assert namespace.identity_of(process) == namespace.identity_of(process)
    os.symlink(process, place.directory / "link")
    assert namespace.identity_of(str(place.directory / "link")) == namespace.identity_of(process)
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert (namespace.identity_of(process) or "").endswith(f":{started}")
