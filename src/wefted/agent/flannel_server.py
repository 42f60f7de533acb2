"""flannel's client/server mode, the server's side (flannel 0.5 to 0.10: `-listen`): its HTTP API over etcd.

    GET    /v1/                                     the networks that have a name; ?next=CURSOR waits for news
    GET    /v1/NETWORK/config                       `_` is the network without a name
    POST   /v1/NETWORK/leases                       LeaseAttrs -> Lease: the one that the host has, or a new one
    GET    /v1/NETWORK/leases                       all leases; ?next=CURSOR waits for news
    GET    /v1/NETWORK/leases/10.5.1.0-24           the same of one lease
    PUT    /v1/NETWORK/leases/10.5.1.0-24           Lease -> Lease, for another day
    DELETE /v1/NETWORK/leases/10.5.1.0-24
    GET POST /v1/NETWORK/reservations               DELETE .../reservations/10.5.1.0-24

As with flannel a request that cannot be read is answered with 400 and everything that fails with 500, in plain text. Only a
lease that somebody else has is 409: clients of flannel's make no difference, and ours must know. Nobody is asked who he is but
by TLS.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import parse_qs, unquote

from wefted.errors import Conflict, NotFound, UsageError, WeftedError
from wefted.model import flannel_lease
from wefted.model import flannel_wire as wire
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_wire import Lent
from wefted.store.flannel_server_url import valid_network

from .flannel_networks import LentNetwork, LentNetworks
from .http import Connection, Request, Response

log = logging.getLogger("wefted.flannel")

LARGEST = 64 * 1024
"""Bytes of a body: a lease is a few hundred."""
_LONGEST_NODE = 64


class Wrong(Exception):
    """What was asked cannot be read (400), or is nowhere here (404, 405)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FlannelServer:
    """Answers requests with the networks of one prefix."""

    def __init__(self, networks: LentNetworks) -> None:
        self._networks = networks
        self.running: set[asyncio.Task[None]] = set()

    def connection(self) -> Connection:
        """Return a protocol for a new client; a client that goes waits for nothing any more."""
        return Connection(self.answer, _text, self.running, leaving=True)

    async def answer(self, request: Request) -> Response:
        """Turn a request into an answer, and errors too; what nobody foresaw is logged with a number that the answer names."""
        try:
            return await self._perform(request)
        except Wrong as error:
            return _text(error.status, str(error))
        except Conflict as error:
            return _text(409, error.message)
        except WeftedError as error:
            return _text(500, error.message)
        except Exception:
            number = uuid.uuid4().hex[:8]
            log.exception("defect", extra={"request": f"{request.method} {request.path[:200]}", "number": number})
            return _text(500, f"a defect in wefted, number {number}")

    async def _perform(self, request: Request) -> Response:
        if len(request.body) > LARGEST:
            raise Wrong(413, f"a body of more than {LARGEST} bytes")
        words = [unquote(word) for word in request.path.strip("/").split("/")]
        match words:
            case ["v1"]:
                methods: dict[str, Callable[[], Awaitable[Response]]] = {"GET": lambda: self._list(request)}
            case ["v1", name, ("config" | "leases" | "reservations") as kind] if valid_network(name):
                methods = self._of_all(request, name, kind)
            case ["v1", name, ("leases" | "reservations") as kind, key] if valid_network(name):
                methods = self._of_one(request, name, kind, _subnet(key))
            case _:
                raise Wrong(404, "404 page not found")
        if request.method not in methods:
            raise Wrong(405, f"{request.method} is not for {request.path[:200]}")
        return await methods[request.method]()

    def _of_all(self, request: Request, name: str, kind: str) -> dict[str, Callable[[], Awaitable[Response]]]:
        match kind:
            case "config":
                return {"GET": lambda: self._config(name)}
            case "leases":
                return {"GET": lambda: self._watch(request, name, None), "POST": lambda: self._acquire(request, name)}
            case _:
                return {"GET": lambda: self._reservations(name), "POST": lambda: self._reserve(request, name)}

    def _of_one(
        self, request: Request, name: str, kind: str, subnet: IPv4Network
    ) -> dict[str, Callable[[], Awaitable[Response]]]:
        if kind == "reservations":
            return {"DELETE": lambda: self._unreserve(name, subnet)}
        return {
            "GET": lambda: self._watch(request, name, subnet),
            "PUT": lambda: self._renew(request, name, subnet),
            "DELETE": lambda: self._revoke(request, name, subnet),
        }

    # -- leases -------------------------------------------------------------------------------------------------------

    async def _config(self, name: str) -> Response:
        return _json(wire.config(await (await self._networks.network(name)).lending.config()))

    async def _acquire(self, request: Request, name: str) -> Response:
        wish = _read(lambda: wire.read_attrs(wire.parse(request.body)))
        network = await self._networks.network(name)
        return await _lent(network, await network.lending.acquire(wish, _node(request)))

    async def _renew(self, request: Request, name: str, subnet: IPv4Network) -> Response:
        lent = _read(lambda: wire.read_lease(wire.parse(request.body)))
        if lent.lease.subnet != subnet:
            raise Wrong(400, f"the lease of {lent.lease.subnet} is not that of {subnet}")
        network = await self._networks.network(name)
        return await _lent(network, await network.lending.renew(lent.lease, _node(request)))

    async def _revoke(self, request: Request, name: str, subnet: IPv4Network) -> Response:
        await (await self._networks.network(name)).lending.revoke(subnet, _node(request))
        return _text(200, "")

    # -- reservations -------------------------------------------------------------------------------------------------

    async def _reservations(self, name: str) -> Response:
        found = await (await self._networks.network(name)).lending.reservations()
        return _json([{"Subnet": str(lease.subnet), "PublicIP": str(lease.public)} for lease in found])

    async def _reserve(self, request: Request, name: str) -> Response:
        subnet, public = _read(lambda: wire.read_reservation(wire.parse(request.body)))
        await (await self._networks.network(name)).lending.reserve(subnet, public)
        return _text(200, "")

    async def _unreserve(self, name: str, subnet: IPv4Network) -> Response:
        await (await self._networks.network(name)).lending.unreserve(subnet)
        return _text(200, "")

    # -- news ---------------------------------------------------------------------------------------------------------

    async def _watch(self, request: Request, name: str, subnet: IPv4Network | None) -> Response:
        cursor = _cursor(request)
        network = await self._networks.network(name)
        await self._networks.known(network.news)
        key = network.key(_key(subnet)) if subnet is not None else ""
        now, events = await network.news.after(cursor, key)
        if events is not None:
            told = [wire.event(_named(network, k), lent) for k, lent in events]
            return _json(wire.result(now, told, None))
        there = [lent for k, lent in network.news.now.items() if not key or k == key]
        if subnet is None or there:
            return _json(wire.result(now, None, [wire.lease(lent) for lent in there]))
        if cursor is None:
            raise NotFound(f"{subnet} is nobody's lease")
        return _json(wire.result(now, [wire.event(subnet, None)], None))

    async def _list(self, request: Request) -> Response:
        cursor = _cursor(request)
        self._networks.follow_names()
        await self._networks.known(self._networks.news)
        now, events = await self._networks.news.after(cursor)
        if events is None:
            return _json(wire.result(now, None, sorted(self._networks.news.now)))
        return _json(wire.result(now, [wire.network_event(name, there is not None) for name, there in events], None))


