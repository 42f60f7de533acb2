"""Elements of the table's sets, written as nft lists them, so that what is read back is what was planned. Pure."""

from __future__ import annotations

from wefted.model.firewall import NftElement
from wefted.model.objects import IPNetwork


def subnet(name: str, *prefixes: IPNetwork) -> NftElement:
    """Return an element of a set of subnets, or of pairs of them; `name` is without the IP version."""
    return NftElement(container=f"{name}{prefixes[0].version}", match=tuple(listed(p) for p in prefixes))


def listed(prefix: IPNetwork) -> str:
    """Write a prefix as nft lists it: a single address without its length."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
