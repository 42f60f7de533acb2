"""The runtimes of bare namespaces keep the promises of `Runtime`, on a real kernel."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from wefted.runtime.netns import NetnsRuntime
from wefted.runtime.path import PathRuntime
from wefted.runtime.pid import PidRuntime
from wefted.testing.runtime_contract import BaselineContract, ReturningContract, RuntimeContract

pytestmark = pytest.mark.lab


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Holders:
    """Processes that do nothing but hold a namespace of their own."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *prefix: str) -> str:
        process = subprocess.Popen([*prefix, "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        self._running[str(process.pid)] = process
        return str(process.pid)

    def stop(self, pid: str) -> None:
        process = self._running.pop(pid)
        process.kill()
        process.wait()

    def stop_all(self) -> None:
        for pid in list(self._running):
            self.stop(pid)


class NetnsWorld:
    bad_names = ("", "a/b", "..", "a b", "x;y")

    def __init__(self) -> None:
        self.runtime = NetnsRuntime()
        self._names: set[str] = set()

    def _new(self) -> str:
        name = f"wt{uuid.uuid4().hex[:8]}"
        self._names.add(name)
        return name

    def make(self) -> str:
        name = self._new()
        self.recreate(name)
        return name

    def recreate(self, name: str) -> None:
        run("ip", "netns", "add", name)

    def remove(self, name: str) -> None:
        run("ip", "netns", "del", name)

    def sharing_host(self) -> str:
        name = self._new()
        run("ip", "netns", "attach", name, str(os.getpid()))
        return name

    def close(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class PidWorld:
    bad_names = ("", "x", "0", "-1", "99999999999")

    def __init__(self) -> None:
        self.runtime = PidRuntime()
        self._holders = Holders()

    def make(self) -> str:
        return self._holders.start("unshare", "--net")

    def remove(self, name: str) -> None:
        self._holders.stop(name)

    def recreate(self, name: str) -> None:
        raise AssertionError("a process never comes back")

    def sharing_host(self) -> str:
        return self._holders.start()

    def close(self) -> None:
        self._holders.stop_all()


class PathWorld:
    bad_names = ("", "proc/1/ns/net", "/proc/../proc/1/ns/net", "/a\nb")

    def __init__(self, directory: Path) -> None:
        self.runtime = PathRuntime(interval=0.01)
        self._directory = directory
        self._holders = Holders()
        self._mounted: set[str] = set()

    def _bind(self, name: str, pid: str) -> None:
        Path(name).touch()
        run("mount", "--bind", f"/proc/{pid}/ns/net", name)
        self._mounted.add(name)

    def make(self) -> str:
        name = str(self._directory / uuid.uuid4().hex)
        self.recreate(name)
        return name

    def recreate(self, name: str) -> None:
        pid = self._holders.start("unshare", "--net")
        self._bind(name, pid)
        self._holders.stop(pid)

    def remove(self, name: str) -> None:
        run("umount", "--lazy", name)
        os.unlink(name)
        self._mounted.discard(name)

    def sharing_host(self) -> str:
        name = str(self._directory / "host")
        self._bind(name, "self")
        return name

    def close(self) -> None:
        for name in list(self._mounted):
            self.remove(name)
        self._holders.stop_all()


class TestNetnsRuntime(BaselineContract):
    @pytest.fixture
    def world(self) -> Iterator[NetnsWorld]:
        world = NetnsWorld()
        yield world
        world.close()


class TestPidRuntime(RuntimeContract):
    @pytest.fixture
    def world(self) -> Iterator[PidWorld]:
        world = PidWorld()
        yield world
        world.close()


class TestPathRuntime(ReturningContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[PathWorld]:
        world = PathWorld(tmp_path)
        yield world
        world.close()
