"""Finding a container by what a person typed."""

from __future__ import annotations

import pytest

from wefted.errors import NotFound, Unreachable, UsageError
from wefted.model import spec
from wefted.model.sandbox import Sandbox
from wefted.runtime import RUNTIMES, search
from wefted.testing.runtime import FakeRuntime


class Unanswering(FakeRuntime):
    async def find(self, name: str) -> Sandbox | None:
        raise Unreachable(f"{self.kind} does not answer")


def runtimes(*fakes: FakeRuntime) -> dict[str, FakeRuntime]:
    return {fake.kind: fake for fake in fakes}


async def test_a_kind_chooses_the_runtime() -> None:
    netns, docker = FakeRuntime("netns"), FakeRuntime("docker")
    netns.add("c1")
    wanted = docker.add("c1")
    assert await search.find(runtimes(netns, docker), "docker:c1") == wanted


async def test_a_bare_name_is_looked_for_everywhere() -> None:
    netns, docker = FakeRuntime("netns"), FakeRuntime("docker")
    wanted = docker.add("web")
    assert await search.find(runtimes(netns, docker), "web") == wanted


async def test_a_bare_name_in_two_runtimes_is_ambiguous() -> None:
    netns, docker = FakeRuntime("netns"), FakeRuntime("docker")
    netns.add("c1")
    docker.add("c1")
    with pytest.raises(UsageError, match="netns:c1, docker:c1") as error:
        await search.find(runtimes(netns, docker), "c1")
    assert "netns:c1" in error.value.hint


async def test_a_bare_number_is_no_pid() -> None:
    pid = FakeRuntime("pid")
    pid.add("4242")
    with pytest.raises(NotFound, match="'4242'"):
        await search.find(runtimes(FakeRuntime("netns"), pid), "4242")


@pytest.mark.parametrize("text", ["c1", "netns:c1"])
async def test_what_does_not_run_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="no running container") as error:
        await search.find(runtimes(FakeRuntime("netns")), text)
    assert "ip netns add c1" in error.value.hint


async def test_a_kind_that_this_host_does_not_have() -> None:
    with pytest.raises(NotFound, match="no docker runtime"):
        await search.find(runtimes(FakeRuntime("netns")), "docker:web")


async def test_a_runtime_that_does_not_answer_hides_nothing() -> None:
    netns = FakeRuntime("netns")
    wanted = netns.add("c1")
    assert await search.find(runtimes(netns, Unanswering("docker")), "c1") == wanted


async def test_a_runtime_that_does_not_answer_is_named_when_nothing_is_found() -> None:
    with pytest.raises(Unreachable, match="docker does not answer"):
        await search.find(runtimes(FakeRuntime("netns"), Unanswering("docker")), "c1")


async def test_a_container_in_the_hosts_namespace_is_refused() -> None:
    netns = FakeRuntime("netns")
    netns.share_host("c1")
    for text in ("c1", "netns:c1"):
        with pytest.raises(UsageError, match="shares the host's network"):
            await search.find(runtimes(netns), text)


@pytest.mark.parametrize("text", ["", "dokcer:web", "netns:../x", "/proc/1/ns/net", "pid:x"])
async def test_a_bad_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        await search.find(runtimes(FakeRuntime("netns")), text)


async def test_an_engine_that_is_not_here_is_no_reason() -> None:
    class Absent(FakeRuntime):
        async def find(self, name: str) -> Sandbox | None:
            raise NotFound(f"there is no {self.kind}")

    with pytest.raises(NotFound, match=r"no running container 'c1' \(looked in: netns\)"):
        await search.find(runtimes(FakeRuntime("netns"), Absent("docker")), "c1")
    with pytest.raises(NotFound, match="there is no docker"):
        await search.find(runtimes(Absent("docker")), "docker:c1")


def test_every_runtime_is_registered_under_its_own_kind() -> None:
    assert {kind: make().kind for kind, make in RUNTIMES.items()} == {kind: kind for kind in spec.KINDS}
