"""UDP tunnels by a process: one for each TUN device, started here, that outlives us. Its folder says what it does.

The relay itself (`wefted.services.udp_relay`) is a program beside this one; here it is started, told of its peers by a file and
a signal, found again, and ended. What its file says is what it does, for as long as it runs.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wefted.errors import KernelError
from wefted.model.objects import HOST, KernelObject, Netns
from wefted.model.tunnel import UdpPeer, UdpTunnel

from .netlink import Refused
from .transaction import Transaction

if TYPE_CHECKING:
    from .program import Programs

FILE = "tunnel.json"


class UdpRelays:
    """The relays of one host, below `runtime_dir`; `home` is the namespace in which they run, `argv` how one is started."""

    def __init__(self, runtime_dir: Path, home: Netns, argv: Sequence[str]) -> None:
        self._directory = runtime_dir / "udp"
        self._home = home
        self._argv = argv
        self._waiting: dict[str, dict[str, Any]] = {}
        """What is not written yet, by TUN device: many peers of one transaction are one file and one signal."""

    @cached_property
    def _programs(self) -> Programs:
        from .program import Programs  # only hosts with relays need it

        return Programs(self._directory)

    def make(self, wanted: UdpTunnel, tx: Transaction) -> None:
        """Start the relay of a tunnel, which has no peers then. Raises `Refused`."""
        if not self._argv:
            raise Refused(errno.EOPNOTSUPP, "this wefted has no relay for UDP tunnels")
        tx.flush(wanted.ns)
        self._waiting.pop(wanted.link, None)
        said = json.dumps(_said(wanted, self._peers(wanted)))
        folder = self._directory / wanted.link / FILE
        try:
            self._programs.start(wanted.link, self._home, [*self._argv, str(folder)], {FILE: said})
        except KernelError as error:
            raise Refused(error.errno or errno.EIO, error.message) from None

    def unmake(self, old: UdpTunnel, tx: Transaction) -> None:
        """End a relay; that there is none is no error."""
        self._waiting.pop(old.link, None)
        if old.link and (self._directory / old.link).exists():
            self._programs.stop(old.link)

    def set_peer(self, wanted: UdpPeer, tx: Transaction) -> None:
        """Tell the relay of a peer's block. Raises `Refused`."""
        said = self._changing(wanted, tx)
        said["peers"][str(wanted.block)] = [str(wanted.remote), wanted.port]

    def drop_peer(self, old: UdpPeer, tx: Transaction) -> None:
        """Let the relay forget a block."""
        with suppress(Refused):
            self._changing(old, tx)["peers"].pop(str(old.block), None)

    def read(self) -> Iterator[KernelObject]:
        """Yield the tunnels of the relays, with their peers; without those, and broken, where the process has ended."""
        try:
            folders = sorted(path for path in self._directory.iterdir() if path.is_dir())
        except FileNotFoundError:
            return
        for folder in folders:
            said = self._read(folder.name)
            running = bool(said) and self._programs.running(folder.name) != 0
            yield _tunnel(folder.name, said, running)
            if running:
                yield from _peers(folder.name, said)

    def _changing(self, peer: UdpPeer, tx: Transaction) -> dict[str, Any]:
        said = self._waiting.get(peer.link)
        if said is None:
            said = self._read(peer.link)
            if not said:
                raise Refused(errno.ENOENT, f"there is no relay for {peer.link}")
            self._waiting[peer.link] = said
            tx.then(lambda: self._write(peer.link))
        return said

    def _write(self, link: str) -> None:
        said = self._waiting.pop(link, None)
        if said is None:
            return
        folder = self._directory / link
        fresh = folder / f".{FILE}"
        fresh.write_text(json.dumps(said))
        fresh.replace(folder / FILE)
        pid = self._programs.running(link)
        if pid:
            os.kill(pid, signal.SIGURG)

    def _peers(self, tunnel: UdpTunnel) -> dict[str, Any]:
        """Return the peers that a relay which is started anew had before."""
        peers: dict[str, Any] = self._read(tunnel.link).get("peers", {})
        return {block: peer for block, peer in peers.items() if peer[1] == tunnel.port}

    def _read(self, link: str) -> dict[str, Any]:
        data, _ = self._programs.read(link, FILE)
        try:
            said = json.loads(data)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


def _said(tunnel: UdpTunnel, peers: dict[str, Any]) -> dict[str, Any]:
    return {
        "link": tunnel.link, "device": tunnel.device, "local": str(tunnel.local), "port": tunnel.port,
        "bridge": tunnel.bridge, "blocks": [str(block) for block in tunnel.blocks], "peers": peers,
    }  # fmt: skip


def _tunnel(link: str, said: dict[str, Any], running: bool) -> UdpTunnel:
    if not said:
        return UdpTunnel(link=link, device="", local=ip_address("0.0.0.0"), port=0, intact=False)
    return UdpTunnel(
        ns=HOST, link=link, device=said["device"], local=ip_address(said["local"]), port=said["port"], bridge=said["bridge"],
        blocks=tuple(ip_network(block) for block in said["blocks"]), intact=running, way="relay",
    )  # fmt: skip


def _peers(link: str, said: dict[str, Any]) -> Iterator[UdpPeer]:
    for block, (remote, port) in said["peers"].items():
        yield UdpPeer(link=link, block=ip_network(block), remote=ip_address(remote), port=port)
