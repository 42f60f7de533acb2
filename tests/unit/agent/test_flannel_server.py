"""A flannel server over a store in memory: what it answers, to real clients and to any bytes, and our client of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_interface
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wefted.agent.flannel_networks import LentNetworks
from wefted.agent.flannel_server import LARGEST, FlannelServer
from wefted.agent.http import Request
from wefted.engine.flannel import Keeper
from wefted.engine.flannel_news import KEPT
from wefted.errors import Conflict, Unreachable, UsageError, WeftedError
from wefted.model import codec
from wefted.model.flannel_lease import FlannelLease
from wefted.model.lease import Lease
from wefted.model.node import Node
from wefted.model.records import Delete, Put, Snapshot
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.flannel_server_url import parse_server
from wefted.store.memory import MemoryStore

PREFIX = "/nets/"
CONFIG = b'{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"udp"}}'
DEADLINE = 10
TEXT = "text/plain; charset=utf-8"


@dataclass
class Served:
    """An etcd in memory and a server over it, which can be replaced by a new one."""

    root: MemoryStore = field(default_factory=MemoryStore)
    port: int = 0

    async def start(self) -> None:
        self.networks = LentNetworks(FlannelStore(self.root, "/wefted/", ()), PREFIX, "3")
        self.http = FlannelServer(self.networks)
        self.tcp = await asyncio.get_running_loop().create_server(self.http.connection, "127.0.0.1", self.port)
        self.port = self.tcp.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.tcp.close()
        for task in self.http.running:
            task.cancel()
        await asyncio.gather(*self.http.running, return_exceptions=True)
        await self.networks.close()

    async def ask(self, method: str, path: str, body: Any = None, node: str = "") -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else b""
        path, _, query = path.partition("?")
        request = Request(method, f"/v1/{path}", data, query, {"wefted-node": node} if node else {})
        found = await asyncio.wait_for(self.http.answer(request), DEADLINE)
        is_json = found.content_type.startswith("application/json")
        assert is_json or found.content_type == TEXT
        return found.status, json.loads(found.body) if is_json else found.body.decode()

    async def lease(self, public: str, node: str = "", data: Any = None) -> dict[str, Any]:
        status, found = await self.ask("POST", "_/leases", {"PublicIP": public, "BackendData": data}, node)
        assert status == 200, found
        return dict(found)

    async def keys(self) -> dict[str, dict[str, Any]]:
        found = await self.root.read(f"{PREFIX}subnets/")
        return {key.rpartition("/")[2]: json.loads(item.value or b"") for key, item in found.items.items()}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.root.write([Put(f"{PREFIX}config", CONFIG), Put(f"{PREFIX}blue/config", CONFIG)])
    await made.start()
    yield made
    await made.stop()
    await made.root.close()


def key_of(lease: dict[str, Any]) -> str:
    return str(lease["Subnet"]).replace("/", "-")


async def test_a_host_gets_the_lease_that_it_has(served: Served) -> None:
    first = await served.lease("192.0.2.1", data={"a": 1})
    again = await served.lease("192.0.2.1", data={"a": 2})
    other = await served.lease("192.0.2.2")
    assert first["Subnet"] == again["Subnet"] != other["Subnet"]
    keys = await served.keys()
    assert keys[key_of(first)] == {"PublicIP": "192.0.2.1", "PublicIPv6": None, "BackendData": {"a": 2}}
    assert len(keys) == 2


async def test_two_hosts_of_one_address_are_told_apart_where_they_say_who_they_are(served: Served) -> None:
    """Flannel gives both the same subnet."""
    one, two = [await served.lease("10.0.2.15", node) for node in ("n1", "n2")]
    assert one["Subnet"] != two["Subnet"]
    assert await served.lease("10.0.2.15", "n1") | {"Expiration": ""} == one | {"Expiration": ""}
    assert (await served.lease("192.0.2.9", "n2"))["Subnet"] == two["Subnet"], "its address has changed"
    nameless = await served.lease("10.0.2.15")
    assert nameless["Subnet"] not in (one["Subnet"], two["Subnet"])
    assert (await served.ask("DELETE", f"_/leases/{key_of(one)}", node="n2"))[0] == 409
    assert (await served.ask("PUT", f"_/leases/{key_of(one)}", one, "n2"))[0] == 409


async def test_a_renewal_takes_nothing_from_others_and_brings_back_what_was_lost(served: Served) -> None:
    """Flannel's writes over whatever is there."""
    lease = await served.lease("192.0.2.1")
    await served.root.write([Delete(f"{PREFIX}subnets/{key_of(lease)}")])
    status, found = await served.ask("PUT", f"_/leases/{key_of(lease)}", lease)
    assert (status, found["Subnet"]) == (200, lease["Subnet"])
    stranger = {**lease, "Attrs": {"PublicIP": "192.0.2.2"}}
    assert await served.ask("PUT", f"_/leases/{key_of(lease)}", stranger) == (
        409, f"{lease['Subnet']} is the lease of another host",
    )  # fmt: skip
    outside = {**stranger, "Subnet": "10.6.0.0/24"}
    assert (await served.ask("PUT", "_/leases/10.6.0.0-24", outside))[0] == 500
    assert (await served.ask("PUT", "_/leases/10.5.9.0-24", outside))[0] == 400
    assert (await served.keys())[key_of(lease)]["PublicIP"] == "192.0.2.1"


