"""The contract of runtimes with real engines. `test_engine_runtimes.py` runs it inside a virtual host and shows the results."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wefted.errors import UsageError
from wefted.interfaces import Runtime
from wefted.runtime.containerd import ContainerdRuntime
from wefted.runtime.docker import DockerRuntime
from wefted.runtime.lxc import LxcRuntime
from wefted.runtime.nspawn import NspawnFiles, NspawnRuntime
from wefted.runtime.podman import PodmanRuntime
from wefted.testing.runtime_contract import AnnouncingContract, RenamingContract, until, watching

from .skeletons import LxcContainer, Machine, here

NUMBERS = itertools.count(1)
IMAGE = "docker.io/library/skel:latest"


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


class DockerWorld:
    """Containers by a command line like Docker's."""

    command = "docker"
    bad_names = ("", "a/b", "..", "a b", "x;y", "=x", "a=\n")

    def __init__(self) -> None:
        self.runtime: Runtime = DockerRuntime()
        self._names: list[str] = []

    def make(self, *words: str) -> str:
        name = f"c{next(NUMBERS)}"
        run(self.command, "run", "-d", "--name", name, *words, "skel")
        self._names.append(name)
        return name

    def remove(self, name: str) -> None:
        run(self.command, "stop", "-t", "1", name)

    def recreate(self, name: str) -> None:
        run(self.command, "start", name)

    def sharing_host(self) -> str:
        return self.make("--net", "host")

    def rename(self, name: str) -> str:
        run(self.command, "rename", name, f"{name}-new")
        self._names.append(f"{name}-new")
        return f"{name}-new"

    def close(self) -> None:
        for name in reversed(self._names):  # what lives in another one's namespace goes first
            subprocess.run([self.command, "rm", "-f", name], check=False, capture_output=True)


class PodmanWorld(DockerWorld):
    command = "podman"

    def __init__(self) -> None:
        super().__init__()
        self.runtime = PodmanRuntime()

    def remove(self, name: str) -> None:
        run("podman", "stop", "-t", "0", name)


class ContainerdWorld:
    bad_names = ("", "a/b", "..", "a b")

    def __init__(self) -> None:
        self.runtime = ContainerdRuntime()
        self._names: list[str] = []

    def make(self, *words: str) -> str:
        name = f"c{next(NUMBERS)}"
        run("ctr", "run", "-d", *words, IMAGE, name)
        self._names.append(name)
        return name

    def remove(self, name: str) -> None:
        run("ctr", "task", "rm", "--force", name)

    def recreate(self, name: str) -> None:
        run("ctr", "task", "start", "-d", name)

    def sharing_host(self) -> str:
        return self.make("--net-host")

    def close(self) -> None:
        for name in self._names:
            subprocess.run(["ctr", "task", "rm", "--force", name], check=False, capture_output=True)
            subprocess.run(["ctr", "container", "rm", name], check=False, capture_output=True)


class SkeletonWorld:
    """Containers made from a root directory, of LXC or systemd-nspawn."""

    bad_names = ("", "a/b", "..", "a b")

    def __init__(self, runtime: Runtime, make: Callable[[str], LxcContainer | Machine]) -> None:
        self.runtime = runtime
        self.containers: dict[str, LxcContainer | Machine] = {}
        self._make = make

    def make(self, own_network: bool = True) -> str:
        name = f"c{next(NUMBERS)}"
        self.containers[name] = self._make(name)
        self.containers[name].start(own_network)
        return name

    def remove(self, name: str) -> None:
        self.containers[name].stop()

    def recreate(self, name: str) -> None:
        self.containers[name].start()

    def sharing_host(self) -> str:
        return self.make(own_network=False)

    def close(self) -> None:
        for container in self.containers.values():
            container.remove()


class Sharing:
    """Containers in the namespace of another one are found as that one, by engines with a command line like Docker's."""

    async def test_what_shares_is_found_as_the_owner(self, world: DockerWorld) -> None:
        owner = world.make()
        sharer = world.make("--net", f"container:{owner}")
        assert await world.runtime.find(sharer) == await world.runtime.find(owner)


