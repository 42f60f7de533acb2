"""A network that outgrows a bridge goes on in the next one, and nothing of that is left when it shrinks."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from wefted.engine import places
from wefted.engine.places import ROOM, ROOM_TO_PUBLISH, Places
from wefted.errors import KernelError
from wefted.model import codec
from wefted.model.link import Bridge, LinkState, Veth
from wefted.model.network import Endpoint, Network
from wefted.model.objects import HOST

from .cluster import Member, members

NET = Network(name="net")


def filled(*counts: int) -> Places:
    found = Places()
    for bridge, count in enumerate(counts):
        for number in range(count):
            found.enter(Endpoint(network="net", container=f"netns:{bridge}-{number}", bridge=bridge))
    return found


@pytest.mark.parametrize(
    ("counts", "chosen", "to_publish"),
    [
        ((), 0, 0),
        ((ROOM - 1,), 0, 0),
        ((ROOM,), 1, 0),
        ((ROOM, ROOM), 2, 0),
        ((ROOM, 3, ROOM), 1, 0),
        ((ROOM - 1, ROOM), 0, 0),
        ((ROOM_TO_PUBLISH - 1, 3), 1, 0),
        ((ROOM_TO_PUBLISH, 3), 1, 1),
        ((900,), 1, 1),  # made by a version that had one bridge
    ],
)
def test_the_lowest_bridge_with_room_is_chosen(counts: tuple[int, ...], chosen: int, to_publish: int) -> None:
    taken = filled(*counts)
    assert taken.choose(NET, publishes=False) == chosen
    assert taken.choose(NET, publishes=True) == to_publish
    assert taken.choose(Network(name="net", driver="ptp"), publishes=False) == 0
    assert taken.choose(Network(name="other"), publishes=False) == 0


def test_whoever_begins_to_publish_goes_to_the_first_bridge_while_that_has_room() -> None:
    endpoint = Endpoint(network="net", container="netns:a", bridge=2)
    assert filled(ROOM, ROOM, 1).to_publish(NET, endpoint) == 0
    assert filled(ROOM_TO_PUBLISH, 5, 1).to_publish(NET, endpoint) == 2


def test_counting_ends_at_nothing() -> None:
    taken = filled(2, 0, 1)
    for number in range(2):
        taken.leave(Endpoint(network="net", container=f"netns:0-{number}"))
    assert taken.last("net") == 2
    taken.leave(Endpoint(network="net", container="netns:2-0", bridge=2))
    assert taken.last("net") == 0
    assert taken.choose(NET, publishes=False) == 0


def test_a_record_of_before_is_in_the_first_bridge() -> None:
    stored = codec.encode(Endpoint(network="net", container="netns:c1"))
    del stored["bridge"]
    assert codec.decode(Endpoint, stored).bridge == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three endpoints to a bridge, and two more in the first for those that publish."""
    monkeypatch.setattr(places, "ROOM", 3)
    monkeypatch.setattr(places, "ROOM_TO_PUBLISH", 5)


async def host_with(count: int) -> Member:
    (host,) = await members(1)
    await host.call("network.create", name="net", subnets=["10.64.0.0/16"])
    await connect(host, *(host.add(f"c{number}") for number in range(count)))
    return host


async def connect(host: Member, *containers: str, **more: Any) -> list[int]:
    rows = await host.call("network.connect", network="net", containers=list(containers), **more)
    return [row["bridge"] for row in rows]


def links(host: Member, kind: type) -> list[Any]:
    return [o for o in host.kernel.read(HOST).objects.values() if isinstance(o, kind)]


def ports(host: Member) -> dict[str, int]:
    """Return bridge -> its ports that are containers'."""
    masters = [veth.master for veth in links(host, Veth) if veth.peer_ns != HOST]
    return {name: masters.count(name) for name in set(masters)}


