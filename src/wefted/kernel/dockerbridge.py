"""docker0 as the kernel has it: what Docker's daemon finds when it starts, and what keeps its old address."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wefted.errors import KernelError
from wefted.model.objects import IPInterface

from .hostaddresses import addresses
from .ifinfo import delete_named
from .netlink import NetlinkSocket, Refused

NAME = "docker0"


@dataclass(frozen=True, slots=True)
class DockerBridge:
    """The default bridge of Docker on this host."""

    addresses: tuple[IPInterface, ...]
    ports: tuple[str, ...]


def look() -> DockerBridge | None:
    """Return docker0, or None where there is none."""
    ports = Path("/sys/class/net", NAME, "brif")
    if not ports.is_dir():
        return None
    found = tuple(interface for name, interface in addresses() if name == NAME)
    return DockerBridge(found, tuple(sorted(port.name for port in ports.iterdir())))


def delete() -> None:
    """Remove docker0; dockerd makes it again when it starts. Raises `KernelError`."""
    with closing(NetlinkSocket()) as sock:
        try:
            sock.ask(delete_named(NAME))
        except Refused as refused:
            raise KernelError(f"cannot remove {NAME}: {refused.explain(NAME)}", errno=refused.errno) from None
