"""The server on real sockets of the loopback: UDP, TCP, upstream servers that answer, refuse, are silent or lie."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from wefted.model.network import Endpoint
from wefted.model.objects import Netns
from wefted.model.resolvconf import nameservers
from wefted.services.dns import upstream
from wefted.services.dns.server import Server
from wefted.services.dns.upstream import Forwarder
from wefted.services.dns.zone import Zone

HERE = ip_address("127.0.0.1")


class Upstream(asyncio.DatagramProtocol):
    """A name server whose answers are its word (TXT) and `code`; mute: it gives none; false: with another ID."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.code = dns.rcode.NOERROR
        self.mute = self.false = False
        self.asked = 0

    async def start(self, address: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))
        number: int = self.transport.get_extra_info("sockname")[1]
        self.stream = await asyncio.start_server(self.connected, address, number)
        return number

    def stop(self) -> None:
        self.transport.close()
        self.stream.close()

    def answer(self, wire: bytes) -> bytes:
        self.asked += 1
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(self.code)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "TXT", self.word))
        if self.false:
            response.id = query.id ^ 1
        return response.to_wire()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        if not self.mute:
            self.transport.sendto(self.answer(data), source)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = self.answer(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(len(found).to_bytes(2, "big") + found)
        writer.close()


class Setting:
    """Our server with a zone of one name, and two upstream servers, 127.0.0.2 and 127.0.0.3, in its file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "resolv.conf"
        self.file.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\n")
        self.first, self.second = Upstream("first"), Upstream("second")

    async def start(self) -> None:
        upstream_port = await self._upstreams()
        zone = Zone("weft.internal")
        address = (ip_interface("10.20.0.2/24"),)
        zone.put("a", Endpoint(network="blue", container="netns:c1", ns=Netns("/x"), addresses=address))
        self.forwarder = Forwarder(str(self.file), lambda: self.server.addresses, upstream_port, patience=0.3)
        for _ in range(20):  # a port that is free for UDP may be taken for TCP
            self.server = Server(zone, self.forwarder.ask, port=0)
            await self.server.listen([HERE])
            if not self.server.errors:
                break
            await self.server.close()
        assert self.server.errors == {}
        self.port = self.server.port_of(HERE)

    async def _upstreams(self) -> int:
        """Start both on one port that is free for both and both ways; return it."""
        while True:
            with contextlib.suppress(OSError):
                port = await self.first.start("127.0.0.2", 0)
                await self.second.start("127.0.0.3", port)
                return port

    async def stop(self) -> None:
        await self.server.close()
        self.first.stop()
        self.second.stop()

    async def ask(self, name: str, kind: str, tcp: bool = False) -> dns.message.Message:
        way = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await way(dns.message.make_query(name, kind), str(HERE), timeout=5, port=self.port)

    async def word(self, tcp: bool = False) -> str:
        response = await self.ask("example.com", "TXT", tcp)
        return response.answer[0][0].to_text().strip('"')


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_our_names_and_those_of_others(setting: Setting, tcp: bool) -> None:
    response = await setting.ask("c1.blue.weft.internal", "A", tcp)
    assert response.answer[0][0].to_text() == "10.20.0.2"
    assert await setting.word(tcp) == "first"
    assert setting.second.asked == 0


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_those_who_have_another_server_are_refused_unknown_bare_names(setting: Setting, tcp: bool) -> None:
    assert (await setting.ask("nobody", "A", tcp)).rcode() == dns.rcode.NXDOMAIN
    setting.server.deferred = {str(HERE)}
    assert (await setting.ask("nobody", "A", tcp)).rcode() == dns.rcode.REFUSED
    assert (await setting.ask("nobody.weft.internal", "A", tcp)).rcode() == dns.rcode.NXDOMAIN
    assert (await setting.ask("c1", "A", tcp)).answer[0][0].to_text() == "10.20.0.2"
    assert await setting.word(tcp) == "first"


async def test_an_upstream_answer_is_passed_on_as_it_is(setting: Setting) -> None:
    response = await setting.ask("example.com", "TXT")
    assert not response.flags & dns.flags.AA
    assert response.answer[0].ttl == 300


async def test_a_silent_server_is_passed_over_and_asked_last_then(setting: Setting) -> None:
    setting.first.mute = True
    assert await setting.word() == "second"
    assert list(map(str, setting.forwarder.servers())) == ["127.0.0.3", "127.0.0.2"]
    setting.first.mute = False
    assert await setting.word() == "second"


async def test_a_server_that_is_not_there_is_passed_over(setting: Setting) -> None:
    setting.first.stop()
    assert await setting.word() == "second"
    assert await setting.word(tcp=True) == "second"


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_refuses_is_passed_over(setting: Setting, code: dns.rcode.Rcode) -> None:
    setting.first.code = code
    assert await setting.word() == "second"
    setting.second.code = code
    assert (await setting.ask("example.com", "TXT")).rcode() == code


async def test_an_answer_to_another_question_counts_for_nothing(setting: Setting) -> None:
    setting.first.false = True
    assert await setting.word() == "second"


async def test_without_servers_there_is_a_failure_and_not_silence(setting: Setting) -> None:
    setting.file.write_text(f"nameserver {HERE}\n# nameserver 127.0.0.2\n")
    setting.forwarder._looked = float("-inf")
    assert setting.forwarder.servers() == [], "our own address is no server"
    assert (await setting.ask("example.com", "A")).rcode() == dns.rcode.SERVFAIL
    assert (await setting.ask("c1", "A")).rcode() == dns.rcode.NOERROR


async def test_the_file_is_read_again_when_it_changes(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "LOOK", 0.0)
    assert await setting.word() == "first"
    setting.file.write_text("nameserver 127.0.0.3\n")
    assert await setting.word() == "second"
    setting.file.unlink()
    assert (await setting.ask("example.com", "A")).rcode() == dns.rcode.SERVFAIL


async def test_a_port_in_use_is_told_and_nothing_else_stops(setting: Setting) -> None:
    other = Server(Zone("weft.internal"), setting.forwarder.ask, setting.port)
    await other.listen([HERE, ip_address("127.0.0.9")])
    assert other.addresses == {ip_address("127.0.0.9")}
    assert other.errors == {HERE: f"cannot listen on 127.0.0.1 port {setting.port}: Address already in use"}
    await setting.server.listen([])
    await asyncio.sleep(0)  # asyncio closes a socket in its next round
    await other.listen([HERE])
    assert (other.addresses, other.errors) == ({HERE}, {})
    await other.close()


@pytest.mark.parametrize("address", ["10.255.1.1", "fd99::1"])
async def test_it_listens_on_an_address_that_the_host_does_not_have_yet(setting: Setting, address: str) -> None:
    await setting.server.listen([HERE, ip_address(address)])
    assert setting.server.errors == {}


async def test_many_questions_on_one_connection(setting: Setting) -> None:
    reader, writer = await asyncio.open_connection(str(HERE), setting.port)
    queries = [dns.message.make_query(name, "A") for name in ("c1", "nobody", "c1.weft.internal")]
    for query in queries:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
    for query in queries:
        length = int.from_bytes(await reader.readexactly(2), "big")
        assert query.is_response(dns.message.from_wire(await reader.readexactly(length)))
    writer.close()


async def test_a_client_that_goes_away_harms_nobody(setting: Setting) -> None:
    for start in (b"", b"\0", b"\0\x50half", b"\0\x02hi"):
        _, writer = await asyncio.open_connection(str(HERE), setting.port)
        writer.write(start)
        writer.close()
    assert (await setting.ask("c1", "A", tcp=True)).rcode() == dns.rcode.NOERROR


def test_what_a_file_says() -> None:
    lines = ["# nameserver 1.1.1.1", ";x", "nameserver 10.0.0.1 # one", "nameserver  ::1", "nameserver x", "search a"]
    text = "\n".join([*lines, "nameserver 10.0.0.1", "nameserver"])
    assert list(map(str, nameservers(text))) == ["10.0.0.1", "::1"]
