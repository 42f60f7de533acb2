"""Reading a network's `-o key=value` options: each reader raises one `UsageError` that names the key and what it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wefted.errors import UsageError

from .nearest import guess
from .network import Network

SHARED: Mapping[str, str] = {
    "block": "length of the prefix that each host leases",
    "ipam": "pool: addresses from the subnets; dhcp: IPv4 from a DHCP server of the LAN, and no subnet of its own",
    "ifprefix": "what the names of the interfaces in the containers begin with (eth)",
    "layer": "3: blocks are routed between hosts; 2: one broadcast domain over all hosts",
}
"""Keys that belong to every network, whatever its driver and backend."""

_INTERFACE = re.compile(r"[^\s/:]{1,15}")


def reject_unknown(network: str, keys: Iterable[str], *known: Mapping[str, str]) -> None:
    """Raise `UsageError` for the first of the keys that is neither shared nor in one of the tables `known`."""
    allowed = sorted({key for table in (SHARED, *known) for key in table})
    for key in keys:
        if key not in allowed:
            raise UsageError(
                f"network {network!r}: unknown option {key!r}{guess(key, allowed)}", f"known are: {', '.join(allowed)}"
            )


def integer(network: Network, key: str, default: int, span: range) -> int:
    """Return an option that is a decimal number within `span`, or `default` where it is not given."""
    text = network.option(key)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) in span):
        raise UsageError(f"network {network.name!r}: option {key} is {text!r}, not a number from {span[0]} to {span[-1]}")
    return int(text)


def choice(network: Network, key: str, allowed: Iterable[str], default: str) -> str:
    """Return an option that is one of `allowed`, or `default` where it is not given."""
    text = network.option(key) or default
    if text not in allowed:
        raise UsageError(f"network {network.name!r}: option {key} is {text!r}, not one of {', '.join(allowed)}")
    return text


def interface(network: Network, key: str) -> str:
    """Return an option that names a link of the host, or "" where it is not given (`dev_valid_name` in the kernel)."""
    text = network.option(key)
    if text and (text in (".", "..") or not _INTERFACE.fullmatch(text)):
        raise UsageError(
            f"network {network.name!r}: option {key} is {text!r}, which cannot be the name of a link",
            "1 to 15 characters without spaces, slashes and colons; see yours: ip link",
        )
    return text
