"""Every operation of the engine: its name, what it takes, what it does. The API and its document are made from this.

Parameters are what a person would type (strings, parsed by `wefted.model.spec`), so that one grammar serves the command
line, the API and the plugins. Results are JSON values: objects of `wefted.model` as `wefted.model.codec` encodes them, with a
few words added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wefted.model.network import UNLIMITED, Bandwidth

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """An operation without parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCreate:
    name: str
    driver: str = "bridge"
    backend: str = "none"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ip_ranges: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    """Addresses that are never handed out, each with or without a name before it: `router=10.9.0.9`."""
    ipv4: bool = True
    """False: no IPv4 subnet is chosen, an IPv6 one instead."""
    ipv6: bool = False
    """Adds an IPv6 subnet of our choice when none is given."""
    mtu: int = 0
    internal: bool = False
    masquerade: bool = True
    isolated: bool = True
    options: Pairs = ()
    labels: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSet:
    """What is not given stays as it is."""

    name: str
    mtu: int | None = None
    """0: computed again from the underlay."""
    ip_ranges: tuple[str, ...] = ()
    masquerade: bool | None = None
    isolated: bool | None = None
    labels: Pairs = ()
    unlabel: tuple[str, ...] = ()
    """Keys of labels to take away."""
    options: Pairs = ()
    """icc, host_binding, gateway_mode (nat or routed); an empty value is the default again."""
    driver: str = ""
    """This one, `backend` and `subnets` cannot change: they are taken only to say so."""
    backend: str = ""
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNames:
    names: tuple[str, ...]
    force: bool = False
    """Pass over those that do not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFilters:
    filters: tuple[str, ...] = ()
    """`label=K`, `label=K=V`, `label!=K`, `name=PART`, `driver=D`, `backend=B`, `dangling=true`; all of them must match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkName:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Several containers may be given as long as nothing but the network is common to them."""

    network: str
    containers: tuple[str, ...]
    ip: tuple[str, ...] = ()
    ifname: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    publish_from: tuple[str, ...] = ()
    """Who may use these ports from outside: prefixes, `all` or `none`; as the host has it where nothing is said."""
    gateway_priority: int = 0
    """Of a container's networks the one with the highest holds its default route."""
    gateways: tuple[str, ...] = ()
    """Instead of the network's own, one for each IP version; they may lie outside of the container's prefixes."""
    default_route: str = "auto"
    """auto: unless the container has one; take: also before a foreign one, which stays and is used after the detach; never."""
    host_ifname: str = ""
    """What its link on the host is called, where the driver makes one."""
    additional: bool = False
    """One more interface of a container that is in the network already; it needs `ifname`, which tells it from the others."""
    dhcp: bool = False
    """The IPv4 address comes from a DHCP server of the LAN behind the link."""
    dhcp_client: str = "builtin"
    """Who asks: one of `wefted.model.dhcp.CLIENTS`."""
    dhcp_options: tuple[str, ...] = ()
    """Further words for a client that is a program of the host."""
    netns: str = ""
    """Where the namespace of a `cni:` or `oci:` container is, which only its engine knows. Such an endpoint goes with its
    namespace, and connecting it twice is an error."""
    bandwidth: Bandwidth = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    network: str
    containers: tuple[str, ...]
    force: bool = False
    """Pass over those that are not in the network."""
    ifname: str = ""
    """Needed only where a container has several interfaces in the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointName:
    network: str
    container: str
    ifname: str = ""
    """Needed only where a container has several interfaces in the network."""
    compare: bool = False
    """Also compare it with the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    container: str
    ports: tuple[str, ...]
    network: str = ""
    """Needed only where the container is in several networks."""
    sources: tuple[str, ...] = ()
    """Who may use them from outside: prefixes, `all` or `none`; as the host has it where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`document` is the text of a YAML file (empty: compare the kernel with what is stored), `source` its name for messages."""

    document: str = ""
    source: str = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNames:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlannelJoin:
    """A network of flannel's, under a name of this host's choice. It is in the etcd that is our store, or at a server."""

    name: str = "flannel"
    prefix: str = "/coreos.com/network"
    masquerade: bool = False
    public_ip: str = ""
    """What peers send to; the underlay address where it is left out."""
    public_ip6: str = ""
    subnet_file: str = "/run/flannel/subnet.env"
    renew_margin: float = 3600.0
    """Seconds before the end of the lease at which it is renewed."""
    blackhole: bool = False
    """Drop what is for this host's subnet while nothing of it is there."""
    api: str = "auto"
    """The version of etcd's API that has the records: `3`, `2`, or `auto` for the one that has a configuration, 3 first."""
    key_file: str = "/run/flannel/wgkey"
    """The private key of backend `wireguard`; made where there is none."""
    remote: str = ""
    """The flannel server that has the network, `http://HOST:8888/NETWORK`, in place of an etcd and a prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlannelWatch:
    """Every network that has a configuration at `PREFIX/NAME/config`, now and later; `only` these names, if some are given."""

    prefix: str
    only: tuple[str, ...] = ()
    stop: bool = False
    """Join no further ones; what is joined stays."""
    subnet_dir: str = "/run/flannel/networks"
    """Where the environment files are, NAME.env."""
    masquerade: bool = False
    public_ip: str = ""
    public_ip6: str = ""
    renew_margin: float = 3600.0
    blackhole: bool = False
    api: str = "auto"
    """The version of etcd's API whose networks are joined: `3`, `2`, or `auto` for both."""
    key_file: str = "/run/flannel/wgkey"
    remote: str = ""
    """The flannel server whose networks are joined, in place of those under the prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    name: str
    """A name, with or without the domain, or an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uninstall:
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """`parameters` is a dataclass of this module; `summary` is one line for the API's document."""

    parameters: type
    summary: str


