"""IpamDriver of Docker's plugin protocol (libnetwork: docs/ipam.md). Its errors stand in `Error`."""

from __future__ import annotations

from collections.abc import Mapping

from wefted.engine.docker import DockerDesk

from .docker_fields import Fields
from .docker_protocol import Json, Method

ERROR = "Error"
GATEWAY = "com.docker.network.gateway"
REQUEST_TYPE = "RequestAddressType"
NETWORK = "network"
"""`--ipam-opt network=NAME` says for which network a pool is, where the order of their making does not."""


async def capabilities(desk: DockerDesk, fields: Fields) -> Json:
    """The MAC follows from the address, and what we hand out we remember ourselves."""
    return {"RequiresMACAddress": False, "RequiresRequestReplay": False}


async def address_spaces(desk: DockerDesk, fields: Fields) -> Json:
    """Both are one: what makes addresses unique is that each host hands out its own blocks."""
    return {"LocalDefaultAddressSpace": "wefted", "GlobalDefaultAddressSpace": "wefted"}


async def request_pool(desk: DockerDesk, fields: Fields) -> Json:
    version = 6 if fields.flag("V6") else 4
    network = fields.texts("Options").get(NETWORK, "")
    pool = await desk.pools.request(fields.text("Pool"), fields.text("SubPool"), version, network)
    return {"PoolID": pool.id, "Pool": str(pool.prefix), "Data": {}}


async def release_pool(desk: DockerDesk, fields: Fields) -> Json:
    await desk.pools.release(fields.needed("PoolID"))
    return {}


async def request_address(desk: DockerDesk, fields: Fields) -> Json:
    pool, address = fields.needed("PoolID"), fields.text("Address")
    gateway = fields.texts("Options").get(REQUEST_TYPE) == GATEWAY
    found = await (desk.pools.gateway(pool, address) if gateway else desk.pools.claim(pool, address))
    return {"Address": str(found), "Data": {}}


async def release_address(desk: DockerDesk, fields: Fields) -> Json:
    await desk.pools.release_address(fields.needed("PoolID"), fields.text("Address").partition("/")[0])
    return {}


METHODS: Mapping[str, Method] = {
    "GetCapabilities": capabilities,
    "GetDefaultAddressSpaces": address_spaces,
    "RequestPool": request_pool,
    "ReleasePool": release_pool,
    "RequestAddress": request_address,
    "ReleaseAddress": release_address,
}
