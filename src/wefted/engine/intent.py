"""From what a person typed to model objects, checked against everything that is known. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from wefted.backends import BACKENDS
from wefted.drivers import DRIVERS, needs, trunk
from wefted.errors import Exhausted, InUse, NotFound, Unsupported, UsageError
from wefted.features.shape import WITH_HOST_END
from wefted.interfaces import Driver
from wefted.ipam.leases import block_length, default_subnet
from wefted.model import spec
from wefted.model.dockeroptions import translated
from wefted.model.nearest import guess
from wefted.model.network import Bandwidth, Endpoint, Network, PortMapping, Subnet
from wefted.model.node import HostFacts
from wefted.model.objects import IPNetwork
from wefted.model.options import choice, integer, reject_unknown

from .ifnames import prefix_of
from .operations import NetworkCreate

NO_SUBNET = "none"
"""Stands for a network that hands out no addresses: each container gets the ones that are given with it, `--ip 10.0.0.5/24`."""
HINTS = {"wireguard": "apt-get install wireguard-go"}
"""What to do about features that a program brings where the kernel has not got them."""
MINIMUM_MTU = {4: 68, 6: 1280}
MAXIMUM_NUMBER = 0xFFFFFF

T = TypeVar("T")

_NOTHING_SAID = NetworkCreate(name="")


def network_from(request: NetworkCreate, known: Mapping[str, Network], facts: HostFacts, last: int = 0) -> Network:
    """Return the network that was asked for; `last` is the number that the network before it got.

    Raises `UsageError` and its kin, in the order in which a person would look.
    """
    request = in_our_words(request)
    name = spec.network_name(request.name)
    if name in known:
        raise InUse(f"network {name!r} exists already", f"look at it: wefted network inspect {name}")
    driver = _chosen("driver", request.driver, DRIVERS)
    backend = _chosen("backend", request.backend, BACKENDS)
    _supported((*driver.needs, *backend.needs), facts)
    options = trunk.untied(dict(request.options), driver.options, facts.links)
    mode = options.get("gateway_mode", "nat")
    reject_unknown(name, options, driver.options, backend.options)
    own = driver.host_gateway and not options.get("bridge") and not options.get("vlan")
    subnets = _subnets(request, driver, own, known.values(), facts)
    network = Network(
        name=name,
        driver=driver.name,
        backend=backend.name,
        subnets=subnets,
        number=_number(known.values(), options, last),
        mtu=request.mtu,
        layer=_layer(options, backend.layers, own),
        internal=request.internal or mode == "isolated",
        masquerade=request.masquerade
        and not request.internal
        and mode not in ("isolated", "routed")
        and not (driver.host_gateway and options.get("vlan"))
        and (not options.get("bridge") or _is_gateway(facts, subnets)),
        exposed=mode == "routed",
        isolated=request.isolated,
        options=tuple(sorted((k, v) for k, v in options.items() if k != "layer")),
        labels=tuple(sorted(request.labels)),
    )
    prefix_of(network)
    choice(network, "ipam", ("pool", "dhcp"), "pool")
    driver.validate(network)
    backend.validate(network)
    _other_tunnel(network, known.values())
    supported(network, facts)
    for subnet in network.subnets:
        block_length(subnet.prefix, integer(network, "block", 0, range(1, 129)) or None)
    fitting_mtu(network, backend.overhead(facts.underlay[0].ip if facts.underlay else None), facts)
    return network


def in_our_words(request: NetworkCreate) -> NetworkCreate:
    """Return a request without Docker's option keys. Raises `UsageError` where one of them contradicts a parameter."""
    found = translated(request.options)
    for name, value in found.fields.items():
        given, default = getattr(request, name), getattr(_NOTHING_SAID, name)
        if given not in (default, value):
            raise UsageError(
                f"network {request.name!r}: an option says {name} {value}, and a flag says {given}", "leave one of them out"
            )
    return replace(request, options=tuple(found.options.items()), **found.fields)


def supported(network: Network, facts: HostFacts) -> None:
    """Raise `Unsupported` where this host's kernel lacks what the network needs."""
    _supported((*needs(network), *BACKENDS[network.backend].needs), facts)


def ports_from(texts: Iterable[str], network: Network, sources: Sequence[str] = ()) -> tuple[PortMapping, ...]:
    """Return the published ports that were asked for, ranges as single ports; `sources` says whom they are for."""
    allowed = _sources(sources)
    binding = network.option("host_binding")
    bound = spec.host_address(binding) if binding else None
    ports = tuple(dict.fromkeys(port for text in texts for port in spec.ports(text, bound)))
    if sources and not ports:
        raise UsageError(f"{', '.join(sources)}: this says whom ports are published for, and there are none", "add --publish")
    if ports and (reason := _unpublishable(network)):
        raise UsageError(f"network {network.name!r} cannot publish ports: {reason}", "publish on a bridge or ptp network")
    return tuple(replace(port, sources=allowed) for port in ports)


def _sources(texts: Sequence[str]) -> tuple[IPNetwork, ...] | None:
    if len(texts) > 1 and "none" in texts:
        raise UsageError(f"{', '.join(texts)}: none stands alone", "leave it out, or leave the others out")
    return spec.merged([prefix for text in texts for prefix in spec.sources(text)]) if texts else None


