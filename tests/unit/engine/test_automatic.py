"""Containers that say to which networks they belong, and those that say nothing on a host with a network for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from wefted.engine.automatic import Automatic
from wefted.errors import Unreachable
from wefted.model.sandbox import SandboxEvent
from wefted.model.wishes import Wish, wishes

from .cluster import Member, members

NET = {"wefted.network": "net"}


class Agent:
    """A host with two networks, and what follows its containers."""

    def __init__(self, host: Member, default: str) -> None:
        self.host = host
        self.automatic = Automatic(host.engine.host, host.engine.endpoints, default)

    async def start(self, name: str, said: Mapping[str, str] | None) -> None:
        sandbox = self.host.runtime.add(name, said=said)
        self.host.kernel.add_namespace(sandbox.ns)
        await self._tell(SandboxEvent(container=f"netns:{name}", sandbox=sandbox))

    async def stop(self, name: str) -> None:
        self.host.remove(name)
        await self._tell(SandboxEvent(container=f"netns:{name}", sandbox=None))
        await self.automatic.sweep()

    async def _tell(self, event: SandboxEvent) -> None:
        await self.host.engine.endpoints.following.sandbox_changed(event)
        await self.automatic.sandbox_changed(event)

    async def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["container"], row["network"]): row for row in await self.host.call("endpoint.list")}


async def agent(default: str = "") -> Agent:
    host = (await members(1))[0]
    for name in ("net", "other"):
        await host.call("network.create", name=name)
    return Agent(host, default)


def test_wishes() -> None:
    said = {"wefted.network": "a, b,,a", "wefted.ip": "10.0.0.7, fd00::7", "wefted.publish": "80:80"}
    assert wishes(said) == [Wish(network="a", ip=("10.0.0.7", "fd00::7"), publish=("80:80",)), Wish(network="b")]
    assert wishes({}) == []
    assert wishes({}, "a,b") == [Wish(network="a"), Wish(network="b")]
    assert wishes({"wefted.network": ""}, "a") == []


async def test_a_label_attaches_to_several_networks() -> None:
    one = await agent()
    await one.start("c1", {"wefted.network": "net,other", "wefted.alias": "web"})
    rows = await one.rows()
    assert {(key, row["state"], row["automatic"]) for key, row in rows.items()} == {
        (("netns:c1", "net"), "up", True),
        (("netns:c1", "other"), "up", True),
    }
    assert [rows["netns:c1", name]["aliases"] for name in ("net", "other")] == [["web"], []]
    assert await one.host.settle() == 0


@pytest.mark.parametrize(("said", "expected"), [(None, []), ({}, ["net"]), ({"wefted.network": ""}, []), (NET, ["net"])])
async def test_the_networks_of_those_that_say_nothing(said: Mapping[str, str] | None, expected: list[str]) -> None:
    one = await agent(default="net")
    await one.start("c1", said)
    assert [network for _, network in await one.rows()] == expected


async def test_nothing_happens_without_a_word() -> None:
    one = await agent()
    await one.start("c1", {})
    assert await one.rows() == {}


async def test_it_waits_while_stopped_and_goes_with_the_container() -> None:
    one = await agent()
    await one.start("c1", NET)
    before = (await one.rows())["netns:c1", "net"]
    await one.stop("c1")
    assert (await one.rows())["netns:c1", "net"]["state"] == "down"
    await one.start("c1", NET)
    after = (await one.rows())["netns:c1", "net"]
    assert (after["state"], after["addresses"], after["mac"]) == ("up", before["addresses"], before["mac"])
    one.host.runtime.forget("c1")
    await one.stop("c1")
    assert await one.rows() == {}


async def test_while_the_engine_is_silent_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    one = await agent()
    await one.start("c1", NET)

    async def silent(_: str) -> bool:
        raise Unreachable("no answer")

    monkeypatch.setattr(one.host.runtime, "exists", silent)
    one.host.runtime.forget("c1")
    await one.stop("c1")
    assert len(await one.rows()) == 1


async def test_what_was_attached_by_hand_stays() -> None:
    one = await agent()
    await one.host.call("network.connect", network="net", containers=[one.host.add("c1")])
    await one.start("c1", {"wefted.network": "net,other"})
    assert {network: row["automatic"] for (_, network), row in (await one.rows()).items()} == {"net": False, "other": True}
    one.host.runtime.forget("c1")
    await one.stop("c1")
    assert list(await one.rows()) == [("netns:c1", "net")]


async def test_a_container_made_anew_without_the_label_leaves() -> None:
    one = await agent()
    await one.start("c1", NET)
    await one.start("c1", {"wefted.network": "other"})
    assert [network for _, network in await one.rows()] == ["other"]


async def test_a_network_that_comes_later() -> None:
    one = await agent()
    await one.start("c1", {"wefted.network": "later,net"})
    assert [network for _, network in await one.rows()] == ["net"]
    await one.host.call("network.create", name="later")
    await one.automatic.sweep()
    assert sorted(network for _, network in await one.rows()) == ["later", "net"]


async def test_a_start_looks_at_containers_that_were_known_before() -> None:
    one = await agent()
    await one.start("c1", {"wefted.network": "net"})
    anew = Agent(one.host, default="")
    one.host.runtime.add("c1", ns="/run/fake/netns/c1", said={"wefted.network": "net,other"})
    running = asyncio.create_task(anew.automatic.run())
    async with asyncio.timeout(5):
        while len(await one.rows()) < 2:
            await asyncio.sleep(0.01)
    running.cancel()
    assert sorted(network for _, network in await one.rows()) == ["net", "other"]
