"""Which of the host's addresses flanneld uses: its own rules, on a list of links and addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from wefted.model.objects import IPAddress, IPInterface

from .flanneld_flags import Settings, Unsupported

Links = Sequence[tuple[str, IPInterface]]


def advertised(settings: Settings, links: Links, towards: Callable[[IPAddress], IPAddress | None]) -> str:
    """Return the address of the chosen interface, or "" for that of the default route. Raises `Unsupported` for no match.

    The first `-iface` that is an address or a name here; else the first `-iface-regex` that matches an address, then a name;
    else the way to `-iface-can-reach`.
    """
    asked = False
    for wanted in settings["iface"]:
        asked = True
        if found := _named(wanted, links):
            return found
    for pattern in settings["iface-regex"]:
        asked = True
        if found := _matching(pattern, links):
            return found
    if settings["iface-can-reach"]:
        asked = True
        if found := _reaching(settings["iface-can-reach"], towards):
            return found
    if asked:
        raise Unsupported("Failed to find interface to use that matches the interfaces and/or regexes provided")
    return ""


def _named(wanted: str, links: Links) -> str:
    return next((str(i.ip) for name, i in _preferred(links) if wanted in (name, str(i.ip))), "")


def _matching(pattern: str, links: Links) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise Unsupported(f"could not compile the IP address regex '{pattern}': {error}") from None
    by_address = (str(i.ip) for _, i in _preferred(links) if compiled.search(str(i.ip)))
    by_name = (str(i.ip) for name, i in _preferred(links) if compiled.search(name))
    return next(by_address, "") or next(by_name, "")


def _reaching(target: str, towards: Callable[[IPAddress], IPAddress | None]) -> str:
    try:
        found = towards(ip_address(target))
    except ValueError:
        raise Unsupported(f"-iface-can-reach takes an IP address, not {target!r}") from None
    return str(found) if found is not None else ""


def _preferred(links: Links) -> list[tuple[str, IPInterface]]:
    return sorted(links, key=lambda pair: pair[1].version)
