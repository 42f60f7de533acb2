"""The host's link that containers of a LAN driver share, plain or one VLAN of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from wefted.model import naming, options
from wefted.model.link import Vlan
from wefted.model.network import Network, Segment

TAGS = range(1, 4095)
"""VLAN IDs that may carry frames: IEEE 802.1Q reserves 0 and 4095."""


def link(network: Network) -> str:
    """Return the name of the host's link on which the containers' interfaces sit."""
    parent, tag = network.option("parent"), network.option("tag")
    if not tag:
        return parent
    name = f"{parent}.{tag}"
    return name if len(name) <= 15 else naming.link_name("vl", parent, tag)


def objects(segment: Segment) -> Iterator[Vlan]:
    """Yield the VLAN's sub-interface where there is a tag; networks on one VLAN share it.

    One that the host has already is used as it is.
    """
    network = segment.network
    if not network.option("tag"):
        return
    found = segment.host_link(link(network))
    if found is None or found.ours:
        yield Vlan(name=link(network), parent=network.option("parent"), tag=options.integer(network, "tag", 0, TAGS))
