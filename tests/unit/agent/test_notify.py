"""Telling systemd: one datagram to the socket that it names."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wefted.agent import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_states_arrive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool) -> None:
    address = f"\0wefted-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        notify.ready()
        notify.stopping()
        assert [receiver.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()
