"""NetworkDriver of Docker's plugin protocol (libnetwork: docs/remote.md). Its errors stand in `Err`.

AllocateNetwork and FreeNetwork are Swarm's, and not in that document; DiscoverNew and DiscoverDelete tell of hosts that we know
better. EndpointOperInfo must be answered: without it the container does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

from wefted.engine.docker import DockerDesk
from wefted.engine.docker_endpoints import FIRST_FREE_PORT, LAST_FREE_PORT, PortWish
from wefted.engine.ifnames import prefix_of
from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.dockeroptions import translated
from wefted.model.network import Endpoint, Network, Subnet
from wefted.model.plugin import DockerNetwork

from .docker_fields import Fields
from .docker_protocol import Json, Method

ERROR = "Err"
GENERIC = "com.docker.network.generic"
INTERNAL = "com.docker.network.internal"
PORTMAP = "com.docker.network.portmap"
TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")
PROTOCOLS: Mapping[int, str] = {6: "tcp", 17: "udp", 132: "sctp"}
STATIC_ROUTE, ON_LINK = 0, 1
"""libnetwork's NEXTHOP and CONNECTED."""
EVERYWHERE: Mapping[int, str] = {4: "0.0.0.0/0", 6: "::/0"}


async def capabilities(desk: DockerDesk, fields: Fields) -> Json:
    """Scope global needs Swarm: without it Docker makes such a network and removes it again at once."""
    return {"Scope": "local", "ConnectivityScope": "global"}


async def create_network(desk: DockerDesk, fields: Fields) -> Json:
    options = fields.inner("Options")
    asked = network_of(fields.identifier("NetworkID"), options.texts(GENERIC), options.flag(INTERNAL))
    subnets = [_subnet(data) for key in ("IPv4Data", "IPv6Data") for data in fields.each(key)]
    pools = desk.records.pools
    mine = {str(s.prefix): pools[str(s.prefix)] for s in subnets if str(s.prefix) in pools}
    told = tuple(
        replace(s, gateway=mine[str(s.prefix)].gateway, ip_range=mine[str(s.prefix)].ip_range) if str(s.prefix) in mine else s
        for s in subnets
    )
    chosen = any(pool.asked for pool in mine.values()) or not mine
    await desk.networks.create(replace(asked, subnets=told, asked=chosen))
    return {}


async def delete_network(desk: DockerDesk, fields: Fields) -> Json:
    await desk.networks.delete(fields.identifier("NetworkID"))
    return {}


async def create_endpoint(desk: DockerDesk, fields: Fields) -> Json:
    interface = fields.inner("Interface")
    told = [text for key in ("Address", "AddressIPv6") if (text := interface.text(key))]
    addresses = [str(spec.interface_address(text)) for text in told]
    mac = interface.text("MacAddress")
    ports = _published(fields.inner("Options"))  # what is wrong with them is told before anything is made
    network, identifier = fields.identifier("NetworkID"), fields.identifier("EndpointID")
    endpoint = await desk.endpoints.create(network, identifier, addresses, mac, publishes=bool(ports))
    answer = {} if mac or shares_mac(desk.host.view.networks[endpoint.network]) else {"MacAddress": endpoint.mac}
    if not told:
        answer |= {_field(address.version): str(address) for address in reversed(endpoint.addresses)}
    return {"Interface": answer}


async def delete_endpoint(desk: DockerDesk, fields: Fields) -> Json:
    await desk.endpoints.delete(fields.identifier("NetworkID"), fields.identifier("EndpointID"))
    return {}


async def endpoint_info(desk: DockerDesk, fields: Fields) -> Json:
    return {"Value": {}}


async def join(desk: DockerDesk, fields: Fields) -> Json:
    sandbox = fields.needed("SandboxKey")
    if not sandbox.startswith("/") or "\0" in sandbox:
        raise UsageError("SandboxKey is not a path")
    endpoint, network = await desk.endpoints.join(fields.identifier("NetworkID"), fields.identifier("EndpointID"), sandbox)
    return joined(endpoint, network)


def joined(endpoint: Endpoint, network: Network) -> Json:
    """Return what Docker does with the interface; without a gateway it must not add one of its own network."""
    answer: Json = {"InterfaceName": {"SrcName": endpoint.far_link, "DstPrefix": prefix_of(network)}}
    if shares_mac(network) and network.option("mode", "l2") != "l2":  # no ARP there, so no next hop either
        routes = [] if network.internal else [_on_link(gateway.version) for gateway in endpoint.gateways]
        return answer | {"DisableGatewayService": True} | ({"StaticRoutes": routes} if routes else {})
    if network.internal or not endpoint.gateways:
        routes = _inner_routes(endpoint, network)
        return answer | {"DisableGatewayService": True} | ({"StaticRoutes": routes} if routes else {})
    return answer | {"Gateway" if g.version == 4 else "GatewayIPv6": str(g) for g in endpoint.gateways}


async def leave(desk: DockerDesk, fields: Fields) -> Json:
    await desk.endpoints.leave(fields.identifier("NetworkID"), fields.identifier("EndpointID"))
    return {}


