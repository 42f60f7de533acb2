"""Features are tried without standing in each other's way, on a kernel that knows every kind of link."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from wefted.kernel import probe
from wefted.kernel.ifinfo import IFLA_LINK, IFLA_LINKINFO, INFO_DATA, INFO_KIND, header
from wefted.kernel.netlink import Message, Reply, attributes

BASE = 7


class EveryKind:
    """A namespace where each kind can be made, by the rules of the kernel for those that exclude each other."""

    def __init__(self) -> None:
        self._bridges = 0
        self._takers: dict[bytes, str] = {}

    def transact(self, batch: Sequence[Message]) -> list[Reply]:
        return [Reply(self._make(message)) for message in batch]

    def ask(self, message: Message) -> list[bytes]:
        return [header(BASE + self._bridges)]

    def close(self) -> None:
        pass

    def _make(self, message: Message) -> int:
        found = attributes(message.body, len(header()))
        info = attributes(found[IFLA_LINKINFO])
        kind = info[INFO_KIND].rstrip(b"\0").decode()
        self._bridges += kind == "bridge"
        if kind in ("macvlan", "ipvlan"):  # either takes what the link receives (netdev_rx_handler_register)
            return 0 if self._takers.setdefault(found[IFLA_LINK], kind) == kind else errno.EBUSY
        if kind == "ipip" and INFO_DATA not in info:  # the same ends as those of tunl0 (ip_tunnel_newlink)
            return errno.EEXIST
        return errno.EINVAL if kind == "ipoib" else 0


def test_every_kind_is_found_on_a_kernel_that_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "unshare", lambda: None)
    monkeypatch.setattr(probe, "NetlinkSocket", EveryKind)
    assert probe.try_links(probe.LINK_FEATURES) == dict.fromkeys(probe.LINK_FEATURES, "")


@pytest.mark.parametrize("compressed", ["", ".xz"])
def test_a_module_that_is_loud_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compressed: str) -> None:
    monkeypatch.setattr(probe, "_MODULES", tmp_path / "lib")
    monkeypatch.setattr(probe, "_LOADED", tmp_path / "sys")
    assert not probe.is_installed("ipip", "6.1"), "no modules at all: it may be built in"
    listed = tmp_path / "lib" / "6.1" / "modules.dep"
    listed.parent.mkdir(parents=True)
    listed.write_text("kernel/net/ipv4/ip_tunnel.ko:\n")
    assert not probe.is_installed("ipip", "6.1")
    listed.write_text(f"kernel/net/ipv4/ipip.ko{compressed}: kernel/net/ipv4/ip_tunnel.ko\n")
    assert probe.is_installed("ipip", "6.1")
    assert not probe.is_installed("ipip", "6.2"), "of another kernel"
    (tmp_path / "sys" / "ipip").mkdir(parents=True)
    assert not probe.is_installed("ipip", "6.1"), "loaded already: trying it changes nothing"