async def test_fifty_hosts_at_once_get_fifty_subnets(served: Served) -> None:
    found = await asyncio.gather(*(served.lease(f"192.0.2.{number}") for number in range(1, 51)))
    assert len({lease["Subnet"] for lease in found}) == 50
    assert {value["PublicIP"] for value in (await served.keys()).values()} == {f"192.0.2.{n}" for n in range(1, 51)}


async def test_reservations_are_made_held_and_ended(served: Served) -> None:
    reservation = {"Subnet": "10.5.7.0/24", "PublicIP": "192.0.2.1"}
    assert await served.ask("POST", "_/reservations", reservation) == (200, "")
    assert await served.ask("GET", "_/reservations") == (200, [reservation])
    lease = await served.lease("192.0.2.1")
    assert (lease["Subnet"], lease["Expiration"]) == ("10.5.7.0/24", "0001-01-01T00:00:00Z")
    assert (await served.ask("PUT", "_/leases/10.5.7.0-24", lease))[1]["Expiration"] == "0001-01-01T00:00:00Z"
    assert (await served.lease("192.0.2.2"))["Subnet"] != "10.5.7.0/24"
    taken = await served.ask("POST", "_/reservations", {**reservation, "PublicIP": "192.0.2.2"})
    assert taken == (409, "subnet: lease already taken")
    for subnet, words in (("10.5.7.0/25", "mask incompatible"), ("10.6.7.0/24", "outside")):
        status, text = await served.ask("POST", "_/reservations", {**reservation, "Subnet": subnet})
        assert (status, words in text) == (500, True)
    assert await served.ask("DELETE", "_/reservations/10.5.7.0-24") == (200, "")
    assert await served.ask("GET", "_/reservations") == (200, [])
    assert (await served.lease("192.0.2.1"))["Expiration"] != "0001-01-01T00:00:00Z"
    assert (await served.ask("DELETE", "_/reservations/10.5.99.0-24"))[0] == 500


async def test_news_come_by_cursors_of_all_leases_and_of_one(served: Served) -> None:
    lease = await served.lease("192.0.2.1")
    _, start = await served.ask("GET", "_/leases")
    assert (start["events"], [each["Subnet"] for each in start["snapshot"]]) == (None, [lease["Subnet"]])
    _, own = await served.ask("GET", f"_/leases/{key_of(lease)}")
    waiting = asyncio.create_task(served.ask("GET", f"_/leases/{key_of(lease)}?next={own['cursor']}"))
    other = await served.lease("192.0.2.2")
    _, seen = await served.ask("GET", f"_/leases?next={start['cursor']}")
    assert (seen["snapshot"], [(e["type"], e["lease"]["Subnet"]) for e in seen["events"]]) == (
        None,
        [("added", other["Subnet"])],
    )
    assert not waiting.done(), "what happens to others is no news of this one"
    assert await served.ask("DELETE", f"_/leases/{key_of(lease)}") == (200, "")
    _, gone = await waiting
    assert [(e["type"], e["lease"]["Subnet"]) for e in gone["events"]] == [("removed", lease["Subnet"])]
    _, late = await served.ask("GET", f"_/leases/{key_of(lease)}?next=1")
    assert [e["type"] for e in late["events"]] == ["removed"], "too old a cursor, and it is gone meanwhile"
    assert (await served.ask("GET", f"_/leases/{key_of(lease)}"))[0] == 500


