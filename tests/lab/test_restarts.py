"""Containers that come back at once, while the kernel still takes down the namespace in which they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .random_host import PARENT, RandomHost

pytestmark = pytest.mark.lab


@pytest.fixture
def host() -> Iterator[RandomHost]:
    made = RandomHost()
    yield made
    made.abandon()


@pytest.mark.parametrize("live", [True, False], ids=["agent", "command"])
def test_a_macvlan_comes_back_with_the_mac_that_the_old_one_still_has(host: RandomHost, live: bool) -> None:
    """The kernel refuses a second macvlan with the same MAC on a parent (EADDRINUSE) until the first one is gone."""
    host.start("c1")
    host.open(live)
    host.call("network.create", name="lan", driver="macvlan", options={"parent": PARENT}, subnets=["10.9.0.0/24"])
    (before,) = host.call("network.connect", network="lan", containers=["netns:c1"])
    for _ in range(10):
        host.stop("c1")
        host.start("c1")
        assert host.look() >= 0
        assert host.inside("c1")[0] == {("eth0", before["addresses"][0])}
        assert host.drift() == []


@pytest.mark.parametrize("verb", ["publish", "unpublish"])
def test_ports_of_a_container_that_ended_unseen_are_kept_for_it(host: RandomHost, verb: str) -> None:
    host.start("c1")
    host.open(live=False)
    host.call("network.create", name="net")
    host.call("network.connect", network="net", containers=["netns:c1"], publish=["81:80"] if verb == "unpublish" else [])
    host.stop("c1")
    row = host.call(f"endpoint.{verb}", container="netns:c1", ports=["81:80"])
    assert (row["state"], len(row["ports"])) == ("down", 1 if verb == "publish" else 0)
    assert host.published() == set()
    host.start("c1")
    host.look()
    assert len(host.published()) == len(row["ports"])


def test_sources_that_overlap_those_of_before_take_their_place(host: RandomHost) -> None:
    """nft refuses overlapping intervals in one set: what is gone leaves in the same transaction."""
    host.start("c1")
    host.open(live=True)
    host.call("network.create", name="net")
    host.call("network.connect", network="net", containers=["netns:c1"], publish=["81:80"], publish_from=["192.0.2.0/24"])
    for sources in (["192.0.0.0/16"], ["192.0.2.128/25", "10.0.0.0/8"], ["none"], ["all"], []):
        host.call("endpoint.publish", container="netns:c1", ports=["81:80"], sources=sources)
        assert host.drift() == []
    assert len(host.published()) == 1


def test_the_default_route_of_a_container_that_ended_unseen_has_a_holder_when_it_is_back(host: RandomHost) -> None:
    host.start("c1")
    host.open(live=False)
    for name in ("a", "b"):
        host.call("network.create", name=name)
        host.call("network.connect", network=name, containers=["netns:c1"])
    host.stop("c1")
    host.call("network.disconnect", network="a", containers=["netns:c1"])
    host.start("c1")
    host.look()
    assert host.inside("c1")[1] == {(4, "eth1")}
