"""Hosts without etcd: our client of a flannel server, with a server, without one, and with one that is none."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_interface
from random import Random

import pytest

from wefted.engine.flannel import Keeper
from wefted.errors import Conflict, Unreachable, UsageError, WeftedError
from wefted.model import codec
from wefted.model.flannel_lease import FlannelLease
from wefted.model.lease import Lease
from wefted.model.node import Node
from wefted.model.records import Delete, Put, Snapshot
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.flannel_server_url import parse_server
from wefted.store.memory import MemoryStore

from .flannel_served import DEADLINE, PREFIX, Served


def node(number: int, address: str = "") -> Node:
    return Node(
        id=f"n{number}", name=f"h{number}", underlay=(ip_interface(f"{address or f'192.0.2.{number}'}/24"),), device="eth0"
    )


@dataclass
class Client:
    """A host without etcd: its own store, and the network in it."""

    port: int
    number: int
    address: str = ""
    local: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Begin a life of this host; the store is what is left of the one before."""
        remote = f"127.0.0.1:{self.port}"
        base = parse_server(remote).base
        self.store = FlannelStore(self.local, "cluster/", [Mount("flannel", base, remote=remote)])
        address = self.address or f"192.0.2.{self.number}"
        self.keeper = Keeper(
            self.store, "flannel", node(self.number, address), IPv4Address(address), random=Random(self.number)
        )

    async def leases(self) -> dict[str, str]:
        """Return the node of each block, as the host sees it."""
        found = await self.store.read("leases/")
        blocks = [codec.loads(Lease, item.value or b"") for item in found.items.values()]
        return {str(block.block): block.node for block in blocks}

    async def close(self) -> None:
        for server in self.store._servers.values():
            await server.keys.close()


@pytest.fixture
async def clients(served: Served) -> AsyncIterator[list[Client]]:
    made = [Client(served.port, 1), Client(served.port, 2)]
    yield made
    for each in made:
        await each.close()


async def test_hosts_without_etcd_hold_leases_and_see_each_other(served: Served, clients: list[Client]) -> None:
    one, two = clients
    mine, theirs = await one.keeper.acquire(), await two.keeper.acquire()
    assert mine.subnet != theirs.subnet
    await one.store.server(f"127.0.0.1:{served.port}").read(f"http://127.0.0.1:{served.port}/v1/_/")
    assert await one.leases() == {str(mine.subnet): "n1", str(theirs.subnet): "flannel:192.0.2.2"}
    assert {value["PublicIP"] for value in (await served.keys()).values()} == {"192.0.2.1", "192.0.2.2"}
    assert await one.keeper.acquire() == mine, "a renewal"
    await one.keeper.release()
    assert len(await served.keys()) == 1
    assert str(mine.subnet) not in {k.replace("-", "/") for k in await served.keys()}


async def test_a_lost_lease_comes_back_unless_another_host_has_it(served: Served, clients: list[Client]) -> None:
    one, _ = clients
    mine = await one.keeper.acquire()
    (key,) = await served.keys()
    await served.root.write([Delete(f"{PREFIX}subnets/{key}")])
    assert await one.keeper.acquire() == mine
    await served.root.write([Put(f"{PREFIX}subnets/{key}", b'{"PublicIP":"192.0.2.77","PublicIPv6":null}')])
    other = await one.keeper.acquire()
    assert other.subnet != mine.subnet
    assert (await served.keys())[key]["PublicIP"] == "192.0.2.77", "the stranger keeps it"


async def test_hosts_behind_one_address_have_a_lease_each(served: Served) -> None:
    both = [Client(served.port, number, "10.0.2.15") for number in (1, 2)]
    first = [await each.keeper.acquire() for each in both]
    assert first[0].subnet != first[1].subnet
    assert [await each.keeper.acquire() for each in both] == first
    for each in both:
        await each.close()


async def test_a_host_whose_server_is_away_knows_what_it_knew(served: Served, clients: list[Client]) -> None:
    one, two = clients
    mine, theirs = await one.keeper.acquire(), await two.keeper.acquire()
    await one.store.server(f"127.0.0.1:{served.port}").read(f"http://127.0.0.1:{served.port}/v1/_/")
    known = await one.leases()
    await one.close()
    await served.stop()
    one.open()
    assert await one.leases() == known == {str(mine.subnet): "n1", str(theirs.subnet): "flannel:192.0.2.2"}
    assert "networks/flannel" in (await one.store.read("")).items
    with pytest.raises(Unreachable, match="the flannel server does not answer"):
        await one.keeper.acquire()
    await served.root.write([Delete(f"{PREFIX}subnets/{str(theirs.subnet).replace('/', '-')}")])
    watch = one.store.watch("")
    first = await asyncio.wait_for(anext(watch), DEADLINE)
    assert isinstance(first, Snapshot)
    assert f"leases/flannel/{str(theirs.subnet).replace('/', '-')}" in first.items
    await served.start()
    async with asyncio.timeout(DEADLINE):
        while await one.leases() != {str(mine.subnet): "n1"}:
            await anext(watch)
    assert await one.keeper.acquire() == mine


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://h",
        "a b",
        "h:x",
        "http://u@h",
        "h/a/b",
        "h/..",
        "http://h?ca=/x",
        "https://h?cert=/x",
        "h,i",
        "[::1",
        "h?x=1",
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"flannel server|no name of a network"):
        parse_server(text)


async def test_a_server_that_answers_nonsense_is_an_error(served: Served) -> None:
    """Whoever listens there: a client says so and changes nothing."""
    chance = random.Random(7)
    for _ in range(40):
        answer = chance.randbytes(60) if chance.random() < 0.5 else b'{"Subnet":7}'

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes = answer) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        client = Client(server.sockets[0].getsockname()[1], 1)
        with pytest.raises(WeftedError):
            await client.store.allot("flannel", "n1", FlannelLease(public=IPv4Address("192.0.2.1")))
        assert not (await client.local.read("")).items
        await client.close()
        server.close()


async def test_a_conflict_is_told_from_other_refusals(served: Served) -> None:
    client = Client(served.port, 1)
    asks = client.store.server(f"127.0.0.1:{served.port}").client
    base = f"http://127.0.0.1:{served.port}/v1/_/"
    await served.lease("192.0.2.9")
    (key,) = await served.keys()
    body = {"Subnet": key.replace("-", "/"), "Attrs": {"PublicIP": "192.0.2.1"}}
    with pytest.raises(Conflict):
        await asks.ask("PUT", f"{base}leases/{key}", body)
    with pytest.raises(WeftedError, match="JSON decoding error"):
        await asks.ask("POST", f"{base}leases", {"PublicIP": 1})
    with pytest.raises(UsageError, match="no flannel server"):
        await asks.ask("GET", f"{base}elsewhere")
    await client.close()
