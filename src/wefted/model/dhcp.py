"""What an endpoint knows of DHCP: who asks for its address, and the lease that it has."""

from __future__ import annotations

from dataclasses import dataclass

from .objects import IPAddress, IPInterface, IPNetwork

FOREVER = 0xFFFFFFFF
"""The duration of a lease that never ends (RFC 2131, section 3.3)."""

BUILTIN = "builtin"
CLIENTS = (BUILTIN, "udhcpc", "udhcpc-f", "dhclient", "dhclient-f", "dhcpcd", "dhcpcd-f")
"""Who may ask: our own client, or a program of the host. With `-f` it stays and renews; without, it ends with the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedRoute:
    """A route that the server gives; without `via` the destination is on the link itself (RFC 3442)."""

    destination: IPNetwork
    via: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpLease:
    """An address for a time. All durations are seconds from `obtained`, which is seconds since 1970."""

    address: IPInterface
    server: IPAddress
    server_mac: str = ""
    """Who sent the answer on our link: the server, or the relay before it."""
    obtained: float = 0.0
    """When it was asked for, which is when its time began (RFC 2131, section 4.4.1)."""
    duration: int = FOREVER
    renewal: int = FOREVER
    """T1: from here on the server is asked to extend it."""
    rebinding: int = FOREVER
    """T2: from here on any server is."""
    gateway: IPAddress | None = None
    routes: tuple[LeasedRoute, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    domain: str = ""
    mtu: int = 0
    """Bytes; 0: the server says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dhcp:
    """How one endpoint gets its address by DHCP."""

    client: str = BUILTIN
    options: tuple[str, ...] = ()
    """Further words for a program of the host."""
    lease: DhcpLease | None = None
    identity: str = ""
    """The sandbox (as `Endpoint.identity`) in which the lease was last confirmed."""
    pid: int = 0
    """The program that keeps the lease, where one stays."""

    @property
    def program(self) -> str:
        """Return the program's name, or an empty string for our own client."""
        return "" if self.client == BUILTIN else self.client.removesuffix("-f")

    @property
    def stays(self) -> bool:
        return self.client.endswith("-f")
