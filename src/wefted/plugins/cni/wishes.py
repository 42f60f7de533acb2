"""What a configuration wants: the parameters of `network.create` and `network.connect`, as a person would type them.

Keys beside our own are those of the plugins that people know: `bridge` (ipMasq, isDefaultGateway, mtu), `host-local` (ipam),
`portmap` and `static` (runtimeConfig), and the conventions of CNI (args.cni, CNI_ARGS).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

from wefted.errors import UsageError
from wefted.model import spec
from wefted.model.objects import IPAddress, IPNetwork

from .fields import Fields
from .refusal import CONFIGURATION, FIELD, Refusal
from .request import Request

IPAM_TYPES = ("", "wefted", "host-local")
"""Addresses are always ours to give; a configuration of host-local says how many there are."""
MOST_LEFT_OUT = 512
"""Addresses of a subnet outside rangeStart to rangeEnd that can be left out one by one, where the range is no prefix."""


def network(request: Request) -> dict[str, Any]:
    """Return the parameters of `network.create`. Raises `Refusal`."""
    config = request.config
    ranges = list(_ranges(config))
    return {
        "name": request.name,
        "driver": config.text("driver", "bridge"),
        "backend": config.text("backend", "none"),
        "subnets": [str(prefix) for prefix, _ in ranges],
        "gateways": [text for _, fields in ranges if (text := fields.text("gateway"))],
        "ip_ranges": [str(block) for prefix, fields in ranges for block in _range(prefix, fields)[0]],
        "auxiliary": [str(address) for prefix, fields in ranges for address in _range(prefix, fields)[1]],
        "ipv6": config.flag("ipv6", False),
        "mtu": config.number("mtu"),
        "internal": config.flag("internal", False),
        "masquerade": config.flag("ipMasq", True),
        "options": {key: config.object("options").text(key) for key in config.object("options").values},
        "labels": {"created-by": "cni"},
    }


def attachment(request: Request) -> dict[str, Any]:
    """Return the parameters of `network.connect`. Raises `Refusal`."""
    config = request.config
    runtime, wanted = config.object("runtimeConfig"), config.object("args").object("cni")
    addresses = [*runtime.texts("ips"), *wanted.texts("ips"), *filter(None, request.arguments.get("IP", "").split(","))]
    return {
        "network": request.name,
        "containers": [request.spec],
        "netns": request.netns,
        "ifname": request.ifname,
        "additional": True,
        "ip": list(dict.fromkeys(text.partition("/")[0] for text in addresses)),
        "mac": runtime.text("mac") or wanted.text("mac") or request.arguments.get("MAC", ""),
        "aliases": list(dict.fromkeys(_aliases(request))),
        "publish": list(_ports(runtime)),
        "bandwidth": _bandwidth(runtime.object("bandwidth")),
        "routes": list(_routes(config)),
        "default_route": "auto" if config.flag("isDefaultGateway", True) else "never",
    }


def _ranges(config: Fields) -> Iterator[tuple[IPNetwork, Fields]]:
    """Yield each subnet with the object that describes it: runtimeConfig.ipRanges, ipam.ranges, ipam.subnet, subnet."""
    ipam = config.object("ipam")
    kind = ipam.text("type")
    if kind not in IPAM_TYPES:
        raise Refusal(FIELD, f"ipam.type {kind!r} is not supported", "leave it out: addresses come from wefted's own network")
    sets = [*_sets(config.object("runtimeConfig"), "ipRanges"), *_sets(ipam, "ranges")]
    for fields in (*sets, ipam, config):
        if fields.text("subnet"):
            yield _subnet(fields), fields


def _sets(fields: Fields, key: str) -> Iterator[Fields]:
    """Yield the ranges of a list of lists, each of which has to be a subnet of its own: an address is taken from each."""
    found = fields.values.get(key)
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(inner, list) for inner in found):
        raise Refusal(CONFIGURATION, f"{fields.place}.{key} must be a list of lists")
    for number, inner in enumerate(found):
        if len(inner) > 1:
            raise Refusal(FIELD, f"{fields.place}.{key}[{number}] has {len(inner)} ranges", "one subnet in each inner list")
        yield from Fields({"range": inner}, f"{fields.place}.{key}[{number}]").objects("range")


def _subnet(fields: Fields) -> IPNetwork:
    try:
        return ip_network(fields.text("subnet"))
    except ValueError as error:
        raise Refusal(CONFIGURATION, f"{fields.place or 'config'}.subnet: {error}", "as in 10.9.0.0/16") from None


def _range(prefix: IPNetwork, fields: Fields) -> tuple[list[IPNetwork], list[IPAddress]]:
    """Return rangeStart to rangeEnd as a prefix where it is one, else as the addresses of the subnet to leave out."""
    first = _address(fields, "rangeStart", prefix.network_address)
    last = _address(fields, "rangeEnd", prefix.broadcast_address)
    if first not in prefix or last not in prefix or int(first) > int(last):
        raise Refusal(CONFIGURATION, f"the range {first} to {last} does not lie in {prefix}")
    if (first, last) == (prefix.network_address, prefix.broadcast_address):
        return [], []
    blocks: list[IPNetwork] = list(summarize_address_range(first, last))
    if len(blocks) == 1:
        return blocks, []
    low, high = int(first) - int(prefix.network_address), int(prefix.broadcast_address) - int(last)
    if low + high > MOST_LEFT_OUT:
        raise Refusal(CONFIGURATION, f"the range {first} to {last} is no prefix", f"write it as one, such as {blocks[0]}")
    gateway = _address(fields, "gateway", prefix.network_address + 1)
    left_out = [prefix.network_address + n for n in range(1, low)] + [last + n for n in range(1, high)]
    return [], [address for address in left_out if address != gateway]


def _address(fields: Fields, key: str, default: IPAddress) -> IPAddress:
    text = fields.text(key)
    try:
        return ip_address(text) if text else default
    except ValueError as error:
        raise Refusal(CONFIGURATION, f"{fields.place or 'config'}.{key}: {error}") from None


def _routes(config: Fields) -> Iterator[str]:
    for route in (*config.object("ipam").objects("routes"), *config.objects("routes")):
        destination, gateway = route.text("dst"), route.text("gw")
        if not gateway and destination in ("0.0.0.0/0", "::/0"):
            continue  # the default route through the network's gateway is there anyway
        yield f"{destination}@{gateway}" if gateway else destination


def _ports(runtime: Fields) -> Iterator[str]:
    """Yield what `portMappings` asks for; without a port of the host there is nothing to publish."""
    for mapping in runtime.objects("portMappings"):
        host, port = mapping.number("hostPort"), mapping.number("containerPort")
        if host:
            ip = mapping.text("hostIP")
            address = f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else ""
            yield f"{address}{host}:{port}/{mapping.text('protocol', 'tcp').lower() or 'tcp'}"


def _bandwidth(fields: Fields) -> dict[str, int]:
    """Return the limits of `bandwidth`: bits per second and bits, as the plugin of that name takes them."""
    keys = {"ingressRate": "ingress_rate", "ingressBurst": "ingress_burst"}
    keys |= {"egressRate": "egress_rate", "egressBurst": "egress_burst"}
    return {ours: fields.number(theirs) for theirs, ours in keys.items()}


def _aliases(request: Request) -> Iterator[str]:
    """Yield the names of the container, from `aliases` (a list, or podman's lists by network) and what podman calls a pod.

    Engines make names such as `my_app` by themselves, which DNS cannot have: these are left out.
    """
    runtime = request.config.object("runtimeConfig")
    found = runtime.values.get("aliases")
    names: Iterable[str] = ()
    if isinstance(found, Mapping):
        aliases = runtime.object("aliases")
        names = aliases.texts(request.config.text("name"))
    elif found is not None:
        names = runtime.texts("aliases")
    for name in (*names, request.arguments.get("K8S_POD_NAME", "")):
        try:
            yield spec.alias(name)
        except UsageError:
            continue
