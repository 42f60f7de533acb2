"""Which links of the host cannot be lent to a container, or carry containers. Pure.

It is asked when a container is connected: networks are for all hosts, links are of one.
"""

from __future__ import annotations

from difflib import get_close_matches

from wefted.errors import InUse, NotFound, Unsupported, UsageError
from wefted.model.network import Network
from wefted.model.node import HostFacts, HostLink

INFINIBAND, LOOPBACK = 32, 772
"""ARPHRD_* of linux/if_arp.h."""


def refuse_link(network: Network, facts: HostFacts) -> None:
    """Raise `NotFound`, `InUse`, `Unsupported` or `UsageError` where this host's link does not do for the network.

    The links are looked at only for drivers that use one of the host's (`USING_LINKS`).
    """
    if network.driver == "phys":
        _refuse_loan(_named(network.option("device"), facts), network, facts)
    elif network.driver in ("macvlan", "ipvlan", "vlan", "ipoib") and network.option("parent"):
        _refuse_parent(_named(network.option("parent"), facts), network)


def _named(name: str, facts: HostFacts) -> HostLink:
    for link in facts.links:
        if link.name == name:
            return link
    others = [link.name for link in facts.links if not link.ours and link.hardware != LOOPBACK]
    close = get_close_matches(name, others, 1)
    guess = f", did you mean {close[0]!r}?" if close else ""
    raise NotFound(f"this host has no link {name!r}{guess}", f"it has: {', '.join(others) or 'none'}")


def _refuse_parent(link: HostLink, network: Network) -> None:
    """InfiniBand has no MACs that could be given to somebody, and Ethernet no partitions."""
    if (link.hardware == INFINIBAND) != (network.driver == "ipoib"):
        what, other = ("InfiniBand", "ipoib") if link.hardware == INFINIBAND else ("no InfiniBand", "macvlan")
        raise Unsupported(f"{link.name} is {what}, so driver {network.driver} cannot use it", f"use --driver {other}")


def _refuse_loan(link: HostLink, network: Network, facts: HostFacts) -> None:
    if link.hardware == LOOPBACK:
        raise UsageError(f"{link.name} is the loopback of this host, which every program on it needs", "name another link")
    _in_use(link)
    if network.option("force") != "on":
        _needed(link, facts)


def _in_use(link: HostLink) -> None:
    if link.ours:
        raise InUse(f"{link.name} is a link of wefted's own", "name one of the host's: ip link")
    if link.master:
        raise InUse(f"{link.name} is a port of {link.master}", f"take it out first: ip link set {link.name} nomaster")


def _needed(link: HostLink, facts: HostFacts) -> None:
    if link.default or link.name == facts.device:
        what = "has its default route by" if link.default else "reaches the other hosts by"
        raise UsageError(
            f"this host {what} {link.name}, and would be cut off without it",
            "if that is meant, make the network with -o force=on",
        )
