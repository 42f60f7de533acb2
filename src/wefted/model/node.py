"""Nodes: the hosts that run wefted, and what a host's kernel can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from .objects import IPAddress, IPInterface, IPNetwork

ANYWHERE: tuple[IPNetwork, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Every address of both versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host. Its UUID is made once and kept; name and addresses may change."""

    id: str
    name: str
    underlay: tuple[IPInterface, ...] = ()
    """Its addresses on the network that joins the hosts, with prefix length; the preferred one first."""
    device: str = ""
    """The link that holds them."""
    mtu: int = 1500
    publish_from: tuple[IPNetwork, ...] = ANYWHERE
    """Who may use its published ports from outside, where a port does not say it itself; nobody: the ports are closed."""
    resolvers: tuple[IPAddress, ...] = ()
    """The name servers that its container engines ask in their containers' name."""

    wireguard: tuple[tuple[str, str], ...] = ()
    """Its public WireGuard keys by the file that has the private one; "" is the host's own file."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(i.ip for i in self.underlay)

    def public_key(self, file: str = "") -> str:
        """Return the public WireGuard key whose private one is in `file`, "" while there is none."""
        return dict(self.wireguard).get(file, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """A link in the host's namespace as it was found, for drivers that use one which they do not make."""

    name: str
    kind: str = ""
    """The kernel's word for a virtual link (`bridge`, `vlan`, `veth`); empty for hardware."""
    hardware: int = 1
    """ARPHRD_*: 1 is Ethernet, 32 InfiniBand, 772 the loopback."""
    mac: str = ""
    master: str = ""
    """The name of the bridge, bond or team that it is a port of."""
    ours: bool = False
    default: bool = False
    """Whether a default route of the main table goes by it."""
    addresses: tuple[IPInterface, ...] = ()
    """The ones that are not ours, without link-local ones; permanent ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What `Kernel.probe` found: the underlay link, and for each optional feature "" or the reason why it is missing."""

    device: str = ""
    underlay: tuple[IPInterface, ...] = ()
    mtu: int = 1500
    features: Mapping[str, str] = field(default_factory=dict)
    """Keys: bridge veth macvlan dummy ipvlan vlan vxlan ipip ipoib port-vlan tun bpf nft wireguard (by the kernel or by a
    program), wireguard-kernel. Value "" = present."""
    prefixes: tuple[IPInterface, ...] = ()
    """Every address of the host that is not ours: a new subnet must not overlap their networks."""
    links: tuple[HostLink, ...] = ()
    """Every link of the host; the engine asks for them anew when a network depends on them."""
    forward_filters: tuple[str, ...] = ()
    """Chains of other programs that drop what the host forwards unless a rule lets it pass, as in `ip filter FORWARD`."""
    bridge_netfilter: bool = False
    """Whether the firewall for IPv4 also judges frames that pass a bridge (br_netfilter)."""
    input_filter: str = ""
    """The chain of another program that published ports obey, as in `inet firewalld filter_INPUT`."""
    unfollowed: tuple[str, ...] = ()
    """What it has that cannot be followed, as chain and handle of a rule; what such a rule would let in stays out."""
    unread_firewall: str = ""
    """A firewall of this host that is meant to keep closed what it does not open, and that we cannot read."""

    @property
    def takes_programs(self) -> bool:
        """Whether the kernel takes our eBPF programs."""
        return not self.features.get("bpf", "")