class TestDocker(RenamingContract, Sharing):
    @pytest.fixture
    def world(self) -> Iterator[DockerWorld]:
        world = DockerWorld()
        yield world
        world.close()

    async def test_a_label_means_the_only_container_that_has_it(self, world: DockerWorld) -> None:
        name = world.make("--label", "app=web")
        assert await world.runtime.find("app=web") == await world.runtime.find(name)
        world.make("--label", "app=web")
        with pytest.raises(UsageError, match="may be any of"):
            await world.runtime.find("app=web")
        assert await world.runtime.find("app=other") is None

    async def test_what_shares_with_one_that_does_not_run_is_refused(self, world: DockerWorld) -> None:
        owner = world.make()
        sharer = world.make("--net", f"container:{owner}")
        world.remove(owner)
        with pytest.raises(UsageError, match="lives in the network of another container, which does not run"):
            await world.runtime.find(sharer)

    async def test_a_name_is_no_pattern(self, world: DockerWorld) -> None:
        world.make()
        assert await world.runtime.find("c") is None


class TestPodman(RenamingContract, Sharing):
    @pytest.fixture
    def world(self) -> Iterator[PodmanWorld]:
        world = PodmanWorld()
        yield world
        world.close()

    async def test_labels_need_the_service_and_it_says_so(self, world: PodmanWorld) -> None:
        world.make("--label", "app=web")
        with pytest.raises(UsageError, match="known to its service alone"):
            await world.runtime.find("app=web")


class TestContainerd(AnnouncingContract):
    @pytest.fixture
    def world(self) -> Iterator[ContainerdWorld]:
        world = ContainerdWorld()
        yield world
        world.close()

    async def test_what_ends_by_itself_is_told(self, world: ContainerdWorld) -> None:
        name = world.make()
        await world.runtime.find(name)
        async with watching(world.runtime) as events:
            run("ctr", "task", "kill", "-s", "SIGKILL", name)
            assert (await until(events, lambda e: e.container == f"containerd:{name}")).sandbox is None

    async def test_dockers_own_namespace_is_left_to_docker(self, world: ContainerdWorld) -> None:
        identifier = run("docker", "run", "-d", "--rm", "--name", "own", "skel")
        assert await world.runtime.find(identifier) is None
        run("docker", "rm", "-f", "own")


class TestLxc(AnnouncingContract):
    @pytest.fixture
    def world(self) -> Iterator[SkeletonWorld]:
        world = SkeletonWorld(LxcRuntime(), lambda name: LxcContainer(here, name))
        yield world
        world.close()

    async def test_the_name_stays_when_a_group_of_it_was_left_over(self, world: SkeletonWorld) -> None:
        """LXC takes `lxc.payload.NAME-1` then. The monitor of the first one is killed, so that nobody removes its groups."""
        name = world.make()
        container = world.containers[name]
        before = await world.runtime.find(name)
        async with watching(world.runtime) as events:
            run("kill", "-9", run("ps", "-o", "ppid=", "-p", str(container.leader())))
            await until(events, lambda e: e.container == f"lxc:{name}" and e.sandbox is None)
            container.start()
            back = await until(events, lambda e: e.container == f"lxc:{name}" and e.sandbox is not None)
        assert f"lxc.payload.{name}-1" in run("cat", f"/proc/{container.leader()}/cgroup")
        assert back.sandbox == await world.runtime.find(name) != before
        assert await world.runtime.find(f"{name}-1") is None


class TestNspawn(AnnouncingContract):
    """Machines that nobody has registered."""

    @pytest.fixture
    def world(self) -> Iterator[SkeletonWorld]:
        world = SkeletonWorld(NspawnRuntime(), lambda name: Machine(here, name))
        yield world
        world.close()

    async def test_a_machine_runs_on_when_its_nspawn_was_killed(self, world: SkeletonWorld) -> None:
        name = world.make()
        found = await world.runtime.find(name)
        machine = world.containers[name]
        assert isinstance(machine, Machine)
        leader = machine.leader()
        machine.stop("KILL")
        assert await world.runtime.find(name) == found
        async with watching(world.runtime) as events:
            os.kill(leader, signal.SIGKILL)
            assert (await until(events, lambda e: e.container == f"nspawn:{name}")).sandbox is None
        assert os.path.isdir(f"/run/systemd/nspawn/propagate/{name}")
        assert list(NspawnFiles().entries()) == []


class TestNspawnRegistered(AnnouncingContract):
    """Machines of systemd-machined."""

    @pytest.fixture
    def world(self) -> Iterator[SkeletonWorld]:
        world = SkeletonWorld(NspawnRuntime(), lambda name: Machine(here, name, registered=True))
        yield world
        world.close()

    async def test_they_are_registered(self, world: SkeletonWorld) -> None:
        name = world.make()
        assert f"LEADER={world.containers[name].leader()}\n" in Path(f"/run/systemd/machines/{name}").read_text()
