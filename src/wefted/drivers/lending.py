"""Which links of the host cannot be lent to a container. Pure.

It is asked when a container is connected: networks are for all hosts, links are of one.
"""

from __future__ import annotations

from difflib import get_close_matches

from wefted.errors import InUse, NotFound, UsageError
from wefted.model.network import Network
from wefted.model.node import HostFacts, HostLink

LOOPBACK = 772
"""ARPHRD_LOOPBACK."""


def refuse_link(network: Network, facts: HostFacts) -> None:
    """Raise `NotFound`, `InUse` or `UsageError` where the network's link is one that this host cannot give away."""
    if network.driver != "phys":
        return
    name = network.option("device")
    found = next((link for link in facts.links if link.name == name), None)
    if found is None:
        others = [link.name for link in facts.links if not link.ours and link.hardware != LOOPBACK]
        close = get_close_matches(name, others, 1)
        guess = f", did you mean {close[0]!r}?" if close else ""
        raise NotFound(f"this host has no link {name!r}{guess}", f"it has: {', '.join(others) or 'none'}")
    if found.hardware == LOOPBACK:
        raise UsageError(f"{name} is the loopback of this host, which every program on it needs", "name another link")
    _in_use(found)
    if network.option("force") != "on":
        _needed(found, facts)


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