def limits_from(wanted: Bandwidth, network: Network) -> Bandwidth:
    """Return the limits that were asked for. Raises `UsageError` for what is no rate, or cannot be limited."""
    if any(not 0 <= bits < 1 << 43 for bits in (wanted.ingress_rate, wanted.egress_rate)):
        raise UsageError("a rate is a number of bits per second below 8 Tbit/s, 0 for no limit")
    if any(not 0 <= bits < 1 << 35 for bits in (wanted.ingress_burst, wanted.egress_burst)):
        raise UsageError("a burst is a number of bits below 32 Gbit, 0 for one of our choice")
    if wanted.ingress_rate and network.driver not in WITH_HOST_END:
        raise UsageError(
            f"network {network.name!r}: with driver {network.driver} what comes in cannot be limited", "limit what goes out"
        )
    return wanted


def _unpublishable(network: Network) -> str:
    """Return why no port of this network's containers can be published, or ""."""
    if network.internal:
        return "it is internal"
    if network.vlan and DRIVERS[network.driver].host_gateway:
        return f"the host is not in its VLAN {network.vlan}"
    if network.guest_of:
        return "" if network.masquerade else f"the host is not its gateway in {network.guest_of}, or does not masquerade it"
    if not DRIVERS[network.driver].host_gateway:
        return f"with driver {network.driver} its traffic does not pass the host"
    return "" if network.subnets else "it has no subnet"


def free_ports(ports: Collection[PortMapping], owner: str, others: Iterable[Endpoint]) -> None:
    """Raise `InUse` when an endpoint of this host publishes one of these ports, `UsageError` for one that is asked for twice.

    The owner may publish again what it does publish, for somebody else.
    """
    wanted: dict[tuple[str, int], list[PortMapping]] = {}
    for port in ports:
        beside = wanted.setdefault((port.protocol, port.host_port), [])
        if any(_clash(port, other) for other in beside):
            raise UsageError(f"port {port} cannot be published beside {beside[0]}", "choose another host port")
        beside.append(port)
    for endpoint in others if ports else ():
        for theirs in endpoint.ports:
            for port in wanted.get((theirs.protocol, theirs.host_port), ()):
                same = endpoint.id == owner and (theirs.place, theirs.port) == (port.place, port.port)
                if not same and _clash(port, theirs):
                    where = f"{port.host_port}/{port.protocol}"
                    raise InUse(f"port {where} is published already, by {endpoint.container}", "choose another host port")


def _clash(a: PortMapping, b: PortMapping) -> bool:
    anywhere = a.host_ip is None or b.host_ip is None
    return (a.host_port, a.protocol) == (b.host_port, b.protocol) and (anywhere or a.host_ip == b.host_ip)


def _chosen(kind: str, name: str, registry: Mapping[str, T]) -> T:
    if name not in registry:
        raise NotFound(f"there is no {kind} {name!r}{guess(name, registry)}", f"{kind}s: {', '.join(registry)}")
    return registry[name]


def _supported(needs: Iterable[str], facts: HostFacts) -> None:
    for feature in needs:
        reason = facts.features.get(feature, "")
        if reason:
            hint = HINTS.get(feature, "see what it has: wefted status")
            raise Unsupported(f"this kernel has no {feature}: {reason}", hint)


def _other_tunnel(network: Network, known: Iterable[Network]) -> None:
    """Raise `InUse` for a second network with IPv4 in IPv4.

    The kernel tells such tunnels apart by their two addresses alone (`ip_tunnel_find`), and those of two networks are the same:
    this host's, and none.
    """
    other = next((each.name for each in known if each.backend == network.backend == "ipip"), "")
    if other:
        raise InUse(
            f"network {network.name!r}: backend ipip joins network {other!r} already, and a host can have one such tunnel",
            "use --backend vxlan",
        )


def _layer(options: Mapping[str, str], layers: Collection[int], host_gateway: bool) -> int:
    text = options.get("layer")
    if text is None:
        return 3 if host_gateway and 3 in layers else 2
    if text not in ("2", "3"):
        raise UsageError(f"option layer must be 2 or 3, not {text!r}")
    return int(text)


def _is_gateway(facts: HostFacts, subnets: Iterable[Subnet]) -> bool:
    """Tell whether the gateway of one of these subnets is an address of this host."""
    mine = {interface.ip for interface in facts.prefixes}
    return any(subnet.gateway in mine for subnet in subnets)


