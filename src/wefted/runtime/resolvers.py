"""Which name servers Docker's own one (127.0.0.11 in a container) passes questions to.

As dockerd does (libnetwork/resolvconf): the setting `dns` of its configuration, else resolv.conf, that of systemd-resolved
where the host asks its stub at 127.0.0.53, without servers on the loopback; and where nothing is left, Google's.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from wefted.model.objects import IPAddress
from wefted.model.resolvconf import nameservers

STUB = ip_address("127.0.0.53")
FALLBACK = tuple(map(ip_address, ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")))


def docker_resolvers(root: Path = Path("/")) -> tuple[IPAddress, ...]:
    """Return them, those that are asked from the containers' own addresses."""
    listed = _configured(root / "etc/docker/daemon.json") or _listed(root / "etc/resolv.conf")
    if STUB in listed:
        listed = _listed(root / "run/systemd/resolve/resolv.conf")
    found = tuple(server for server in listed if not server.is_loopback)
    return found or (FALLBACK if not listed or STUB in listed else ())


def host_asks_itself(root: Path = Path("/")) -> tuple[IPAddress, ...]:
    """Return the servers on the loopback that dockerd asks from the host's own addresses, where nothing can be redirected."""
    listed = () if _configured(root / "etc/docker/daemon.json") else _listed(root / "etc/resolv.conf")
    return tuple(server for server in listed if server.is_loopback and server != STUB)


def containers_ask_themselves(root: Path = Path("/")) -> tuple[IPAddress, ...]:
    """Return the servers on a loopback in the setting `dns`: the containers' own (20.10, 28.5), where nobody listens."""
    return tuple(server for server in _configured(root / "etc/docker/daemon.json") if server.is_loopback)


def _listed(path: Path) -> list[IPAddress]:
    try:
        return nameservers(path.read_text(errors="replace"))
    except OSError:
        return []


def _configured(path: Path) -> list[IPAddress]:
    try:
        settings: Any = json.loads(path.read_bytes())
        return [ip_address(text) for text in settings.get("dns") or ()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