async def program(desk: DockerDesk, fields: Fields) -> Json:
    ports = _published(fields.inner("Options"))
    network, endpoint = fields.identifier("NetworkID"), fields.identifier("EndpointID")
    if ports:
        await desk.endpoints.publish(network, endpoint, ports)
    return {}


async def revoke(desk: DockerDesk, fields: Fields) -> Json:
    await desk.endpoints.unpublish(fields.identifier("NetworkID"), fields.identifier("EndpointID"))
    return {}


async def nothing(desk: DockerDesk, fields: Fields) -> Json:
    return {}


async def allocate(desk: DockerDesk, fields: Fields) -> Json:
    return {"Options": {}}


METHODS: Mapping[str, Method] = {
    "GetCapabilities": capabilities,
    "AllocateNetwork": allocate,
    "FreeNetwork": nothing,
    "CreateNetwork": create_network,
    "DeleteNetwork": delete_network,
    "CreateEndpoint": create_endpoint,
    "DeleteEndpoint": delete_endpoint,
    "EndpointOperInfo": endpoint_info,
    "Join": join,
    "Leave": leave,
    "ProgramExternalConnectivity": program,
    "RevokeExternalConnectivity": revoke,
    "DiscoverNew": nothing,
    "DiscoverDelete": nothing,
}


def network_of(identifier: str, generic: Mapping[str, str], internal: bool) -> DockerNetwork:
    """Return the network that `-o` options describe. Raises `UsageError` for a value that is none."""
    found = translated(generic.items())
    options = dict(found.options)
    mtu = options.pop("mtu", "") or str(found.fields.get("mtu", ""))
    name = options.pop("network", "")
    said = {word: _truth(word, options.pop(word)) for word in ("internal", "masquerade", "isolated") if word in options}
    encrypting = found.fields.get("backend", "")
    backend = options.pop("backend", "") or encrypting
    if encrypting not in ("", backend):
        raise UsageError(
            f"option encrypted contradicts backend={backend}: what {backend} sends can be read on the way",
            f"leave backend out, or choose {encrypting}",
        )
    said = {word: found.fields[word] for word in ("internal", "masquerade") if word in found.fields} | said
    return DockerNetwork(
        id=identifier,
        name=spec.network_name(name) if name else "",
        driver=options.pop("driver", ""),
        backend=backend,
        mtu=spec.mtu(mtu) if mtu else 0,
        internal=internal or said.get("internal", False),
        masquerade=said.get("masquerade", True),
        isolated=said.get("isolated", True),
        options=spec.pairs([f"{key}={value}" for key, value in options.items()]),
    )


def shares_mac(network: Network) -> bool:
    """Tell whether the interfaces have the MAC of the host's link, which nobody may set."""
    return network.driver == "ipvlan"


def _on_link(version: int) -> Json:
    return {"Destination": EVERYWHERE[version], "RouteType": ON_LINK}


def _truth(key: str, text: str) -> bool:
    word = text.lower()
    if word not in (*TRUE, *FALSE):
        raise UsageError(f"option {key} is {text!r}, neither true nor false")
    return word in TRUE


def _subnet(data: Fields) -> Subnet:
    prefix = spec.subnet(data.needed("Pool"))
    gateway = data.text("Gateway").partition("/")[0]
    auxiliary = [text.partition("/")[0] for text in data.texts("AuxAddresses").values()]
    return Subnet(
        prefix=prefix,
        gateway=spec.address_in(gateway, prefix) if gateway else None,
        auxiliary=tuple(spec.address_in(text, prefix) for text in auxiliary),
    )


def _published(options: Fields) -> list[PortWish]:
    return [_wish(port) for port in options.each(PORTMAP)]


def _wish(port: Fields) -> PortWish:
    protocol = PROTOCOLS.get(port.number("Proto"))
    inside, first = port.number("Port"), port.number("HostPort")
    last = max(first, port.number("HostPortEnd"))
    if protocol is None:
        raise UsageError(f"protocol {port.number('Proto')} cannot be published", "tcp, udp and sctp can")
    if not (1 <= inside <= 65535 and 0 <= first <= last <= 65535):
        raise UsageError(f"port {inside} cannot be published as {first}-{last}")
    numbers = range(first, last + 1) if first else range(FIRST_FREE_PORT, LAST_FREE_PORT + 1)
    ip = port.text("HostIP")
    host_ip = spec.host_address(ip) if ip else None
    return PortWish(numbers=numbers, port=inside, protocol=protocol, host_ip=host_ip)


def _inner_routes(endpoint: Endpoint, network: Network) -> list[Json]:
    """Return the ways to other hosts' blocks, for a container without a default route."""
    onlink = [address.network for address in endpoint.addresses]
    routes = []
    for subnet in network.subnets:
        via = endpoint.gateway_for(subnet.prefix.version)
        if via is not None and not any(ip_network(subnet.prefix) == link for link in onlink):
            routes.append({"Destination": str(subnet.prefix), "RouteType": STATIC_ROUTE, "NextHop": str(via)})
    return routes


def _field(version: int) -> str:
    return "Address" if version == 4 else "AddressIPv6"
