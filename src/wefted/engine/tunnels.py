"""How this host's tunnels carry packets where there are several ways, and why it is not the one in the kernel."""

from __future__ import annotations

from typing import Any

from wefted.model.objects import HOST
from wefted.model.tunnel import UdpTunnel
from wefted.model.wireguard import Wireguard, WireguardPeer

from .host import Host

CHOOSING = ("udp", "wireguard")
"""The backends whose tunnels are made by the kernel, or by a process where it cannot."""


async def tunnels(host: Host) -> list[dict[str, Any]]:
    """Return a row for each tunnel: link, port, way, reason; of `udp` also local, of `wireguard` the key and its peers."""
    if not any(network.backend in CHOOSING for network in host.view.networks.values()):
        return []
    state = await host.worker(host.kernel.read, HOST)
    objects = list(state.objects.values())
    rows = [_udp(item, host.facts.features.get("bpf", "")) for item in objects if isinstance(item, UdpTunnel) and item.link]
    peers = [item for item in objects if isinstance(item, WireguardPeer)]
    lacking = host.facts.features.get("wireguard-kernel", "")
    rows += [_wireguard(item, peers, lacking) for item in objects if isinstance(item, Wireguard)]
    return sorted(rows, key=lambda row: row["link"])


def _udp(item: UdpTunnel, reason: str) -> dict[str, Any]:
    return {"link": item.link, "local": str(item.local), "port": str(item.port), "way": item.way, "reason": reason}


def _wireguard(item: Wireguard, peers: list[WireguardPeer], reason: str) -> dict[str, Any]:
    """Return a device with its peers; `handshake` is in seconds since 1970, None while there was none: nobody there, or a
    key that is not the peer's."""
    found = [
        {
            "public_key": peer.public_key,
            "allowed": [str(block) for block in peer.allowed],
            "handshake": peer.handshake or None,
        }
        for peer in sorted(peers, key=lambda peer: peer.allowed[:1])
        if peer.link == item.name
    ]
    common = {"link": item.name, "port": str(item.port), "way": item.way, "reason": reason if item.way != "kernel" else ""}
    return common | {"public_key": item.public_key, "peers": found}