OPERATIONS: Mapping[str, Operation] = {
    "status": Operation(Nothing, "Tell how the node, its store and its kernel are."),
    "doctor": Operation(Nothing, "Examine this host: findings, their causes, and the commands that help."),
    "network.create": Operation(NetworkCreate, "Make a network; nothing appears on a host before its first endpoint."),
    "network.list": Operation(NetworkFilters, "List the networks of the cluster, all or those that match."),
    "network.inspect": Operation(NetworkNames, "Show networks with their leases and endpoints."),
    "network.set": Operation(NetworkSet, "Change a network that lives; every host follows."),
    "network.remove": Operation(NetworkNames, "Remove networks; refused while they have endpoints."),
    "network.prune": Operation(NetworkFilters, "Remove the networks without endpoints, all or those that match."),
    "network.room": Operation(
        NetworkName, "Tell whether this host can attach one more container to a network; an error if not."
    ),
    "network.connect": Operation(Connect, "Attach containers to a network."),
    "network.disconnect": Operation(Disconnect, "Detach containers from a network."),
    "network.expose": Operation(NetworkName, "Let other hosts reach a network's containers without published ports."),
    "network.hide": Operation(NetworkName, "Undo expose."),
    "endpoint.list": Operation(Nothing, "List every endpoint of every host."),
    "endpoint.inspect": Operation(EndpointName, "Show one endpoint of this host as its container sees it."),
    "endpoint.ports": Operation(Nothing, "List every published port of every host, and from where it is reachable."),
    "endpoint.publish": Operation(Publish, "Publish ports of a container."),
    "endpoint.unpublish": Operation(Publish, "Take published ports of a container back."),
    "link.list": Operation(Nothing, "List the links of this host's own namespace."),
    "host.list": Operation(Nothing, "List the hosts of the cluster."),
    "host.inspect": Operation(HostNames, "Show hosts with their leases and endpoints."),
    "host.remove": Operation(HostNames, "Forget hosts that are gone for good, and free their blocks."),
    "dns.list": Operation(Nothing, "List the names of every endpoint."),
    "dns.lookup": Operation(Lookup, "Tell what a name or an address stands for."),
    "flannel.join": Operation(FlannelJoin, "Take a subnet in a network of flannel's, and keep it."),
    "flannel.watch": Operation(FlannelWatch, "Join every network of flannel's under a prefix, as they come."),
    "flannel.list": Operation(Nothing, "List the networks of flannel's that this host has joined."),
    "flannel.leave": Operation(NetworkName, "Give the subnet in a network of flannel's back."),
    "plan": Operation(Plan, "Show what apply would change; without a document, what reconcile would repair."),
    "apply": Operation(Plan, "Make what a document describes; without a document, repair."),
    "reconcile": Operation(Nothing, "Make the kernel match what is stored, now; the number of changes."),
    "uninstall": Operation(Uninstall, "Remove everything of ours from this host's kernel and forget its endpoints and leases."),
}
