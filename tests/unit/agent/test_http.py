"""HTTP on the socket: whatever arrives, in whatever pieces, gets an answer or waits for the rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.agent.http import LARGEST_BODY, LARGEST_HEAD, Connection, Malformed, Request, Response, parse

POST = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


class Wire(asyncio.Transport):
    """The far side of a connection: what was written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def echo(request: Request) -> Response:
    await asyncio.sleep(0)
    return Response(200, f"{request.method} {request.path} ".encode() + request.body)


def refuse(status: int, reason: str) -> Response:
    return Response(status, reason.encode())


@pytest.fixture
def wire() -> Iterator[Wire]:
    return Wire()


def connect(wire: Wire) -> Connection:
    made = Connection(echo, refuse, set())
    made.connection_made(wire)
    return made


async def settle(connection: Connection) -> None:
    while connection._running:
        await asyncio.wait(connection._running)


@given(cuts=st.lists(st.integers(0, len(POST)), max_size=8))
async def test_a_request_may_come_in_pieces(cuts: list[int]) -> None:
    wire = Wire()
    connection = connect(wire)
    places = [0, *sorted(cuts), len(POST)]
    for start, end in itertools.pairwise(places):
        connection.data_received(POST[start:end])
    await settle(connection)
    assert wire.written.endswith(b"\r\n\r\nPOST /a abc")
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert not wire.closed


async def test_requests_in_one_piece_are_answered_in_order(wire: Wire) -> None:
    connection = connect(wire)
    connection.data_received(POST * 3 + b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n")
    await settle(connection)
    assert wire.written.count(b"POST /a abc") == 3
    assert wire.written.endswith(b"GET /last ")
    assert wire.closed


async def test_a_flood_is_not_read_while_a_request_runs(wire: Wire) -> None:
    connection = connect(wire)
    connection.data_received(POST)
    connection.data_received(b"x" * (LARGEST_HEAD + 1))
    assert wire.paused
    await settle(connection)
    assert not wire.paused
    assert wire.closed, "and then it is no request"


async def test_a_client_that_goes_away_does_not_stop_its_request(wire: Wire) -> None:
    connection = connect(wire)
    connection.data_received(POST)
    connection.connection_lost(None)
    await settle(connection)
    assert wire.written == b""


async def test_a_client_is_asked_for_a_body_that_it_announced(wire: Wire) -> None:
    connection = connect(wire)
    connection.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"x")
    await settle(connection)
    assert wire.written.endswith(b"POST / x")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: \xc2\xb2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (f"POST / HTTP/1.1\r\nContent-Length: {LARGEST_BODY + 1}\r\n\r\n".encode(), 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"x" * (LARGEST_HEAD + 1), 431),
    ],
)
async def test_what_is_malformed_is_answered_and_ended(wire: Wire, data: bytes, status: int) -> None:
    connect(wire).data_received(data)
    assert wire.written.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close\r\n" in wire.written
    assert wire.closed


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: POST[:30] + tail))
def test_nothing_breaks_the_parser(data: bytes) -> None:
    try:
        found = parse(data)
    except Malformed as error:
        found = None
        refused = error.status
    else:
        refused = 400
    assert 400 <= refused < 500
    assert found is None or 0 < found[1] <= len(data)


def test_the_query_and_the_fields_are_kept_beside_the_path() -> None:
    found = parse(b"GET /v1/_/leases?next=17&x HTTP/1.1\r\nWefted-Node: N1\r\nHost: h\r\n\r\n")
    assert found is not None
    request = found[0]
    assert (request.path, request.query, request.fields["wefted-node"]) == ("/v1/_/leases", "next=17&x", "N1")


@pytest.mark.parametrize("ending", ["the end of what it sends", "a broken connection"])
async def test_a_request_that_waits_ends_with_its_client(wire: Wire, ending: str) -> None:
    running: set[asyncio.Task[None]] = set()

    async def wait(_: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever happens")

    connection = Connection(wait, refuse, running, leaving=True)
    connection.connection_made(wire)
    connection.data_received(POST)
    (task,) = running
    if ending.startswith("the end"):
        assert not connection.eof_received(), "asyncio closes the connection then"
    connection.connection_lost(None)
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert not wire.written
