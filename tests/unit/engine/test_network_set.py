"""Changing a network that lives."""

from __future__ import annotations

from typing import Any

import pytest

from wefted.errors import Conflict, NotFound, UsageError
from wefted.model.link import Link, LinkState
from wefted.model.objects import HOST, Netns
from wefted.model.records import Op

from .cluster import Member, members

INSIDE = Netns("/run/fake/netns/c1")


def mtus(host: Member) -> set[int]:
    """Return the MTU of every link of a network, the one inside its container included."""
    state = host.state()
    links = [*state[HOST].values(), *state[INSIDE].values()]
    return {o.mtu for o in links if (isinstance(o, Link | LinkState) and o.name not in ("eth0", "lo")) or _inside(o)}


def _inside(item: Any) -> bool:
    return isinstance(item, LinkState) and item.ns == INSIDE and item.name == "eth0"


async def two(**wanted: Any) -> tuple[Member, Member]:
    a, b = await members(2)
    await a.call("network.create", name="net", backend="vxlan", **wanted)
    for host in (a, b):
        await host.call("network.connect", network="net", containers=[host.add("c1")])
    await a.settle()
    return a, b


async def test_the_mtu_reaches_every_link_of_every_host() -> None:
    a, b = await two()
    assert mtus(a) == mtus(b) == {1450}
    assert (await a.call("network.set", name="net", mtu=1300))["mtu"] == 1300
    assert mtus(a) == {1300}
    assert await a.settle() == 0
    await b.settle()
    assert mtus(b) == {1300}
    await b.call("network.set", name="net", mtu=0)
    assert mtus(b) == {1450}


async def test_what_is_not_given_stays() -> None:
    a, _ = await two(labels={"team": "web", "owner": "me"})
    before = (await a.call("network.list"))[0]
    changed = await a.call("network.set", name="net", labels={"team": "db"}, unlabel=["owner"], isolated=False)
    assert changed == before | {"labels": {"team": "db"}, "isolated": False}
    assert await a.call("network.set", name="net") == changed


async def test_masquerading_is_taken_from_the_firewall() -> None:
    a, _ = await two()
    await a.call("network.set", name="net", masquerade=False)
    assert not any("masquerade" in str(o) for o in a.state()[HOST].values())
    assert await a.settle() == 0


async def test_a_range_holds_for_new_addresses_and_the_whole_subnet_lifts_it() -> None:
    (host,) = await members(1)
    await host.call("network.create", name="net", subnets=["10.9.0.0/24", "fd09::/64"], ip_ranges=["fd09::100/120"])
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    await host.call("network.set", name="net", ip_ranges=["10.9.0.128/25"])
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c2")])
    assert row["addresses"][0] == "10.9.0.128/24"
    assert row["addresses"][1].startswith("fd09::10"), "the range of the other subnet stays"
    subnets = (await host.call("network.set", name="net", ip_ranges=["10.9.0.0/24"]))["subnets"]
    assert [subnet["ip_range"] for subnet in subnets] == [None, "fd09::100/120"]
    with pytest.raises(UsageError, match="lies in none of the subnets"):
        await host.call("network.set", name="net", ip_ranges=["10.8.0.0/24"])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"driver": "ptp"}, "its driver cannot be changed"),
        ({"backend": "host-gw"}, "its backend cannot be changed"),
        ({"subnets": ["10.1.0.0/16"]}, "its subnet cannot be changed"),
        ({"mtu": 9000}, "an MTU of 9000 does not fit"),
    ],
)
async def test_what_cannot_change_changes_nothing(wanted: dict[str, Any], told: str) -> None:
    a, _ = await two()
    before = a.state()
    with pytest.raises(UsageError, match=told):
        await a.call("network.set", name="net", isolated=False, **wanted)
    assert a.state() == before
    assert (await a.call("network.list"))[0]["isolated"] is True


async def test_a_label_that_is_not_there() -> None:
    a, _ = await two()
    with pytest.raises(NotFound, match="no label 'team'"):
        await a.call("network.set", name="net", unlabel=["team"])


async def test_an_internal_network_has_nothing_to_masquerade() -> None:
    (host,) = await members(1)
    await host.call("network.create", name="net", internal=True)
    with pytest.raises(UsageError, match="is internal"):
        await host.call("network.set", name="net", masquerade=True)


async def test_two_editors_at_once_are_both_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = await two()
    commit = a.engine.host.commit

    async def late(ops: list[Op]) -> int:
        monkeypatch.undo()
        await b.call("network.set", name="net", labels={"from": "b"})
        with pytest.raises(Conflict):
            await commit(ops)
        raise Conflict("somebody else was first")

    monkeypatch.setattr(a.engine.host, "commit", late)
    changed = await a.call("network.set", name="net", isolated=False)
    assert (changed["labels"], changed["isolated"]) == ({"from": "b"}, False)
