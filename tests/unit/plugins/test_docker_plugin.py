"""The plugin as libnetwork calls it: one network for several Dockers, addresses, ports, what is wrong, what is forgotten."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from wefted.engine import docker_endpoints, docker_networks
from wefted.engine.docker_endpoints import Member as Told
from wefted.errors import UsageError
from wefted.ipam.addresses import AddressBook
from wefted.model.firewall import NftElement
from wefted.model.link import Veth
from wefted.model.objects import HOST

from .docker_host import DockerHost, Refused, at_once, docker_hosts

VXLAN = {"backend": "vxlan"}


@pytest.fixture
async def hosts() -> AsyncIterator[list[DockerHost]]:
    found = await docker_hosts(2)
    yield found
    for host in found:
        await host.member.engine.close()


async def rows(host: DockerHost) -> list[Any]:
    return list(await host.member.call("endpoint.list"))


def veths(host: DockerHost) -> list[Veth]:
    return [o for o in host.member.kernel.read(HOST).objects.values() if isinstance(o, Veth)]


async def test_activation_and_capabilities(hosts):
    host = hosts[0]
    assert await host.post("Plugin.Activate") == {"Implements": ["NetworkDriver", "IpamDriver"]}
    assert await host.post("NetworkDriver.GetCapabilities") == {"Scope": "local", "ConnectivityScope": "global"}
    spaces = await host.post("IpamDriver.GetDefaultAddressSpaces")
    assert set(spaces) == {"LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"}
    assert await host.post("IpamDriver.GetCapabilities") == {"RequiresMACAddress": False, "RequiresRequestReplay": False}


@pytest.mark.parametrize("method", ["AllocateNetwork", "FreeNetwork", "DiscoverNew", "DiscoverDelete"])
async def test_methods_of_swarm_and_discovery_are_answered(hosts, method):
    assert await hosts[0].post(f"NetworkDriver.{method}", NetworkID="n") in ({}, {"Options": {}})


@pytest.mark.parametrize("subnets", [("",), ("", "6"), ("10.99.0.0/16",), ("10.99.0.0/16", "fd99::/48")])
async def test_one_name_on_two_hosts_is_one_network(hosts, subnets):
    one, two = hosts
    networks = [await host.network("net1", VXLAN, subnets) for host in hosts]
    known = [await host.run(network, "e1") for host, network in zip(hosts, networks, strict=True)]
    assert one.pools[networks[0]] == two.pools[networks[1]]
    [listed] = await one.member.call("network.list")
    assert [s["prefix"] for s in listed["subnets"]] == one.pools[networks[0]]
    assert known[0]["Address"] != known[1]["Address"]
    assert known[0]["MacAddress"] != known[1]["MacAddress"]
    assert ("AddressIPv6" in known[0]) == (len(subnets) == 2) == ("GatewayIPv6" in known[0]["join"])


async def test_both_hosts_at_once_make_one_network(hosts):
    networks = await at_once(*(host.network("net1", VXLAN) for host in hosts))
    for host in hosts:
        await host.settle()
    assert len(await hosts[0].member.call("network.list")) == 1
    a, b = [await host.run(network, "e1") for host, network in zip(hosts, networks, strict=True)]
    assert a["Address"] != b["Address"]


async def test_networks_that_are_chosen_for_do_not_clash(hosts):
    one = hosts[0]
    first = await one.network("net1")
    prefixes = list(one.pools[first])
    second = await one.network("net2")
    assert not set(prefixes) & set(one.pools[second])
    with pytest.raises(Refused, match="has a network with the subnet"):
        await one.network("net3", subnets=prefixes)


async def test_join_hands_over_a_link_and_leave_takes_it_away(hosts):
    one = hosts[0]
    network = await one.network("net1", VXLAN)
    known = await one.run(network, "e1")
    [pair] = veths(one)
    source = known["join"]["InterfaceName"]
    assert source == {"SrcName": pair.peer_name, "DstPrefix": "eth"}
    assert (pair.peer_ns, len(pair.peer_name)) == (HOST, 15)
    assert known["join"]["Gateway"] == "10.64.0.1"
    assert await one.member.settle() == 0
    await one.stop(network, "e1", known)
    assert veths(one) == []
    assert await rows(one) == []


async def test_an_internal_network_has_no_way_out(hosts):
    network = await hosts[0].network("net1", VXLAN, internal=True)
    join = (await hosts[0].run(network, "e1"))["join"]
    assert "Gateway" not in join
    assert join["DisableGatewayService"] is True
    assert join["StaticRoutes"] == [{"Destination": "10.64.0.0/16", "RouteType": 0, "NextHop": "10.64.0.1"}]
    elements = [o for o in hosts[0].member.kernel.read(HOST).objects.values() if isinstance(o, NftElement)]
    assert "internal4" in {element.container for element in elements}


@pytest.mark.parametrize(("ip", "subnets"), [("10.99.0.77", ("10.99.0.0/16",)), ("fd99::77", ("10.99.0.0/16", "fd99::/48"))])
async def test_a_chosen_address_and_mac(hosts, ip, subnets):
    one = hosts[0]
    network = await one.network("net1", VXLAN, subnets)
    known = await one.run(network, "e1", ip=ip, mac="02:00:00:00:00:99")
    assert ip in (known["Address"].split("/")[0], known.get("AddressIPv6", "").split("/")[0])
    assert (await rows(one))[0]["mac"] == "02:00:00:00:00:99"
    with pytest.raises(Refused, match=f"{ip} .*belongs to docker:e1 already"):
        await one.run(network, "e2", ip=ip)


async def test_a_container_that_is_restarted_has_its_address_and_mac_again(hosts):
    one = hosts[0]
    one.desk.host.book = book = AddressBook(one.member.local)
    await book.load()
    network = await one.network("net1", VXLAN)
    others = [await one.run(network, f"o{n}") for n in range(3)]
    await one.stop(network, "o0", others[0])
    before = await one.run(network, "e1")
    await one.stop(network, "e1", before)
    after = await one.run(network, "e2")
    assert (after["Address"], after["MacAddress"]) == (before["Address"], before["MacAddress"])


class TestPorts:
    def port(self, host: int, inside: int = 80, end: int = 0, ip: str = "", proto: int = 6) -> Any:
        return {"Proto": proto, "IP": "", "Port": inside, "HostIP": ip, "HostPort": host, "HostPortEnd": end or host}

    async def ports(self, host: DockerHost) -> list[Any]:
        return [(r["host_port"], r["port"], r["protocol"], r["host_ip"]) for r in await host.member.call("endpoint.ports")]

    async def test_they_are_published_and_taken_back(self, hosts):
        one = hosts[0]
        network = await one.network("net1")
        both = [self.port(8080), self.port(5353, 53, ip="127.0.0.1", proto=17)]
        known = await one.run(network, "e1", ports=both)
        assert await self.ports(one) == [(5353, 53, "udp", "127.0.0.1"), (8080, 80, "tcp", None)]
        with pytest.raises(Refused, match="port 8080/tcp is published already"):
            await one.run(network, "e2", ports=[self.port(8080)])
        await one.stop(network, "e1", known)
        assert await self.ports(one) == []

    async def test_of_a_range_and_of_none_a_free_one_is_taken(self, hosts):
        one = hosts[0]
        network = await one.network("net1")
        await one.run(network, "e1", ports=[self.port(8000, end=8005), self.port(0)])
        await one.run(network, "e2", ports=[self.port(8000, end=8005), self.port(0), self.port(0, 81)])
        assert [p[0] for p in await self.ports(one)] == [8000, 8001, 49153, 49154, 49155]

    @pytest.mark.parametrize("wrong", [{"Proto": 99}, {"Port": 0}, {"HostPort": 70000}, {"Port": "80"}, {"HostIP": "x"}])
    async def test_a_wrong_one_is_told_before_anything_is_made(self, hosts, wrong):
        network = await hosts[0].network("net1")
        with pytest.raises(Refused):
            await hosts[0].run(network, "e1", ports=[self.port(8080) | wrong])
        assert await rows(hosts[0]) == []


class TestWithoutTheCluster:
    async def test_containers_come_and_go(self, hosts):
        one = hosts[0]
        network = await one.network("net1", VXLAN)
        one.member.cluster.cut = True
        known = await one.run(network, "e1")
        await one.stop(network, "e1", known)
        assert await rows(one) == []

    async def test_a_network_is_taken_and_made_later(self, hosts, monkeypatch):
        monkeypatch.setattr(docker_networks, "PATIENCE", 0.01)
        one = hosts[0]
        one.member.cluster.cut = True
        network = await one.network("net1", VXLAN)
        with pytest.raises(Refused, match="'net1' is not ready on this host: the cable is cut"):
            await one.run(network, "e1")
        one.member.cluster.cut = False
        assert await one.settle()
        assert (await one.run(network, "e1"))["Address"] == "10.64.0.2/24"

    async def test_a_name_that_docker_does_not_tell_is_waited_for(self, hosts, monkeypatch):
        monkeypatch.setattr(docker_networks, "PATIENCE", 0.01)
        one = hosts[0]
        network = await one.network("net1")
        one.desk.records.networks[network] = docker_networks.replace(one.desk.records.networks[network], name="")
        one.names.clear()
        with pytest.raises(Refused, match="has not told the name"):
            await one.run(network, "e1")

    async def test_an_option_gives_the_name_at_once(self, hosts):
        one = hosts[0]
        network = await one.network("shown", {"network": "net7"})
        assert one.desk.records.networks[network].name == "net7"


class TestWrongNetworks:
    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"backend": "vxlam"}, "no backend 'vxlam'"),
            ({"driver": "ptp"}, "Docker moves the interface itself .use -o driver= one of bridge, macvlan"),
            ({"driver": "macvlam"}, "no driver 'macvlam', did you mean 'macvlan'"),
            ({"colour": "red"}, "colour"),
            ({"mtu": "9"}, "MTU"),
            ({"com.docker.network.driver.mtu": "x"}, "not a number of bytes"),
            ({"network": "a b"}, "network name"),
            ({"masquerade": "perhaps"}, "neither true nor false"),
            ({"encrypted": "true", "backend": "vxlan"}, "can be read on the way"),
            ({"encrypted": "true", "layer": "2"}, "joins hosts at layer 3, not 2"),
        ],
    )
    async def test_they_are_refused_when_they_are_made(self, hosts, options, why):
        with pytest.raises(Refused, match=why):
            await hosts[0].network("net1", options)
        assert await hosts[0].member.call("network.list") == []

    @pytest.mark.parametrize("options", [{"encrypted": "true"}, {"encrypted": "", "backend": "wireguard"}])
    async def test_encrypted_is_the_backend_that_encrypts(self, hosts, options):
        network = await hosts[0].network("net1", options)
        await hosts[0].run(network, "e1")
        (found,) = await hosts[0].member.call("network.list")
        assert found["backend"] == "wireguard"

    async def test_what_another_host_has_made_differently_is_told(self, hosts):
        await hosts[0].network("net1", VXLAN)
        network = await hosts[1].network("net1", {"backend": "none"})
        with pytest.raises(Refused, match="'net1' exists with backend vxlan, not none"):
            await hosts[1].run(network, "e1")

    async def test_options_of_docker_s_own_driver(self, hosts):
        options = {
            "com.docker.network.bridge.name": "br7",
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.container_iface_prefix": "net",
        }
        network = await hosts[0].network("net1", options)
        [made] = await hosts[0].member.call("network.list")
        assert (made["mtu"], made["masquerade"]) == (1400, False)
        assert made["options"] == {"icc": "off", "ifprefix": "net", "name": "br7"}
        assert (await hosts[0].run(network, "e1"))["join"]["InterfaceName"]["DstPrefix"] == "net"


class TestTheEnd:
    async def test_the_last_docker_removes_what_docker_made(self, hosts):
        networks = [await host.network("net1", VXLAN) for host in hosts]
        await hosts[0].remove(networks[0])
        assert [n["blocks"] for n in await hosts[0].member.call("network.list")] == [["10.64.1.0/24"]]
        await hosts[1].remove(networks[1])
        assert await hosts[0].member.call("network.list") == []
        assert hosts[0].desk.records.pools == hosts[1].desk.records.pools == {}

    async def test_what_a_person_made_stays(self, hosts):
        await hosts[0].member.call("network.create", name="net1", backend="vxlan")
        network = await hosts[0].network("net1")
        await hosts[0].remove(network)
        assert [n["name"] for n in await hosts[0].member.call("network.list")] == ["net1"]

    async def test_repeated_and_unknown_calls_of_the_end_are_fine(self, hosts):
        one = hosts[0]
        network = await one.network("net1")
        known = await one.run(network, "e1")
        for _ in range(2):
            await one.stop(network, "e1", known)
        one.pools["nobody"] = []
        await one.stop("nobody", "e1", {})
        assert await one.post("NetworkDriver.DeleteNetwork", NetworkID="nobody") == {}


class TestAfterARestart:
    async def test_everything_is_known(self, hosts):
        one = hosts[0]
        network = await one.network("net1", VXLAN)
        known = await one.run(network, "e1")
        await one.member.start()
        again = DockerHost(one.member)
        again.pools = one.pools
        await again.desk.records.load()
        assert [r["addresses"] for r in await rows(again)] == [[known["Address"]]]
        assert (await again.run(network, "e2"))["Address"] != known["Address"]
        await again.stop(network, "e1", known)
        assert len(await rows(again)) == 1


class TestNames:
    async def test_names_and_aliases_are_learned_and_the_link_stays(self, hosts):
        one = hosts[0]
        network = await one.network("net1", VXLAN)
        await one.run(network, "e1")
        before = veths(one)
        endpoints = one.desk.endpoints
        assert endpoints.nameless() == {network}
        await endpoints.learn(network, {"e1": Told(container_id="", name="web1"), "other": Told(container_id="x", name="y")})
        assert endpoints.nameless() == {network}
        await endpoints.learn(network, {"e1": Told(container_id="c" * 64, name="web1", aliases=("db", "a b", "DB2"))})
        assert endpoints.nameless() == set()
        [row] = await rows(one)
        assert (row["container"], row["aliases"]) == ("docker:web1", ["db", "db2"])
        assert [e.container for e in one.desk.host.of("docker:web1")] == ["docker:web1"]
        assert one.desk.host.of("docker:e1") == []
        assert await one.member.settle() == 0
        assert veths(one) == before

    async def test_the_command_line_leaves_dockers_own_endpoints_to_docker(self, hosts):
        one = hosts[0]
        network = await one.network("net1")
        await one.run(network, "e1")
        with pytest.raises(UsageError, match="by Docker's doing"):
            await one.member.call("network.disconnect", network="net1", containers=["docker:e1"])


class TestWhatDockerForgets:
    async def test_endpoints_and_addresses_are_freed(self, hosts):
        one = hosts[0]
        network = await one.network("net1", VXLAN)
        kept = await one.run(network, "e1")
        await one.run(network, "e2")
        await one.post("IpamDriver.RequestAddress", PoolID=one.pools[network][0], Address="")
        assert await one.desk.endpoints.forget_unknown(network, ["e1"], 0) == 3
        assert [r["addresses"] for r in await rows(one)] == [[kept["Address"]]]
        assert len(veths(one)) == 1
        assert one.desk.host.book.claimed("net1", "docker/") == [docker_endpoints.ip_interface(kept["Address"]).ip]

    async def test_networks_are_given_up(self, hosts):
        one = hosts[0]
        network = await one.network("net1", VXLAN)
        await one.run(network, "e1")
        await one.desk.endpoints.forget_networks([], 0)
        await one.settle()
        assert (await one.member.call("network.list"), await rows(one)) == ([], [])

    async def test_a_sandbox_that_is_gone_is_no_place_to_attach_to(self, hosts):
        one = hosts[0]
        network = await one.network("net1")
        await one.run(network, "e1")
        [endpoint] = one.desk.host.endpoints.values()
        await one.desk.host.keep([docker_endpoints.replace(endpoint, identity="1:2:3")])
        await one.desk.endpoints.look()
        assert [r["state"] for r in await rows(one)] == ["down"]
        assert veths(one) == []


class TestOtherPairings:
    async def test_our_addresses_for_another_driver(self, hosts):
        one = hosts[0]
        pool = (await one.post("IpamDriver.RequestPool", Pool="10.99.0.0/24"))["PoolID"]
        gateway = {"RequestAddressType": "com.docker.network.gateway"}
        await one.post("IpamDriver.RequestAddress", PoolID=pool, Address="10.99.0.9", Options=gateway)
        given = [(await one.post("IpamDriver.RequestAddress", PoolID=pool, Address=""))["Address"] for _ in range(2)]
        assert given == ["10.99.0.1/24", "10.99.0.2/24"]
        with pytest.raises(Refused, match="in use"):
            await one.post("IpamDriver.RequestAddress", PoolID=pool, Address="10.99.0.2")
        await one.post("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.99.0.2")
        assert (await one.post("IpamDriver.RequestAddress", PoolID=pool, Address="10.99.0.2"))["Address"] == "10.99.0.2/24"

    async def test_our_driver_with_dockers_addresses(self, hosts):
        one = hosts[0]
        data = [{"Pool": "10.98.0.0/24", "Gateway": "10.98.0.1/24", "AuxAddresses": {"r": "10.98.0.9/24"}}]
        await one.post("NetworkDriver.CreateNetwork", NetworkID="n1", IPv4Data=data, Options={})
        one.names["n1"] = "net1"
        await one.settle()
        both = {"NetworkID": "n1", "EndpointID": "e1"}
        interface = {"Address": "10.98.0.5/24", "MacAddress": ""}
        await one.post("NetworkDriver.CreateEndpoint", **both, Interface=interface)
        assert [r["addresses"] for r in await rows(one)] == [["10.98.0.5/24"]]
        with pytest.raises(Refused, match="belongs to docker:e1"):
            await one.post("NetworkDriver.CreateEndpoint", NetworkID="n1", EndpointID="e2", Interface=interface)

    async def test_addresses_of_our_choice_where_docker_has_none(self, hosts):
        one = hosts[0]
        data = [{"Pool": "10.98.0.0/24", "Gateway": "10.98.0.1/24"}, {"Pool": "fd98::/64", "Gateway": "fd98::1/64"}]
        await one.post("NetworkDriver.CreateNetwork", NetworkID="n1", IPv4Data=data[:1], IPv6Data=data[1:], Options={})
        one.names["n1"] = "net1"
        await one.settle()
        made = await one.post("NetworkDriver.CreateEndpoint", NetworkID="n1", EndpointID="e1", Interface={})
        assert made["Interface"] == {"Address": "10.98.0.2/24", "AddressIPv6": "fd98::2/64", "MacAddress": "02:77:0a:62:00:02"}


async def test_a_refused_join_leaves_nothing(hosts):
    one = hosts[0]
    network = await one.network("net1")
    known = await one.run(network, "e1")
    [pair] = veths(one)
    await one.post("NetworkDriver.Leave", NetworkID=network, EndpointID="e1")
    one.member.kernel.refuse[("link", HOST, pair.name)] = errno.EPERM
    with pytest.raises(Refused, match="cannot attach"):
        await one.post("NetworkDriver.Join", NetworkID=network, EndpointID="e1", SandboxKey="/run/docker/netns/e1")
    assert veths(one) == []
    assert [r["state"] for r in await rows(one)] == ["down"]
    await one.stop(network, "e1", known)
