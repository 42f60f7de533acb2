"""Containers that engines tell of, with a namespace of this process in their place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.errors import UsageError
from wefted.runtime.told import ToldRuntime


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    child = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()


def place(child: subprocess.Popen[bytes]) -> str:
    return f"/proc/{child.pid}/ns/net"


def boot(folder: Path, text: str) -> Path:
    path = folder / text
    path.write_text(f"{text}\n")
    return path


async def test_it_knows_only_what_it_was_told(process) -> None:
    runtime = ToldRuntime("cni")
    assert await runtime.find("c1") is None
    runtime.tell("c1", place(process))
    found = await runtime.find("c1")
    assert found is not None
    assert (found.container, found.ns) == ("cni:c1", place(process))


async def test_another_boot_is_another_namespace(process, tmp_path) -> None:
    identities = set()
    for text in ("first", "second", "first"):
        runtime = ToldRuntime("cni", boot=boot(tmp_path, text))
        runtime.tell("c1", place(process))
        found = await runtime.find("c1")
        assert found is not None
        identities.add(found.identity)
    assert len(identities) == 2


async def test_the_end_of_a_container_is_an_event(process) -> None:
    runtime = ToldRuntime("oci", interval=0.01)
    runtime.tell("c1", place(process))
    await runtime.find("c1")
    events = runtime.watch()
    process.kill()
    process.wait()
    event = await anext(events)
    assert (event.container, event.sandbox) == ("oci:c1", None)
    assert await runtime.find("c1") is None


async def test_the_hosts_own_namespace_is_refused() -> None:
    runtime = ToldRuntime("cni")
    runtime.tell("c1", "/proc/self/ns/net")
    with pytest.raises(UsageError, match="shares the host's network"):
        await runtime.find("c1")


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/a\n"])
def test_what_is_no_path_is_refused(path) -> None:
    with pytest.raises(UsageError):
        ToldRuntime("cni").tell("c1", path)
