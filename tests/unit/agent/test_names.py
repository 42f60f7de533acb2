"""Which resolv.conf the name service writes and removes as containers come, are renamed and go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from wefted.agent.names import NameService
from wefted.model.objects import IPAddress
from wefted.runtime.resolvconf import Written
from wefted.services.dns.server import Server

from ..engine.cluster import members


class Files:
    """The files of one kind of container, in memory."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}

    def write(self, name: str, content: str, before_engine: bool = False) -> Written:
        self.content[name] = content
        return Written.YES

    def remove(self, name: str) -> None:
        self.content.pop(name, None)

    def ours(self) -> list[str]:
        return list(self.content)

    def path(self, name: str) -> Path:
        return Path(name)


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that listens wherever it is told, without a socket."""

    async def listen(server: Server, addresses: Iterable[IPAddress]) -> None:
        server.__dict__["at"] = frozenset(addresses)

    monkeypatch.setattr(Server, "listen", listen)
    monkeypatch.setattr(Server, "addresses", property(lambda server: server.__dict__.get("at", frozenset())))


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(("old", "new"), [("a", "b"), ("b", "a")])
async def test_a_container_that_was_renamed_comes_and_goes_like_any_other(old: str, new: str) -> None:
    (member,) = await members(1)
    for network in ("red", "blue"):
        await member.call("network.create", name=network)
    files = Files()
    service = NameService(member.engine, "127.0.0.53", {"netns": files})

    async def look() -> None:
        await service._follow(member.engine.names.refresh())

    await member.call("network.connect", network="red", containers=[member.add(old)])
    await look()
    assert list(files.content) == [old]

    member.runtime.rename(old, new)
    await member.settle()
    await look()
    assert new in files.content

    await member.call("network.disconnect", network="red", containers=[f"netns:{new}"])
    await look()
    assert new not in files.content

    for network in ("red", "blue"):
        await member.call("network.connect", network=network, containers=[f"netns:{new}"])
        await look()
    assert "search red.weft.internal blue.weft.internal weft.internal\n" in files.content[new]
    await member.engine.close()