async def _lent(network: LentNetwork, lease: FlannelLease) -> Response:
    """Return a lease with its end as etcd has it."""
    return _json(wire.lease(Lent(lease, await network.ends(_key(lease.subnet)))))


def _named(network: LentNetwork, key: str) -> IPv4Network:
    named = flannel_lease.subnets_of(key.removeprefix(network.key("")))
    assert named is not None
    return named[0]


def _key(subnet: IPv4Network | None) -> str:
    assert subnet is not None
    return f"{subnet.network_address}-{subnet.prefixlen}"


def _subnet(key: str) -> IPv4Network:
    found = flannel_lease.subnets_of(key)
    if found is None or found[1] is not None:
        raise Wrong(400, "failed to parse subnet")
    return found[0]


def _cursor(request: Request) -> int | None:
    """Return the cursor that a client comes with; one that is no number of ours is like an old one."""
    found: Sequence[str] = parse_qs(request.query, keep_blank_values=True, max_num_fields=20).get("next", ())
    if not found:
        return None
    if not (found[0].isascii() and found[0].isdigit()):
        raise Wrong(400, f"failed to parse cursor: {found[0][:80]!r}")
    return int(found[0][:30])


def _node(request: Request) -> str:
    found = request.fields.get(wire.NODE_HEADER, "")
    if len(found) > _LONGEST_NODE or not all(c.isalnum() or c in "-_." for c in found):
        raise Wrong(400, f"{wire.NODE_HEADER} is no name of a node")
    return found


def _read(reading: Callable[[], Any]) -> Any:
    try:
        return reading()
    except UsageError as error:
        raise Wrong(400, error.message) from None


def _json(value: Any) -> Response:
    """Go's encoder ends what it writes with a line feed."""
    return Response(200, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")
