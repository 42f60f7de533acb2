"""The name servers of a resolv.conf(5). Pure."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

from .objects import IPAddress


def nameservers(text: str) -> list[IPAddress]:
    """Return the name servers, each once; what is no address is passed over, as the C library does."""
    found: dict[IPAddress, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            with contextlib.suppress(ValueError):
                found[ip_address(words[1])] = None
    return list(found)
