"""The host's links as sysfs shows them, and waiting for one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from wefted.compat import hostlink, waiting
from wefted.compat.hostlink import HostLink, find, is_ready, with_mac
from wefted.model.link import LINK_GROUP


@pytest.fixture
def sysfs(tmp_path: Path):
    def link(name: str, **files: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        for file, text in {"type": "1", "netdev_group": "0", "mtu": "1500", "address": "02:00:00:00:00:01", **files}.items():
            (place / file).write_text(f"{text}\n")
        return place

    return link


def test_our_group_is_that_of_the_model() -> None:
    assert int(hostlink.OUR_GROUP) == LINK_GROUP


def test_kinds(sysfs, tmp_path: Path) -> None:
    (sysfs("br0", netdev_group=str(LINK_GROUP)) / "bridge").mkdir()
    (sysfs("wlan0") / "wireless").mkdir()
    sysfs("ib0", type="32", mtu="2044")
    sysfs("eth0")
    found = [find(name, str(tmp_path)) for name in ("br0", "wlan0", "ib0", "eth0", "eth1", "", ".", "../x")]
    assert found == [
        HostLink(name="br0", kind="bridge", ours=True, mtu=1500),
        HostLink(name="wlan0", kind="wireless", mtu=1500),
        HostLink(name="ib0", kind="infiniband", mtu=2044),
        HostLink(name="eth0", kind="ethernet", mtu=1500),
        None, None, None, None,
    ]  # fmt: skip


def test_the_first_link_with_a_mac(sysfs, tmp_path: Path) -> None:
    sysfs("eth1", address="02:00:00:00:00:0a")
    sysfs("eth0", address="02:00:00:00:00:0a")
    assert with_mac("02:00:00:00:00:0A", str(tmp_path)) == "eth0"
    assert with_mac("02:00:00:00:00:0b", str(tmp_path)) == ""


def test_waiting_ends_with_the_carrier(sysfs, tmp_path: Path) -> None:
    timer = threading.Timer(0.1, lambda: sysfs("eth1", carrier="1"))
    timer.start()
    start = time.monotonic()
    assert waiting.wait("eth1", 5.0, str(tmp_path))
    assert 0.1 <= time.monotonic() - start < 1.0
    timer.join()


def test_an_interface_without_carrier_is_there_all_the_same(sysfs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "GRACE", 0.05)
    sysfs("eth1", carrier="0")
    assert not is_ready("eth1", str(tmp_path))
    assert waiting.wait("eth1", 5.0, str(tmp_path))


def test_waiting_gives_up_when_it_is_told_to(tmp_path: Path) -> None:
    assert not waiting.wait("eth1", 0.05, str(tmp_path))