async def test_a_cursor_of_an_earlier_server_or_of_long_ago_gets_everything(served: Served) -> None:
    lease = await served.lease("192.0.2.1")
    _, before = await served.ask("GET", "_/leases")
    await served.stop()
    await served.start()
    _, after = await served.ask("GET", f"_/leases?next={before['cursor']}")
    assert (after["events"], [each["Subnet"] for each in after["snapshot"]]) == (None, [lease["Subnet"]])
    news = (await served.networks.network("_")).news
    for number in range(KEPT + 1):
        news._tell("x", None if number % 2 else news.now[f"{PREFIX}subnets/{key_of(lease)}"])
    assert (await news.after(int(after["cursor"])))[1] is None
    assert (await news.after(news.cursor + 5))[1] is None, "a clock that was set back"


async def test_networks_are_listed_and_watched(served: Served) -> None:
    _, start = await served.ask("GET", "")
    assert (start["events"], start["snapshot"]) == (None, ["blue"])
    waiting = asyncio.create_task(served.ask("GET", f"?next={start['cursor']}"))
    await served.root.write([Put(f"{PREFIX}red/config", CONFIG)])
    _, seen = await waiting
    assert [(e["type"], e["network"]) for e in seen["events"]] == [("added", "red")]
    await served.root.write([Delete(f"{PREFIX}blue/config")])
    _, gone = await served.ask("GET", f"?next={seen['cursor']}")
    assert [(e["type"], e["network"]) for e in gone["events"]] == [("removed", "blue")]
    assert (await served.ask("POST", "red/leases", {"PublicIP": "192.0.2.1"}))[0] == 200
    assert set((await served.root.read(f"{PREFIX}red/subnets/")).items) != set()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "none/config", None, 500),
        ("GET", "a%2Fb/config", None, 404),
        ("GET", "_/nothing", None, 404),
        ("GET", "_/config/x", None, 404),
        ("PUT", "_/config", None, 405),
        ("POST", "_/leases/10.5.1.0-24", {}, 405),
        ("POST", "_/leases", "x", 400),
        ("POST", "_/leases", {"PublicIP": "here"}, 400),
        ("POST", "_/leases", {"PublicIP": "192.0.2.1", "BackendType": 7}, 400),
        ("POST", "_/leases", {"PublicIP": "192.0.2.1", "BackendData": "x" * LARGEST}, 413),
        ("GET", "_/leases/10.5.1.0", None, 400),
        ("GET", "_/leases/10.5.1.0-24&fd00::-64", None, 400),
        ("DELETE", "_/leases/10.5.1.0-24", None, 500),
        ("GET", "_/leases?next=x", None, 400),
        ("GET", "_/leases?next=", None, 400),
        ("POST", "_/reservations", {"Subnet": "10.5.1.0"}, 400),
    ],
)
async def test_what_cannot_be_is_answered_and_changes_nothing(
    served: Served, method: str, path: str, body: Any, status: int
) -> None:
    found, text = await served.ask(method, path, body)
    assert (found, isinstance(text, str) and text != "") == (status, True), text
    assert await served.keys() == {}


async def test_ipv6_is_not_in_this_api(served: Served) -> None:
    both = b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc05::/48"}'
    await served.root.write([Put(f"{PREFIX}config", both)])
    status, text = await served.ask("POST", "_/leases", {"PublicIP": "192.0.2.1"})
    assert (status, "IPv6" in text) == (500, True)
    assert await served.keys() == {}


WORDS = st.sampled_from(["_", "blue", "config", "leases", "reservations", "10.5.1.0-24", "..", "%00", "", "v1", "%C3%A9"])
BODIES = st.binary(max_size=40) | st.sampled_from([b'{"PublicIP":"192.0.2.1"}', b"[" * 5000, b"null", b"{}"])


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    st.lists(WORDS | st.text(max_size=5), max_size=5),
    st.text(max_size=10),
    BODIES,
    st.text(max_size=70),
)
def test_any_request_gets_an_answer(method: str, words: list[str], query: str, body: bytes, node: str) -> None:
    async def once() -> None:
        served = Served()
        await served.root.write([Put(f"{PREFIX}config", CONFIG)])
        await served.start()
        found = await asyncio.wait_for(
            served.http.answer(Request(method, "/" + "/".join(words), body, query, {"wefted-node": node})), DEADLINE
        )
        assert found.status in (200, 400, 404, 405, 409, 413, 500)
        assert b"a defect" not in found.body
        await served.stop()
        await served.root.close()

    asyncio.run(once())


# -- our client ---------------------------------------------------------------------------------------------------------


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
        me = node(self.number, self.address)
        address = self.address or f"192.0.2.{self.number}"
        self.keeper = Keeper(self.store, "flannel", me, IPv4Address(address), random=Random(self.number))

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
    with pytest.raises(UsageError, match="flannel server|no name of a network"):
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
