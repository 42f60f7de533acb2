"""WireGuard devices: the kernel's where it has them, else TUN devices with a process. Handlers that choose, and the reader.

Where a peer was said to be is kept beside the device, in the runtime directory: a peer that has answered from elsewhere since
counts as being there, and is given a new place only when the plan has one, or when the device has forgotten it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wefted.model.link import Link
from wefted.model.objects import HOST, KernelObject, Netns
from wefted.model.secret import Secret
from wefted.model.wireguard import Wireguard, WireguardPeer, by_version, endpoint
from wefted.model.x25519 import encoded

from .ifinfo import IFLA_IFNAME, IFLA_MTU, RTM_NEWLINK, RawLink, up_header
from .link import LinkHandler
from .marks import is_our_group
from .memory import write_whole
from .netlink import Message, Refused, text, u32
from .netns import Namespaces
from .reading import Reading
from .transaction import GONE, Transaction
from .tun import TunHandler
from .wireguardfound import FoundDevice, FoundPeer, Speaker
from .wireguardkey import of_text, private_key
from .wireguardnetlink import KernelWireguard
from .wireguardprocess import PROGRAM, WireguardProcesses
from .wireguarduapi import UapiWireguard, place

KERNEL = "kernel"
TOLD = "told.json"


class WireguardWays:
    """Both ways on one host. `missing` says why the kernel's cannot be used, or ""; `key` is the host's own private key."""

    def __init__(self, spaces: Namespaces, runtime_dir: Path, home: Netns, key: Path, missing: Callable[[], str]) -> None:
        self._missing = missing
        self.key = key
        self.directory = runtime_dir / "wireguard"
        self.processes = WireguardProcesses(self.directory, home)
        self._speakers: Mapping[str, Speaker] = {KERNEL: KernelWireguard(spaces), PROGRAM: UapiWireguard()}
        self._told: dict[str, dict[str, str]] = {}
        """What is not written yet, by device: many peers of one transaction are one file."""

    @property
    def chosen(self) -> str:
        return PROGRAM if self._missing() else KERNEL

    def speaker(self, link: str) -> Speaker:
        """Return the way to speak to a device that is there."""
        return self._speakers[PROGRAM if (self.directory / link / "process").exists() else KERNEL]

    def read(self, reading: Reading) -> Iterator[KernelObject]:
        """Yield our devices, each in place of the plain link that it was read as before, and their peers."""
        if reading.ns != HOST:
            return
        ours = {link.name: link for link in reading.links.values() if is_our_group(link.group)}
        processes = set(self.processes.links())
        for name in sorted(processes):
            raw = ours.get(name)
            yield from self._device(name, raw if raw is not None and raw.kind == "tun" else None, PROGRAM)
        for link in ours.values():
            if link.kind == "wireguard" and link.name not in processes:
                yield from self._device(link.name, link, KERNEL)

    def _device(self, name: str, raw: RawLink | None, way: str) -> Iterator[KernelObject]:
        try:
            found = self._speakers[way].get(name)
        except Refused:
            found = None
        intact = found is not None and raw is not None and way == self.chosen
        yield _device(name, raw, found or FoundDevice(), intact, way)
        if found is not None and intact:
            told = self.told(name)
            yield from (_peer(name, peer, told) for peer in found.peers)

    def told(self, link: str) -> dict[str, str]:
        """Return where the peers of a device were said to be."""
        if link in self._told:
            return self._told[link]
        try:
            found = json.loads((self.directory / link / TOLD).read_text())
        except (OSError, ValueError):
            return {}
        return {str(key): str(place) for key, place in found.items()} if isinstance(found, dict) else {}

    def tell(self, link: str, key: str, place: str, tx: Transaction) -> None:
        """Remember where a peer was said to be, "" that it is gone; written at the end of the transaction."""
        if link not in self._told:
            self._told[link] = self.told(link)
            tx.then(lambda: self._write(link))
        known = self._told[link]
        if place:
            known[key] = place
        else:
            known.pop(key, None)

    def forget(self, link: str) -> None:
        """Drop everything that is kept of a device."""
        self._told.pop(link, None)
        self.processes.stop(link)
        folder = self.directory / link
        with suppress(OSError):
            (folder / TOLD).unlink()
        for path in (folder, self.directory):
            with suppress(OSError):
                path.rmdir()

    def _write(self, link: str) -> None:
        told = self._told.pop(link, None)
        if told is not None:
            write_whole(self.directory / link / TOLD, json.dumps(told).encode())


class WireguardHandler(LinkHandler):
    """Makes devices the chosen way; what both have in common is changed as with every link."""

    def __init__(self, ways: WireguardWays, spaces: Namespaces) -> None:
        self._ways = ways
        self._tun = TunHandler(spaces)

    def _create(self, wanted: Link, tx: Transaction) -> None:
        assert isinstance(wanted, Wireguard)
        if tx.exists(wanted.ns, wanted.name):
            raise Refused(errno.EEXIST, f"there is a link {wanted.name} already")
        private = private_key(self._ways.key, wanted.key_file)  # before anything is made
        self._ways.forget(wanted.name)
        if self._ways.chosen == KERNEL:
            super()._create(wanted, tx)
            tx.index(wanted.ns, wanted.name)
        else:
            self._tun.create(wanted, tx)
            self._start(wanted, tx)
        self._ways.speaker(wanted.name).set_device(wanted, private)

    def update(self, old: KernelObject, new: Link, tx: Transaction) -> None:
        """Change what can be changed; a process that has ended is started again on its device. Raises `Refused`."""
        assert isinstance(new, Wireguard)
        if not isinstance(old, Wireguard) or not (old.intact or self._can_restart(old, tx)):
            with suppress(Refused):
                self.delete(Wireguard(ns=new.ns, name=new.name, port=0, public_key=""), tx)
            self.create(new, tx)
            return
        private = private_key(self._ways.key, new.key_file)
        if not old.intact:
            self._start(new, tx)
        super().update(replace(old, intact=True), new, tx)
        tx.flush(new.ns)
        self._ways.speaker(new.name).set_device(new, private)

    def delete(self, old: Link, tx: Transaction) -> None:
        """End its process, and delete the link. Raises `Refused`."""
        tx.flush(old.ns)
        self._ways.forget(old.name)
        super().delete(old, tx)

    def _can_restart(self, old: Wireguard, tx: Transaction) -> bool:
        return old.way == PROGRAM == self._ways.chosen and tx.exists(old.ns, old.name)

    def _start(self, wanted: Wireguard, tx: Transaction) -> None:
        """Start its process; that sets an MTU of its own, so ours is set again."""
        self._ways.processes.start(wanted.name)
        mtu = u32(IFLA_MTU, wanted.mtu) if wanted.mtu else b""
        tx.ask(wanted.ns, Message(RTM_NEWLINK, 0, up_header() + text(IFLA_IFNAME, wanted.name) + mtu))


class WireguardPeerHandler:
    """Adds, corrects and removes single peers."""

    def __init__(self, ways: WireguardWays) -> None:
        self._ways = ways

    def create(self, wanted: WireguardPeer, tx: Transaction) -> None:
        """Add a peer, and greet it: a device that begins to keep a connection alive sends its first packet at once.

        Without that, a peer that had keys with the device before this one would hear of the new one after 15 seconds of silence
        (Rekey-Timeout and Keepalive-Timeout of the protocol). Raises `Refused`.
        """
        self._set(replace(wanted, keepalive=wanted.keepalive or 1), tx, moved=True)
        if not wanted.keepalive:
            self._set(wanted, tx, moved=False)

    def update(self, old: KernelObject, new: WireguardPeer, tx: Transaction) -> None:
        """Correct a peer; the place from which it answers stays unless another one is planned. Raises `Refused`."""
        moved = not isinstance(old, WireguardPeer) or (old.remote, old.port) != (new.remote, new.port)
        self._set(new, tx, moved=moved)

    def delete(self, old: WireguardPeer, tx: Transaction) -> None:
        """Remove a peer; that it is gone, or its device, is no error. Raises `Refused`."""
        tx.flush(old.ns)
        self._ways.tell(old.link, old.public_key, "", tx)
        try:
            self._ways.speaker(old.link).drop_peer(old.link, of_text(old.public_key))
        except Refused as refused:
            if refused.errno not in GONE:
                raise

    def _set(self, wanted: WireguardPeer, tx: Transaction, *, moved: bool) -> None:
        tx.require(wanted.ns, wanted.link)
        tx.flush(wanted.ns)
        self._ways.speaker(wanted.link).set_peer(wanted, moved=moved)
        if moved and wanted.remote is not None:
            self._ways.tell(wanted.link, wanted.public_key, endpoint(wanted.remote, wanted.port), tx)


def _device(name: str, raw: RawLink | None, found: FoundDevice, intact: bool, way: str) -> Wireguard:
    link: dict[str, Any] = {} if raw is None else {"mtu": raw.mtu, "up": raw.up, "alias": raw.alias}
    key = encoded(found.public_key) if found.public_key else ""
    return Wireguard(name=name, port=found.port, public_key=key, fwmark=found.fwmark, intact=intact, way=way, **link)


def _peer(link: str, found: FoundPeer, told: Mapping[str, str]) -> WireguardPeer:
    """Return a peer with the place where it was said to be, if it is anywhere; else with that which somebody else set."""
    key = encoded(found.public_key)
    address, port = found.address, found.port
    if address is not None and key in told:
        address, port = place(told[key])
    psk = Secret(encoded(found.psk)) if found.psk else Secret()
    return WireguardPeer(
        link=link, public_key=key, remote=address, port=port, allowed=by_version(found.allowed), psk=psk,
        keepalive=found.keepalive, handshake=found.handshake,
    )  # fmt: skip
