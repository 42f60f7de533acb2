"""The host's link that containers of a LAN driver share, plain or one VLAN of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from wefted.model import naming, options
from wefted.model.link import Vlan
from wefted.model.network import Network, Segment
from wefted.model.node import HostLink

TAGS = range(1, 4095)
"""VLAN IDs that may carry frames: IEEE 802.1Q reserves 0 and 4095."""


def untied(chosen: Mapping[str, str], known: Collection[str], links: Iterable[HostLink]) -> dict[str, str]:
    """Return options with a parent that is no link of the host, as `eth0.50`, in two: `eth0`, and the tag 50. As Docker does.

    `known` are the options of the driver. A link that somebody has made under that name stays the parent.
    """
    parent, found = chosen.get("parent", ""), {link.name: link for link in links}
    base, _, tag = parent.rpartition(".")
    made = found.get(parent)
    if "tag" not in known or "tag" in chosen or base not in found or (made is not None and not made.ours):
        return dict(chosen)
    if not (tag.isascii() and tag.isdigit() and int(tag) in TAGS):
        return dict(chosen)
    return {**chosen, "parent": base, "tag": str(int(tag))}


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
