"""What the host is to a network: gateway modes, where ports are published, and containers that are kept apart."""

from __future__ import annotations

from typing import Any

import pytest

from wefted.errors import Unsupported, UsageError
from wefted.model.firewall import NftElement
from wefted.model.link import Veth
from wefted.model.objects import HOST
from wefted.model.route import Address

from .cluster import Member, members


async def made(options: dict[str, str], **wanted: Any) -> Member:
    (host,) = await members(1)
    await host.call("network.create", name="net", options=options, **wanted)
    return host


def sets(host: Member) -> set[str]:
    """Return the names of the firewall's sets that have elements."""
    return {o.container for o in host.state()[HOST].values() if isinstance(o, NftElement)}


async def test_a_routed_network_is_exposed_and_not_masqueraded() -> None:
    host = await made({"gateway_mode": "routed"}, ipv6=True)
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert {"exposed4", "exposed6"} <= sets(host)
    assert not {"masquerade4", "masquerade6", "internal4"} & sets(host)
    assert await host.settle() == 0


async def test_in_an_isolated_network_the_host_has_no_address() -> None:
    host = await made({"gateway_mode": "isolated"})
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert (row["addresses"], row["gateways"], row["default_route"]) == (["10.64.0.2/16"], [], False)
    assert not [o for o in host.state()[HOST].values() if isinstance(o, Address) and o.link.startswith("br-")]
    assert "internal4" in sets(host)
    assert await host.settle() == 0


@pytest.mark.parametrize("ip", ["127.0.0.1", "fd00::1"])
async def test_ports_without_an_address_get_the_networks(ip: str) -> None:
    host = await made({"host_binding": ip}, ipv6=True)
    (row,) = await host.call("network.connect", network="net", containers=[host.add("c1")], publish=["80:80", "0.0.0.0:81:81"])
    assert [port["host_ip"] for port in row["ports"]] == [ip, None]
    row = await host.call("endpoint.unpublish", container="c1", ports=["80:80"])
    assert [port["host_port"] for port in row["ports"]] == [81]


@pytest.mark.parametrize(("icc", "isolated"), [("on", False), ("off", True)])
async def test_containers_may_be_kept_apart(icc: str, isolated: bool) -> None:
    host = await made({"icc": icc})
    await host.call("network.connect", network="net", containers=[host.add("c1")])
    assert [o.isolated for o in host.state()[HOST].values() if isinstance(o, Veth)] == [isolated]
    assert await host.settle() == 0


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"options": {"gateway_mode": "bridge"}}, "not one of nat, routed, isolated"),
        ({"options": {"gateway_mode": "routed"}, "internal": True}, "is internal"),
        ({"options": {"icc": "maybe"}}, "not one of on, off"),
        ({"options": {"host_binding": "here"}}, "here"),
        ({"options": {"icc": "off"}, "driver": "ptp"}, "unknown option 'icc'"),
    ],
)
async def test_what_makes_no_sense_is_refused(wanted: dict[str, Any], told: str) -> None:
    (host,) = await members(1)
    with pytest.raises(UsageError, match=told):
        await host.call("network.create", name="net", **wanted)
    assert await host.call("network.list") == []


@pytest.mark.parametrize("wanted", [{"driver": "ptp"}, {"backend": "vxlan"}, {"ipv6": True}])
async def test_an_isolated_gateway_does_not_go_with_everything(wanted: dict[str, Any]) -> None:
    (host,) = await members(1)
    with pytest.raises(Unsupported, match="host"):
        await host.call("network.create", name="net", options={"gateway_mode": "isolated"}, **wanted)