@pytest.mark.usefixtures("small")
async def test_endpoints_fill_one_bridge_after_the_other() -> None:
    host = await host_with(8)
    network = host.engine.host.view.networks["net"]
    assert ports(host) == {network.link: 3, network.bridge(1): 3, network.bridge(2): 2}
    assert len({bridge.mac for bridge in links(host, Bridge)}) == 3
    for number in (1, 2):
        near, far = network.joint(number)
        assert [v.master for v in links(host, Veth) if v.name == near] == [network.bridge(number - 1)]
        assert [s.master for s in links(host, LinkState) if s.name == far] == [network.bridge(number)]
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_places_outlive_the_engine_and_free_ones_are_taken_again() -> None:
    host = await host_with(8)
    await host.start()
    assert await host.settle() == 0
    await host.call("network.disconnect", network="net", containers=["netns:c1", "netns:c4"])
    assert await connect(host, *map(host.add, ("d0", "d1", "d2", "d3"))) == [0, 1, 2, 3]
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_a_bridge_stays_until_its_last_endpoint_goes() -> None:
    host = await host_with(5)
    assert len(links(host, Bridge)) == 2
    await host.call("network.disconnect", network="net", containers=["netns:c3"])
    assert len(links(host, Bridge)) == 2
    await host.call("network.disconnect", network="net", containers=["netns:c4"])
    assert len(links(host, Bridge)) == 1
    assert not [veth for veth in links(host, Veth) if veth.peer_ns == HOST]
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_an_empty_bridge_stays_while_another_hangs_on_it() -> None:
    host = await host_with(7)
    await host.call("network.disconnect", network="net", containers=["netns:c3", "netns:c4", "netns:c5"])
    assert len(links(host, Bridge)) == 3
    assert await host.settle() == 0
    await host.call("network.disconnect", network="net", containers=["netns:c6"])
    assert len(links(host, Bridge)) == 1
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_a_container_that_is_gone_keeps_its_place() -> None:
    host = await host_with(4)
    host.remove("c3")
    await host.settle()
    assert len(links(host, Bridge)) == 2
    host.add("c3")
    await host.settle()
    network = host.engine.host.view.networks["net"]
    assert ports(host) == {network.link: 3, network.bridge(1): 1}


@pytest.mark.usefixtures("small")
async def test_a_bridge_that_cannot_be_made_leaves_nothing() -> None:
    host = await host_with(3)
    before = host.state()
    network = host.engine.host.view.networks["net"]
    host.kernel.refuse["link", HOST, network.joint(1)[0]] = errno.ENOMEM
    container = host.add("c3")
    with pytest.raises(KernelError):
        await connect(host, container)
    host.remove("c3")
    assert host.state() == before
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_publishing_moves_an_endpoint_to_the_first_bridge() -> None:
    host = await host_with(5)
    network = host.engine.host.view.networks["net"]
    for name, first in (("c3", 4), ("c4", 5)):
        row = await host.call("endpoint.publish", container=f"netns:{name}", ports=[f"80{first}:80"])
        assert row["bridge"] == 0
        assert ports(host)[network.link] == first
        assert await host.settle() == 0
    assert len(links(host, Bridge)) == 1, "the second is empty"
    assert await connect(host, host.add("full"), publish=["81:80"]) == [1]
    row = await host.call("endpoint.unpublish", container="netns:c3", ports=["804:80"])
    assert row["bridge"] == 0
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_moving_an_endpoint_leaves_the_others_of_its_bridge_alone() -> None:
    host = await host_with(5)
    await host.call("endpoint.publish", container="netns:c3", ports=["80:80"])
    network = host.engine.host.view.networks["net"]
    assert ports(host) == {network.link: 4, network.bridge(1): 1}
    assert await host.settle() == 0


@pytest.mark.usefixtures("small")
async def test_the_mtu_reaches_every_bridge() -> None:
    host = await host_with(7)
    await host.call("network.set", name="net", mtu=1300)
    network = host.engine.host.view.networks["net"]
    mine = [*links(host, Bridge), *links(host, Veth)]
    far = [s for s in links(host, LinkState) if s.name in (network.joint(1)[1], network.joint(2)[1])]
    assert [link.mtu for link in (*mine, *far)] == [1300] * (3 + 9 + 2)
    assert await host.settle() == 0
