"""WireGuard's two languages (netlink bytes, lines of text), its key files, and where peers were said to be."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wefted.errors import KernelError, UsageError
from wefted.kernel import wireguardprocess, wireguarduapi
from wefted.kernel.netlink import Refused
from wefted.kernel.wireguardfound import FoundDevice, FoundPeer
from wefted.kernel.wireguardkey import private_key, public_key_of
from wefted.kernel.wireguardnetlink import decode, device_attributes, peer_attributes, set_message, sockaddr
from wefted.kernel.wireguardprocess import WireguardProcesses
from wefted.kernel.wireguarduapi import answered, call, device_lines, parse, peer_lines, place
from wefted.model.objects import HOST
from wefted.model.secret import Secret
from wefted.model.wireguard import Wireguard, WireguardPeer
from wefted.model.x25519 import decoded, encoded
from wefted.testing.kernel_samples import WIREGUARD, WIREGUARD_KEY, WIREGUARD_PEER

PRIVATE, PUBLIC = decoded(WIREGUARD_KEY), decoded(WIREGUARD.public_key)
THEIRS = decoded(WIREGUARD_PEER.public_key)
assert PRIVATE is not None
assert PUBLIC is not None
assert THEIRS is not None
DEVICE = Wireguard(name="wg0", port=51820, public_key=WIREGUARD.public_key, fwmark=0x77)
PEER = WireguardPeer(
    link="wg0", public_key=WIREGUARD_PEER.public_key, remote=ip_address("192.0.2.2"), port=0x1234,
    allowed=(ip_network("10.5.2.0/24"), ip_network("fd05:2::/64")), psk=Secret(WIREGUARD_KEY), keepalive=25,
)  # fmt: skip
FIVE, SIX = struct.pack("=H", socket.AF_INET), struct.pack("=H", socket.AF_INET6)
NESTED = 0x8000


def tlv(kind: int, data: bytes) -> bytes:
    """An attribute as netlink(7) describes it."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def u16(kind: int, value: int) -> bytes:
    return tlv(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return tlv(kind, struct.pack("=I", value))


def prefix(number: bytes, address: bytes, length: int) -> bytes:
    """One of WGPEER_A_ALLOWEDIPS (linux/wireguard.h)."""
    return tlv(NESTED, tlv(1, number) + tlv(2, address) + tlv(3, bytes([length])))


ALLOWED = prefix(FIVE, bytes([10, 5, 2, 0]), 24) + prefix(SIX, bytes.fromhex("fd050002") + bytes(12), 64)
ENDPOINT = FIVE + b"\x12\x34" + bytes([192, 0, 2, 2]) + bytes(8)


class TestNetlink:
    def test_the_device(self) -> None:
        assert device_attributes(DEVICE, PRIVATE) == tlv(3, PRIVATE) + u16(6, 51820) + u32(7, 0x77)

    def test_the_request(self) -> None:
        message = set_message(0x1D, "wg0", b"....")
        assert (message.type, message.flags) == (0x1D, 0)
        assert message.body == bytes([1, 1, 0, 0]) + tlv(2, b"wg0\0") + b"...."

    @pytest.mark.parametrize("moved", [True, False])
    def test_a_peer(self, moved: bool) -> None:
        """Its place is left out where it may have moved by itself; its addresses replace those of before (flag 2)."""
        assert peer_attributes(PEER, moved) == tlv(
            NESTED,
            tlv(1, THEIRS) + u32(3, 2) + tlv(2, PRIVATE) + (tlv(4, ENDPOINT) if moved else b"")
            + u16(5, 25) + tlv(9 | NESTED, ALLOWED),
        )  # fmt: skip

    def test_a_peer_without_a_pre_shared_key_loses_the_one_it_had(self) -> None:
        assert tlv(2, bytes(32)) in peer_attributes(WIREGUARD_PEER, True)

    def test_an_endpoint_of_version_6(self) -> None:
        address = ip_address("2001:db8::2")
        assert sockaddr(address, 0x1234) == SIX + b"\x12\x34" + bytes(4) + address.packed + bytes(4)

    def test_a_device_is_read(self) -> None:
        peer = tlv(1, THEIRS) + tlv(2, PRIVATE) + tlv(4, ENDPOINT) + u16(5, 25) + tlv(6, struct.pack("=qq", 1700000000, 5))
        body = bytes(4) + tlv(2, b"wg0\0") + tlv(3, PRIVATE) + tlv(4, PUBLIC) + u16(6, 51820) + u32(7, 0x77)
        body += tlv(8 | NESTED, tlv(NESTED, peer + tlv(9 | NESTED, ALLOWED)))
        assert decode([body]) == FoundDevice(
            PUBLIC, 51820, 0x77,
            [FoundPeer(THEIRS, PRIVATE, ip_address("192.0.2.2"), 0x1234, 25, 1700000000, list(PEER.allowed))],
        )  # fmt: skip

    def test_a_peer_goes_on_in_the_next_message(self) -> None:
        """With many allowed addresses one message is full before the peer is complete: it is named again."""
        first, second = (
            bytes(4) + tlv(8 | NESTED, tlv(NESTED, tlv(1, THEIRS) + tlv(9 | NESTED, entry)))
            for entry in (prefix(FIVE, bytes([10, 5, 2, 0]), 24), prefix(FIVE, bytes([10, 5, 3, 0]), 24))
        )
        other = bytes(4) + tlv(8 | NESTED, tlv(NESTED, tlv(1, PUBLIC) + tlv(4, sockaddr(ip_address("2001:db8::2"), 9))))
        found = decode([first, second, other])
        assert [p.allowed for p in found.peers] == [[ip_network("10.5.2.0/24"), ip_network("10.5.3.0/24")], []]
        assert [(p.address, p.port) for p in found.peers] == [(None, 0), (ip_address("2001:db8::2"), 9)]

    @pytest.mark.parametrize("key", ["", "AAAA", "x" * 44])
    def test_what_is_no_key_never_leaves(self, key: str) -> None:
        with pytest.raises(Refused) as refused:
            peer_attributes(WireguardPeer(link="wg0", public_key=key, remote=None), True)
        assert refused.value.errno == errno.EINVAL


class TestText:
    def test_the_device(self) -> None:
        assert device_lines(DEVICE, PRIVATE) == [f"private_key={PRIVATE.hex()}", "listen_port=51820", "fwmark=119"]

    @pytest.mark.parametrize("moved", [True, False])
    def test_a_peer(self, moved: bool) -> None:
        assert peer_lines(PEER, moved) == [
            f"public_key={THEIRS.hex()}", f"preshared_key={PRIVATE.hex()}", *(["endpoint=192.0.2.2:4660"] if moved else []),
            "persistent_keepalive_interval=25", "replace_allowed_ips=true", "allowed_ip=10.5.2.0/24", "allowed_ip=fd05:2::/64",
        ]  # fmt: skip

    def test_a_device_is_read(self) -> None:
        """As wireguard.com/xplatform has it: a peer begins with its key."""
        text = f"""private_key={PRIVATE.hex()}
listen_port=51820
fwmark=119
public_key={THEIRS.hex()}
preshared_key={PRIVATE.hex()}
protocol_version=1
endpoint=192.0.2.2:4660
last_handshake_time_sec=1700000000
last_handshake_time_nsec=5
tx_bytes=148
rx_bytes=92
persistent_keepalive_interval=25
allowed_ip=10.5.2.0/24
allowed_ip=fd05:2::/64
public_key={PUBLIC.hex()}
preshared_key={"00" * 32}
endpoint=[2001:db8::2]:9
errno=0

"""
        assert parse(answered(text.encode(), "wg0")) == FoundDevice(
            PUBLIC, 51820, 0x77,
            [
                FoundPeer(THEIRS, PRIVATE, ip_address("192.0.2.2"), 0x1234, 25, 1700000000, list(PEER.allowed)),
                FoundPeer(PUBLIC, b"", ip_address("2001:db8::2"), 9),
            ],
        )  # fmt: skip

    def test_a_fresh_device_has_nothing(self) -> None:
        assert parse([("private_key", "00" * 32), ("listen_port", "0")]) == FoundDevice()

    @pytest.mark.parametrize(
        ("answer", "number"),
        [(b"errno=-98\n\n", errno.EADDRINUSE), (b"errno=22\n\n", errno.EINVAL), (b"listen_port=1\n", errno.EPROTO)],
    )
    def test_what_is_refused(self, answer: bytes, number: int) -> None:
        with pytest.raises(Refused) as refused:
            answered(answer, "wg0")
        assert refused.value.errno == number

    @pytest.mark.parametrize("text", ["192.0.2.2:4660", "[2001:db8::2]:9"])
    def test_a_place_is_read_as_it_is_written(self, text: str) -> None:
        address, port = place(text)
        assert wireguarduapi.endpoint(address, port) == text

    def test_a_program_that_answers_in_pieces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wireguarduapi, "SOCKETS", tmp_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(tmp_path / "wg0.sock"))
            server.listen()
            heard: list[bytes] = []

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    heard.append(connection.recv(100))
                    for piece in (b"listen_port=5", b"1820\nerr", b"no=0\n", b"\n"):
                        connection.sendall(piece)

            thread = threading.Thread(target=serve)
            thread.start()
            assert call("wg0", ["get=1"]) == [("listen_port", "51820")]
            thread.join()
            assert heard == [b"get=1\n\n"]

    def test_nobody_listens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wireguarduapi, "SOCKETS", tmp_path)
        with pytest.raises(Refused, match="the WireGuard program of wg0 does not answer"):
            call("wg0", ["get=1"])