def _subnets(
    request: NetworkCreate, driver: Driver, own: bool, known: Iterable[Network], facts: HostFacts
) -> tuple[Subnet, ...]:
    """Return what was asked for, else one of our choice; none where the driver has no addresses, or the user will give them."""
    if driver.name in ("host", "none"):
        if request.subnets:
            raise UsageError(f"driver {driver.name} has no addresses of its own, so it takes no subnet", "leave --subnet out")
        return ()
    unmanaged = request.subnets == (NO_SUBNET,) or (not request.subnets and "bridge" in dict(request.options))
    if unmanaged and not (request.ipv6 or not request.ipv4 or request.gateways or request.ip_ranges or request.auxiliary):
        return ()
    prefixes = [spec.subnet(text) for text in request.subnets]
    _only_ipv6(request, prefixes)
    taken = [subnet.prefix for network in known for subnet in network.subnets]
    local = [interface.network for interface in facts.prefixes] if own else []
    if not prefixes and request.ipv4 and dict(request.options).get("ipam") != "dhcp":
        prefixes.append(default_subnet(taken + local, 4, request.name))
    if (request.ipv6 or not request.ipv4) and not any(prefix.version == 6 for prefix in prefixes):
        prefixes.append(default_subnet(taken + local, 6, request.name))
    _no_overlap(prefixes, known, local)
    return dressed(prefixes, request)


def _only_ipv6(request: NetworkCreate, prefixes: Iterable[IPNetwork]) -> None:
    """Raise `UsageError` for a network without IPv4 that has some all the same."""
    if request.ipv4:
        return
    if dict(request.options).get("ipam") == "dhcp":
        raise UsageError(f"network {request.name!r}: it shall have no IPv4, and DHCP gives that", "leave one of them out")
    for prefix in prefixes:
        if prefix.version == 4:
            raise UsageError(f"network {request.name!r} shall have no IPv4, and {prefix} is", "leave one of them out")


def _no_overlap(prefixes: list[IPNetwork], known: Iterable[Network], local: Iterable[IPNetwork]) -> None:
    for position, prefix in enumerate(prefixes):
        for other in prefixes[:position]:
            if prefix.overlaps(other):
                raise UsageError(f"the subnets {other} and {prefix} overlap")
        for network in known:
            for subnet in network.subnets:
                if prefix.overlaps(subnet.prefix):
                    raise InUse(
                        f"subnet {prefix} overlaps {subnet.prefix} of network {network.name!r}", "choose another subnet"
                    )
        for mine in local:
            if prefix.overlaps(mine):
                raise InUse(f"subnet {prefix} overlaps {mine}, which this host uses already", "choose another subnet")


def dressed(prefixes: list[IPNetwork], request: NetworkCreate) -> tuple[Subnet, ...]:
    """Give each gateway, range and auxiliary address to the subnet in which it lies."""
    gateways = [spec.address(text) for text in request.gateways]
    ranges = [spec.subnet(text) for text in request.ip_ranges]
    auxiliary = [spec.address(text.rpartition("=")[2]) for text in request.auxiliary]
    for address in (*gateways, *auxiliary):
        if not any(address in prefix for prefix in prefixes):
            raise UsageError(f"{address} lies in none of the subnets ({', '.join(map(str, prefixes))})")
    for block in ranges:
        if not any(_within(block, p) for p in prefixes):
            raise UsageError(f"the range {block} lies in none of the subnets ({', '.join(map(str, prefixes))})")
    subnets = []
    for prefix in prefixes:
        mine = [g for g in gateways if g in prefix]
        inner = [b for b in ranges if _within(b, prefix)]
        if len(mine) > 1 or len(inner) > 1:
            raise UsageError(f"subnet {prefix} takes one gateway and one range")
        _usable_gateway(mine, prefix)
        subnets.append(
            Subnet(
                prefix=prefix,
                gateway=mine[0] if mine else None,
                ip_range=inner[0] if inner else None,
                auxiliary=tuple(a for a in auxiliary if a in prefix),
            )
        )
    return tuple(subnets)


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _usable_gateway(gateways: Iterable[object], prefix: IPNetwork) -> None:
    edges = {prefix.network_address, prefix.broadcast_address} if prefix.version == 4 and prefix.prefixlen < 31 else set()
    for gateway in gateways:
        if gateway in edges:
            raise UsageError(f"{gateway} cannot be a gateway: it is the network or the broadcast address of {prefix}")


def _number(known: Iterable[Network], options: Mapping[str, str], last: int) -> int:
    """Return the next number. One that was in use a moment ago is not given again: some host may still have its tunnel."""
    taken = {network.number for network in known} | {int(network.option("vni", "0")) for network in known}
    wanted = options.get("vni", "")
    if wanted.isascii() and wanted.isdigit() and int(wanted) in taken:
        raise InUse(f"VNI {wanted} belongs to another network", "choose another, or leave it out")
    following = chain(range(last + 1, MAXIMUM_NUMBER + 1), range(1, last + 1))
    number = next((n for n in following if n not in taken and str(n) != wanted), 0)
    if not number:
        raise Exhausted("all network numbers are taken")
    return number


def fitting_mtu(network: Network, overhead: int, facts: HostFacts) -> None:
    """Raise `UsageError` for an MTU that the underlay or an IP version does not allow; 0 always fits."""
    if not network.mtu:
        return
    least = max((MINIMUM_MTU[s.prefix.version] for s in network.subnets), default=68)
    most = facts.mtu - overhead if network.backend != "none" else 65535
    if not least <= network.mtu <= most:
        raise UsageError(
            f"an MTU of {network.mtu} does not fit: between {least} and {most} bytes are possible here", "leave it out"
        )
