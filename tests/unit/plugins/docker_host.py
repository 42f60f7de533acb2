"""A host whose Docker asks: the real engine on fakes, called as libnetwork calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from wefted.engine.docker import DockerDesk
from wefted.plugins import docker_ipam, docker_network
from wefted.plugins.docker_protocol import DockerProtocol

from ..engine.cluster import Member, members

GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}
GENERIC = "com.docker.network.generic"


class Refused(Exception):
    """What Docker would show its user."""


class DockerHost:
    """One host; `names` are what its Docker says when it is asked for a network's name."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.desk = DockerDesk(member.engine)
        self.protocol = DockerProtocol(
            self.desk,
            {"NetworkDriver": docker_network.METHODS, "IpamDriver": docker_ipam.METHODS},
            {"NetworkDriver": "Err", "IpamDriver": "Error"},
        )
        self.names: dict[str, str] = {}
        self.pools: dict[str, list[str]] = {}

    async def post(self, method: str, **fields: Any) -> Any:
        """Ask, and be refused as Docker is: by the status and by the driver's own error field."""
        status, answer = await self.raw(f"/{method}", json.dumps(fields).encode())
        error = answer.get("Error" if method.startswith("IpamDriver") else "Err")
        assert (status == 200) == (error is None), (status, answer)
        if error is not None:
            raise Refused(error)
        return answer

    async def raw(self, path: str, body: bytes, method: str = "POST") -> tuple[int, Any]:
        status, answer = await self.protocol.answer(method, path, body)
        return status, json.loads(answer)

    async def name_of(self, identifier: str) -> str:
        return self.names.get(identifier, "")

    async def settle(self) -> bool:
        return await self.desk.networks.settle(self.name_of)

    async def network(
        self,
        name: str,
        options: dict[str, str] | None = None,
        subnets: Sequence[str] = ("",),
        internal: bool = False,
        **ipam: Any,
    ) -> str:
        """Do what `docker network create` does, and settle; "" and "6" stand for subnets of the plugin's choice."""
        identifier = f"{name}-on-h{self.member.number}"
        await self.desk.host.refresh()  # as the agent's watch of the cluster does
        data: dict[str, list[Any]] = {"IPv4Data": [], "IPv6Data": []}
        for text in subnets:
            six = ":" in text or text == "6"
            pool = await self.post("IpamDriver.RequestPool", Pool="" if text == "6" else text, V6=six, **ipam)
            gateway = await self.post("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="", Options=GATEWAY)
            data["IPv6Data" if six else "IPv4Data"].append({"Pool": pool["Pool"], "Gateway": gateway["Address"]})
        generic = {GENERIC: options or {}, "com.docker.network.internal": internal}
        await self.post("NetworkDriver.CreateNetwork", NetworkID=identifier, Options=generic, **data)
        self.names[identifier] = name
        await self.settle()
        self.pools[identifier] = [d["Pool"] for d in (*data["IPv4Data"], *data["IPv6Data"])]
        return identifier

    async def run(self, network: str, endpoint: str, ip: str = "", mac: str = "", ports: Sequence[Any] = ()) -> Any:
        """Do what `docker run` does; return what Docker then knows: addresses, MAC and the answer to Join."""
        given: dict[str, str] = {"MacAddress": mac}
        for pool in self.pools[network]:
            key = "AddressIPv6" if ":" in pool else "Address"
            wanted = ip if (":" in ip) == (":" in pool) else ""
            given[key] = (await self.post("IpamDriver.RequestAddress", PoolID=pool, Address=wanted, Options=None))["Address"]
        both = {"NetworkID": network, "EndpointID": endpoint}
        options = {"com.docker.network.portmap": list(ports)}
        made = await self.post("NetworkDriver.CreateEndpoint", **both, Interface=given, Options=options)
        joined = await self.post("NetworkDriver.Join", **both, SandboxKey=f"/run/docker/netns/{endpoint}", Options=options)
        if "Gateway" in joined:
            await self.post("NetworkDriver.ProgramExternalConnectivity", **both, Options=options)
        assert await self.post("NetworkDriver.EndpointOperInfo", **both) == {"Value": {}}
        return given | {"MacAddress": mac or made["Interface"]["MacAddress"], "join": joined}

    async def stop(self, network: str, endpoint: str, known: Any) -> None:
        """Do what `docker stop` does."""
        both = {"NetworkID": network, "EndpointID": endpoint}
        for method in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
            assert await self.post(f"NetworkDriver.{method}", **both) == {}
        for pool in self.pools[network]:
            address = known["AddressIPv6" if ":" in pool else "Address"].partition("/")[0]
            await self.post("IpamDriver.ReleaseAddress", PoolID=pool, Address=address)

    async def remove(self, network: str) -> None:
        """Do what `docker network rm` does."""
        for pool in self.pools[network]:
            await self.post("IpamDriver.ReleasePool", PoolID=pool)
        await self.post("NetworkDriver.DeleteNetwork", NetworkID=network)
        await self.settle()


async def docker_hosts(count: int) -> list[DockerHost]:
    return [DockerHost(member) for member in await members(count)]


def at_once(*coroutines: Any) -> Any:
    return asyncio.gather(*coroutines)