class TestKeyFile:
    def test_it_is_made_once_for_root_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "wireguard.key"
        before = os.umask(0)
        try:
            public = public_key_of(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [p.name for p in path.parent.iterdir()] == ["wireguard.key"]
        private = decoded(path.read_text())
        assert private is not None
        assert (private[0] & 7, private[31] >> 6) == (0, 1)
        assert public_key_of(path) == public == public_key_of(tmp_path / "unused", str(path))
        assert private_key(path, "") == private
        assert not (tmp_path / "unused").exists()

    def test_one_that_is_there_is_used(self, tmp_path: Path) -> None:
        """As flannel writes it, or `wg genkey`, which ends it with a newline."""
        for end in ("", "\n"):
            (tmp_path / "wgkey").write_text(WIREGUARD_KEY + end)
            assert public_key_of(tmp_path / "own", str(tmp_path / "wgkey")) == WIREGUARD.public_key

    @pytest.mark.parametrize("text", [b"", b"not a key", b"\xff\xfe"])
    def test_a_damaged_one_is_told_and_kept(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "wgkey"
        path.write_bytes(text)
        with pytest.raises(UsageError, match="has no WireGuard key"):
            public_key_of(path)
        with pytest.raises(Refused, match="has no WireGuard key"):
            private_key(path, "")
        assert path.read_bytes() == text

    def test_one_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(KernelError, match="Not a directory"):
            public_key_of(tmp_path / "file" / "key")

    def test_one_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="is gone"):
            private_key(tmp_path / "key", "")

    def test_hosts_that_start_together_have_one_key(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(public_key_of(path))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [public_key_of(path)] * 8
        assert encoded(private_key(path, "")) == path.read_text()


def test_without_the_program_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguardprocess, "SEARCHED", str(tmp_path))
    assert wireguardprocess.missing() == "wireguard-go is not installed (apt-get install wireguard-go)"
    with pytest.raises(Refused, match="apt-get install wireguard-go"):
        WireguardProcesses(tmp_path / "run", HOST).start("wg0")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_ends_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "wireguard-go"
    program.write_text("#!/bin/sh\necho 'ERROR: (wg0) Failed to create TUN device: device busy' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr(wireguardprocess, "SEARCHED", str(tmp_path))
    processes = WireguardProcesses(tmp_path / "run", HOST)
    with pytest.raises(Refused, match="Failed to create TUN device: device busy"):
        processes.start("wg0")
    assert list(processes.links()) == ["wg0"]
    processes.stop("wg0")
    assert list(processes.links()) == []
