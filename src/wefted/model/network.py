"""What users make: networks, and the endpoints that join containers to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_interface

from . import naming
from .dhcp import Dhcp
from .lease import Lease
from .node import HostLink, Node
from .objects import HOST, IPAddress, IPInterface, IPNetwork, Netns


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One address range of a network. Addresses are handed out from `ip_range`, or from all of `prefix`."""

    prefix: IPNetwork
    gateway: IPAddress | None = None
    ip_range: IPNetwork | None = None
    auxiliary: tuple[IPAddress, ...] = ()
    """Addresses that others use and that are never handed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network: one driver (how endpoints are attached on a host) and one backend (how the hosts are joined)."""

    name: str
    driver: str = "bridge"
    backend: str = "none"
    subnets: tuple[Subnet, ...] = ()
    number: int = 0
    """Unique in the cluster; a VXLAN network uses it as its VNI unless an option says otherwise."""
    mtu: int = 0
    """0 = computed from the underlay and the backend's overhead."""
    layer: int = 3
    """3: blocks are routed between hosts. 2: one broadcast domain over all hosts."""
    internal: bool = False
    masquerade: bool = True
    isolated: bool = True
    exposed: bool = False
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def option(self, key: str, default: str = "") -> str:
        return dict(self.options).get(key, default)

    @property
    def link(self) -> str:
        """The name of its bridge on every host."""
        return self.guest_of or self.option("name") or naming.link_name("br", self.name)

    @property
    def guest_of(self) -> str:
        """The bridge of somebody else in which its containers are guests; "" where it has a bridge of its own."""
        return self.option("bridge")

    def bridge(self, number: int) -> str:
        """Return the name of one of its bridges on a host: 0 is `link`, which has the gateway, the others are further ones."""
        return naming.link_name("bx", self.name, str(number)) if number else self.link

    def joint(self, number: int) -> tuple[str, str]:
        """Return the names of the veth pair that joins a further bridge to the one before it: that one's port, its own."""
        return naming.link_name("ja", self.name, str(number)), naming.link_name("jb", self.name, str(number))

    @property
    def vlan(self) -> int:
        """The VLAN of its bridge in which its containers are; 0 where they send and get frames as they are."""
        tag = self.option("vlan")
        return int(tag) if tag.isascii() and tag.isdigit() else 0

    @property
    def tunnel(self) -> str:
        """The name of its tunnel device on every host; with driver `phys`, option `device` is the card that is lent."""
        return (self.driver != "phys" and self.option("device")) or naming.link_name("vx", self.name)

    def subnet_of(self, address: IPAddress) -> Subnet | None:
        return next((s for s in self.subnets if s.prefix.version == address.version and address in s.prefix), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A published port: `host_port` of the host (on `host_ip`, or on all its addresses) is `port` of the container."""

    host_port: int
    port: int
    protocol: str = "tcp"
    host_ip: IPAddress | None = None
    sources: tuple[IPNetwork, ...] | None = None
    """Who may use it from outside the host: nobody where it is empty, None: whom the host lets (`Node.publish_from`)."""

    @property
    def place(self) -> tuple[str, int, IPAddress | None]:
        """What only one publication of a host can have."""
        return self.protocol, self.host_port, self.host_ip

    def __str__(self) -> str:
        ip = "" if self.host_ip is None else f"[{self.host_ip}]:" if self.host_ip.version == 6 else f"{self.host_ip}:"
        return f"{ip}{self.host_port}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A route that the container gets; without `via` it goes through the network's gateway."""

    destination: IPNetwork
    via: IPAddress | None = None
    direct: bool = False
    """The destination is on the link itself: no next hop at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """How much a container may get (ingress) and send (egress): bits per second, and bits at once; 0 is no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


UNLIMITED = Bandwidth()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One interface of one container in one network."""

    network: str
    container: str
    """As in `docker:web1`, `netns:c1`: the kind of runtime and the name."""
    ns: Netns = HOST
    """The sandbox's namespace; empty while the container is gone (and for the host driver)."""
    identity: str = ""
    """Tells a re-created namespace under the same path from the old one: device and inode."""
    ifname: str = "eth0"
    mac: str = ""
    addresses: tuple[IPInterface, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    default_route: bool = True
    gateway_priority: int = 0
    """Of a container's networks the one with the highest holds its default route."""
    routes: tuple[StaticRoute, ...] = ()
    aliases: tuple[str, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    slot: str = ""
    """Tells a further interface of one container in one network from its first; the name under which it was asked for."""
    host_ifname: str = ""
    """What its link on the host is called, where the driver makes one; empty: a name that follows from who it is."""
    default_claim: str = "auto"
    """auto: its container's default route is its own unless there is one; take: it also stands before somebody else's, which
    is in use again when it goes; never."""
    bridge: int = 0
    """Which of its network's bridges on this host it is a port of (driver `bridge`): 0 is the first."""
    dhcp: Dhcp | None = None
    """Set where a DHCP server gives the IPv4 address."""

    engine_id: str = ""
    """The container's identifier in its engine, by which it is known again when it has been renamed."""
    made_for: str = ""
    """The container's name when the endpoint was made, if it has another one now: what follows from it stays as it is."""
    transient: bool = False
    """Goes with its namespace instead of waiting for it: an engine that asks for it anew each time its container starts."""
    bandwidth: Bandwidth = UNLIMITED

    plugged: bool = False
    """Whether the container's engine asked for it through our plugin: then the engine names the interface inside, gives it its
    addresses and routes, and says when the container comes and goes."""

    automatic: bool = False
    """Whether it was made because its container said so, or the host's settings did; it goes when the container is removed."""

    @property
    def id(self) -> str:
        return endpoint_id(self.network, self.made_for or self.container, self.slot)

    @property
    def link(self) -> str:
        """The name of its link on the host, where the driver makes one."""
        return self.host_ifname or naming.link_name("ve", *_identity(self.network, self.made_for or self.container, self.slot))

    @property
    def far_link(self) -> str:
        """The name under which a plugged endpoint's interface is handed over, in the host's namespace."""
        return naming.link_name("vd", *_identity(self.network, self.made_for or self.container, self.slot))

    @property
    def attached(self) -> bool:
        return self.ns != HOST

    def gateway_for(self, version: int) -> IPAddress | None:
        return next((g for g in self.gateways if g.version == version), None)


def endpoint_id(network: str, container: str, slot: str = "") -> str:
    """Return the key of an endpoint's record, which follows from who it is."""
    return naming.digest(*_identity(network, container, slot))


def _identity(network: str, container: str, slot: str) -> tuple[str, ...]:
    return (network, container, slot) if slot else (network, container)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A network as one node sees it: what drivers, backends and features make their plans from.

    Without slots, so that what follows from its fields is worked out once.
    """

    network: Network
    node: Node
    leases: tuple[Lease, ...] = ()
    """The blocks that this node owns."""
    mtu: int = 1500
    """Bytes that an endpoint may send in one packet, the backend's overhead already taken off."""
    host_gateway: bool = True
    """Whether the host is the containers' gateway (bridge, ptp) or a router of the LAN is (macvlan and its kin)."""
    single: bool = False
    """One prefix for the whole subnet (layer 2, or a network of one host) instead of one for each routed block."""
    said: str = ""
    """What the command said whose output the backend announces; "" where there is none, or where nothing is announced."""
    links: tuple[HostLink, ...] = ()
    """The links of this host, as they were at the last look; only drivers that use some of them may rely on it."""
    programs: bool = True
    """Whether this host's kernel takes our eBPF programs."""

    def host_link(self, name: str) -> HostLink | None:
        """Return a link of this host, or None where it has none of that name."""
        return next((link for link in self.links if link.name == name), None)

    @cached_property
    def gateways(self) -> tuple[IPInterface, ...]:
        """The host's own addresses in this network, with the length of the prefix that is on its link."""
        if not self.host_gateway or self.network.option("gateway_mode") == "isolated":
            return ()
        found: list[IPInterface] = []
        for lease in self.leases:
            if self.single and any(g.version == lease.block.version and g.network.overlaps(lease.block) for g in found):
                continue
            gateway = self.gateway_of(lease)
            if gateway is not None:
                found.append(ip_interface((gateway, self.prefixlen(lease))))
        return tuple(found)

    def prefixlen(self, lease: Lease) -> int:
        """Return the length of the prefix that an address of `lease` has on its link."""
        subnet = self.network.subnet_of(lease.block.network_address)
        return subnet.prefix.prefixlen if self.single and subnet is not None else lease.block.prefixlen

    def gateway_of(self, lease: Lease) -> IPAddress | None:
        """Return the gateway of a block: the network's own if it lies there, else its first address."""
        subnet = self.network.subnet_of(lease.block.network_address)
        if subnet is None:
            return None
        if subnet.gateway is not None and (not self.host_gateway or subnet.gateway in lease.block):
            return subnet.gateway
        if not self.host_gateway:
            return None
        return lease.block.network_address + 1
