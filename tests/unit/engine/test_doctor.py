"""What `doctor` finds, on a host in memory with a firewall that the test writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from wefted.model.objects import IPNetwork

from .cluster import Member, members


@dataclass
class Firewall:
    """Docker's firewall as `Passage` shows it."""

    policy: str = ""
    lacking: list[str] | None = None
    raw: list[str] = field(default_factory=list)

    def open(self, device: str, members: Sequence[IPNetwork] = ()) -> int:
        return 0

    def close(self) -> int:
        return 0

    def missing(self, device: str, members: Sequence[IPNetwork] = ()) -> list[str] | None:
        return self.lacking

    def forward_policy(self) -> str:
        return self.policy

    def raw_drops(self) -> list[str]:
        return self.raw


@pytest.fixture
async def host() -> AsyncIterator[Member]:
    made = (await members(1))[0]
    made.engine.host.live = True
    await made.call("network.create", name="web", subnets=["10.99.0.0/16"])
    yield made
    await made.engine.close()


async def wrong(host: Member) -> dict[str, dict[str, str]]:
    """Return the findings that are not well, by their check."""
    told: dict[str, Any] = await host.call("doctor")
    assert told["healthy"] == all(f["level"] != "problem" for f in told["findings"])
    levels = [f["level"] for f in told["findings"]]
    assert levels == sorted(levels, key=("problem", "warning", "ok").index)
    return {f["check"]: f for f in told["findings"] if f["level"] != "ok"}


async def test_a_host_that_is_well(host):
    assert await wrong(host) == {}


async def test_no_agent(host):
    host.engine.host.live = False
    assert (await wrong(host))["agent"]["command"] == "wefted up"


async def test_the_store_is_away(host):
    host.cluster.cut = True
    await host.engine.host.refresh()
    finding = (await wrong(host))["store"]
    assert "memory: does not answer" in finding["finding"]
    assert "the cable is cut" in finding["cause"]


async def test_an_endpoint_that_failed(host):
    await host.call("network.connect", network="web", containers=[host.add("c1")])
    [endpoint] = host.engine.host.endpoints.values()
    host.engine.host.failures[endpoint.id] = "no such device"
    finding = (await wrong(host))["endpoints"]
    assert (finding["cause"], finding["command"]) == ("no such device", "wefted network connect web netns:c1")


async def test_a_kernel_that_lacks_what_a_network_needs(host):
    inner = host.engine.host
    inner.facts = replace(inner.facts, features={**inner.facts.features, "bridge": "not compiled in"})
    assert "not compiled in" in (await wrong(host))["kernel"]["cause"]


async def test_names_that_are_not_answered(host):
    host.engine.host.dns = {"error": "10.99.0.1:53: Address already in use"}
    assert "in use" in (await wrong(host))["names"]["cause"]


@pytest.mark.parametrize(
    ("firewall", "finding", "command"),
    [
        (Firewall("DROP", ["iptables -I DOCKER-USER x", "iptables -I DOCKER-USER y"]), "drops the packets of our", " && "),
        (Firewall("DROP"), "forwards nothing", "iptables -P FORWARD ACCEPT"),
        (Firewall("DROP", [], ["-A PREROUTING -d 10.99.0.5/32 -j DROP"]), "10.99.0.5/32", "raw -D PREROUTING -d 10.99.0.5/32"),
        (
            Firewall("DROP", [], ["-A PREROUTING -d 10.99.0.2/32 ! -i docker0 -j DROP"]),
            "packets for 10.99.0.2/32 are dropped",
            "iptables -t raw -D PREROUTING -d 10.99.0.2/32 ! -i docker0 -j DROP",
        ),
    ],
)
async def test_a_firewall_that_drops(host, firewall, finding, command):
    host.engine.host.docker_user = firewall
    found = (await wrong(host))["firewall"]
    assert finding in found["finding"]
    assert command in found["command"]


@pytest.mark.parametrize(
    "firewall",
    [
        Firewall("DROP", []),
        Firewall("ACCEPT"),
        Firewall("ACCEPT", [], ["-A PREROUTING -d 172.17.0.2/32 -j DROP", "-A PREROUTING -i eth9 -j DROP"]),
    ],
)
async def test_a_firewall_that_lets_pass(host, firewall):
    host.engine.host.docker_user = firewall
    assert await wrong(host) == {}


@pytest.mark.parametrize(
    ("told", "level", "finding"),
    [
        ({"networks": [{"id": "n1" * 32, "name": "shop", "trouble": "it exists"}]}, "problem", "'shop'"),
        ({"asks": ["127.0.0.1"]}, "warning", "do not find names of other hosts"),
        ({"inside": ["127.0.0.77"]}, "problem", "no names are found in Docker's containers"),
        ({"error": "no answer"}, "warning", "does not answer"),
    ],
)
async def test_what_docker_told(host, told, level, finding):
    host.engine.host.docker = {
        "plugin": "/run/docker/plugins/wefted.sock",
        "networks": [],
        "asks": [],
        "inside": [],
        "error": "",
    } | told
    found = (await wrong(host))["docker"]
    assert (found["level"], finding in found["finding"]) == (level, True)


async def test_firewalld_decides_and_what_of_it_cannot_be_followed(host):
    kernel = host.kernel
    kernel.facts = replace(kernel.facts, input_filter="inet firewalld filter_INPUT")
    told = await host.call("doctor")
    assert any("firewalld opens them" in f["finding"] for f in told["findings"] if f["level"] == "ok")
    kernel.facts = replace(kernel.facts, unfollowed=("filter_IN_public_allow handle 57",))
    finding = (await wrong(host))["firewall"]
    assert finding["level"] == "warning"
    assert finding["finding"] == "firewalld's rule filter_IN_public_allow handle 57 cannot be followed"
    assert finding["command"] == "nft -a list chain inet firewalld filter_IN_public_allow"


async def test_ports_beyond_the_first_bridge_are_not_reached_by_the_host_where_bridged_frames_are_judged(host):
    kernel = host.kernel
    await host.call("network.connect", network="web", containers=[host.add("c1")], publish=["80:80"])
    (endpoint,) = host.engine.host.endpoints.values()
    kernel.facts = replace(kernel.facts, bridge_netfilter=True)
    assert await wrong(host) == {}
    host.engine.host.endpoints[endpoint.id] = replace(endpoint, bridge=1)
    finding = (await wrong(host))["firewall"]
    assert "do not all reach the ports that netns:c1 publish" in finding["finding"]
    kernel.facts = replace(kernel.facts, bridge_netfilter=False)
    assert await wrong(host) == {}


async def test_a_firewall_that_published_ports_do_not_obey(host):
    kernel = host.kernel
    kernel.facts = replace(kernel.facts, unread_firewall="firewalld with its backend iptables (ip filter INPUT_ZONES)")
    finding = (await wrong(host))["firewall"]
    assert (finding["level"], finding["command"]) == ("warning", "wefted up --publish-from none")


async def test_the_raw_table_of_the_other_version(host):
    await host.call("network.create", name="six", ipv6=True, ipv4=False, subnets=["fd55::/64"])
    host.engine.host.docker_user = Firewall("DROP", [], ["-A PREROUTING -d fd55::2/128 ! -i docker0 -j DROP"])
    finding = (await wrong(host))["firewall"]
    assert finding["command"] == "ip6tables -t raw -D PREROUTING -d fd55::2/128 ! -i docker0 -j DROP"
