"""Docker's networks in the LAN of a link of the host, and which addresses of it are kept for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from wefted.model.link import Macvlan, Vlan
from wefted.model.objects import HOST

from .docker_host import GATEWAY, DockerHost, Refused, docker_hosts

MACVLAN = {"driver": "macvlan", "parent": "eth0"}


@pytest.fixture
async def hosts() -> AsyncIterator[list[DockerHost]]:
    found = await docker_hosts(2)
    yield found
    for host in found:
        await host.member.engine.close()


async def rows(host: DockerHost) -> list[Any]:
    return list(await host.member.call("endpoint.list"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"driver": "macvlan"}, "needs the option parent"),
        ({"driver": "macvlan", "parent": "eth0"}, "whose addresses Docker must be told .for example: --subnet"),
        ({"driver": "macvlan", "parent": "eth9"}, "no link 'eth9'"),
        ({"driver": "macvlan", "parent": "eth0", "mode": "brigde"}, "mode"),
        ({"driver": "macvlan", "parent": "eth0", "host_access": "on"}, "cannot have host_access"),
        ({"driver": "macvlan", "parent": "eth0", "ipam": "dhcp"}, "cannot have addresses by DHCP"),
        ({"driver": "vlan", "parent": "eth0"}, "needs the option tag"),
    ],
)
async def test_what_cannot_be_is_refused_when_it_is_made(hosts, options, why):
    with pytest.raises(Refused, match=why):
        await hosts[0].network("net1", options)
    assert await hosts[0].member.call("network.list") == []


async def test_what_was_asked_for_by_name_is_not_handed_to_the_next_one(hosts, monkeypatch):
    one = hosts[0]
    monkeypatch.setattr(one.member.engine.host.book, "_grace", 30.0)
    network = await one.network("net1", subnets=("10.99.0.0/24",))
    free, fixed = await one.run(network, "e1"), await one.run(network, "e2", ip="10.99.0.9")
    for endpoint, found in (("e1", free), ("e2", fixed)):
        await one.stop(network, endpoint, found)
    assert (await one.run(network, "e3"))["Address"] == free["Address"]
    assert (await one.run(network, "e4"))["Address"] not in (free["Address"], fixed["Address"])
    assert (await one.run(network, "e5", ip="10.99.0.9"))["Address"] == fixed["Address"]


class TestLans:
    """Networks in the LAN of a link of the host: the whole link is handed over, and the LAN's router is the gateway."""

    async def lan(self, host, options=None, subnets=("192.168.7.0/24",), gateway="192.168.7.1", internal=False):
        identifier = f"lan-on-h{host.member.number}"
        data = []
        for text in subnets:
            pool = await host.post("IpamDriver.RequestPool", Pool=text, V6=":" in text)
            wanted = gateway if ":" not in text else ""
            found = await host.post("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address=wanted, Options=GATEWAY)
            data.append({"Pool": text, "Gateway": found["Address"]})
        generic = {"com.docker.network.generic": options or MACVLAN, "com.docker.network.internal": internal}
        v4 = [d for d in data if ":" not in d["Pool"]]
        v6 = [d for d in data if ":" in d["Pool"]]
        await host.post("NetworkDriver.CreateNetwork", NetworkID=identifier, Options=generic, IPv4Data=v4, IPv6Data=v6)
        host.names[identifier] = "lan"
        await host.settle()
        host.pools[identifier] = [d["Pool"] for d in data]
        return identifier

    async def test_the_link_is_handed_over_once(self, hosts):
        one = hosts[0]
        network = await self.lan(one)
        found = await one.run(network, "e1")
        name = found["join"]["InterfaceName"]["SrcName"]
        assert found["join"] == {"InterfaceName": {"SrcName": name, "DstPrefix": "eth"}, "Gateway": "192.168.7.1"}
        links = one.member.kernel.read(HOST).objects
        link = links["link", HOST, name]
        assert isinstance(link, Macvlan)
        assert (link.parent, link.mac, link.up) == ("eth0", found["MacAddress"], False)
        one.member.kernel.discard(link.key)  # Docker has moved it into the container
        await one.member.settle()
        assert link.key not in one.member.kernel.read(HOST).objects
        await one.stop(network, "e1", found)
        assert await rows(one) == []

    async def test_one_that_came_back_is_removed(self, hosts):
        one = hosts[0]
        network = await self.lan(one)
        found = await one.run(network, "e1")
        key = ("link", HOST, found["join"]["InterfaceName"]["SrcName"])
        await one.member.settle()
        assert key in one.member.kernel.read(HOST).objects, "a pass before Docker takes it lets it be"
        await one.stop(network, "e1", found)
        assert key not in one.member.kernel.read(HOST).objects

    async def test_without_a_gateway_docker_adds_none_of_its_own(self, hosts):
        one = hosts[0]
        found = await one.run(await self.lan(one, gateway=""), "e1")
        assert found["join"]["DisableGatewayService"] is True
        assert "Gateway" not in found["join"]

    async def test_two_hosts_give_addresses_apart(self, hosts):
        networks = [await self.lan(host) for host in hosts]
        found = [
            (await host.run(network, f"e{i}"))["Address"]
            for host, network in zip(hosts, networks, strict=True)
            for i in range(4)
        ]
        assert len(set(found)) == len(found)
        assert all(address.endswith("/24") and address != "192.168.7.1/24" for address in found)
        assert len(await hosts[0].member.call("network.list")) == 1

    async def test_a_port_cannot_be_published(self, hosts):
        one = hosts[0]
        network = await self.lan(one)
        with pytest.raises(Refused, match="with driver macvlan traffic does not pass the host"):
            await one.run(network, "e1", ports=[{"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080}])
        assert await rows(one) == []

    async def test_ipvlan_has_no_mac_of_its_own(self, hosts):
        one = hosts[0]
        network = await self.lan(one, {"driver": "ipvlan", "parent": "eth0"})
        both = {"NetworkID": network, "EndpointID": "e1"}
        given = await one.post("IpamDriver.RequestAddress", PoolID="192.168.7.0/24", Address="")
        with pytest.raises(Refused, match="have the MAC of the host's link"):
            await one.post("NetworkDriver.CreateEndpoint", **both, Interface={**given, "MacAddress": "02:00:00:00:00:99"})
        made = await one.post("NetworkDriver.CreateEndpoint", **both, Interface={**given, "MacAddress": ""})
        assert made == {"Interface": {}}

    @pytest.mark.parametrize("internal", [False, True])
    async def test_ipvlan_in_mode_l3_has_routes_without_next_hop(self, hosts, internal):
        one = hosts[0]
        options = {"driver": "ipvlan", "parent": "eth0", "ipvlan_mode": "l3"}
        network = await self.lan(one, options, internal=internal)
        given = await one.post("IpamDriver.RequestAddress", PoolID="192.168.7.0/24", Address="")
        both = {"NetworkID": network, "EndpointID": "e1"}
        await one.post("NetworkDriver.CreateEndpoint", **both, Interface={**given, "MacAddress": ""})
        joined = await one.post("NetworkDriver.Join", **both, SandboxKey="/run/docker/netns/e1")
        assert joined.get("StaticRoutes", []) == ([] if internal else [{"Destination": "0.0.0.0/0", "RouteType": 1}])
        assert joined["DisableGatewayService"] is True

    async def test_a_vlan_is_for_one_container_of_each_host(self, hosts):
        one = hosts[0]
        network = await self.lan(one, {"driver": "vlan", "parent": "eth0", "tag": "10"})
        found = await one.run(network, "e1")
        assert isinstance(one.member.kernel.read(HOST).objects["link", HOST, found["join"]["InterfaceName"]["SrcName"]], Vlan)
        with pytest.raises(Refused, match="has one link on each host"):
            await one.run(network, "e2")

    async def test_a_network_of_another_driver_cannot_be_joined(self, hosts):
        one = hosts[0]
        await one.member.call("network.create", name="net1", driver="ptp")
        network = await one.network("net1")
        with pytest.raises(Refused, match="cannot have the driver 'ptp'"):
            await one.run(network, "e1")
