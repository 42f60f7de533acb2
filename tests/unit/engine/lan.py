"""A LAN in memory with a DHCP server, which stands behind `Host.open_link`, and a host in it with the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

from wefted.errors import KernelError
from wefted.model.network import Endpoint
from wefted.model.objects import IPAddress, Netns
from wefted.model.route import Address, Route
from wefted.services.dhcp import frame
from wefted.services.dhcp import message as m
from wefted.services.dhcp.message import Kind, Message, decode, encode

from .cluster import Member, members

SERVER = ip_address("192.168.1.1")
SERVER_MAC = bytes.fromhex("020000000099")
ATTACHED = [Kind.DISCOVER, Kind.REQUEST]
"""What an attach says."""
_PAYLOAD = 42


class Lan:
    """Its server answers at once, from what tests may change at any time."""

    def __init__(self) -> None:
        self.silent = False
        self.refuse = False
        """Answer every request with NAK."""
        self.conflict: IPv4Address | None = None
        """An address that somebody has already."""
        self.duration, self.renewal, self.rebinding = 3600, 1000, 3000
        self.options: dict[int, bytes] = {m.ROUTER: SERVER.packed}
        self.heard: list[Message] = []
        self.gone: set[Netns] = set()
        """Namespaces in which no link can be opened."""
        self.leases: dict[bytes, IPv4Address] = {}
        """Client identifier -> address."""
        self._next = 10

    def open(self, ns: Netns, name: str, source: IPAddress | None) -> Link:
        if ns in self.gone:
            raise KernelError(f"network namespace {ns} is gone")
        return Link(self)

    def kinds(self) -> list[Kind]:
        return [message.kind for message in self.heard]

    def renumber(self) -> None:
        """Forget every lease; from now on other addresses are given."""
        self.leases.clear()
        self._next += 100

    def answer(self, message: Message) -> Message | None:
        self.heard.append(message)
        client = message.options[m.CLIENT]
        if message.kind is Kind.RELEASE:
            self.leases.pop(client, None)
            return None
        if message.kind is Kind.DECLINE:
            self.renumber()
            return None
        if self.silent:
            return None
        wanted = message.address(m.REQUESTED) or message.ciaddr
        if message.kind is Kind.REQUEST and (self.refuse or wanted != self.leases.get(client)):
            return replace(message, kind=Kind.NAK, op=m.REPLY, options={m.SERVER: SERVER.packed})
        return self._given(message, client)

    def _given(self, message: Message, client: bytes) -> Message:
        if client not in self.leases:
            self.leases[client] = IPv4Address(f"192.168.1.{self._next}")
            self._next += 1
        times = {m.LEASE_TIME: self.duration, m.RENEWAL: self.renewal, m.REBINDING: self.rebinding}
        options = {m.SERVER: SERVER.packed, m.MASK: ip_address("255.255.255.0").packed, **self.options}
        options |= {code: number.to_bytes(4, "big") for code, number in times.items()}
        kind = Kind.OFFER if message.kind is Kind.DISCOVER else Kind.ACK
        return replace(message, kind=kind, op=m.REPLY, yiaddr=self.leases[client], options=options)


class Link:
    """Implements `FrameLink` on a pair of sockets: what the server says waits in them."""

    mac = "02:00:00:00:00:01"

    def __init__(self, lan: Lan) -> None:
        self._lan = lan
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)

    def fileno(self) -> int:
        return self._ours.fileno()

    def send(self, data: bytes) -> None:
        if data[12:14] == b"\x08\x06":
            self._asked(data)
        else:
            self._spoken(data[_PAYLOAD:])

    def datagram(self, payload: bytes, target: IPAddress) -> None:
        assert target == SERVER
        self._spoken(payload)

    def receive(self) -> tuple[bytes, bool] | None:
        with contextlib.suppress(BlockingIOError):
            return self._ours.recv(2048), True
        return None

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def _asked(self, data: bytes) -> None:
        """Answer an ARP request for the address that somebody has."""
        target = data[38:42]
        if self._lan.conflict is not None and target == self._lan.conflict.packed:
            head = data[6:12] + SERVER_MAC + b"\x08\x06" + data[14:20] + b"\x00\x02"
            self._theirs.send(head + SERVER_MAC + target + data[22:28] + bytes(4))

    def _spoken(self, payload: bytes) -> None:
        answer = self._lan.answer(decode(payload))
        if answer is not None:
            self._theirs.send(_frame(encode(answer)))


def _frame(payload: bytes) -> bytes:
    sent = frame.datagram(payload, SERVER_MAC)
    return sent[:34] + sent[36:38] + sent[34:36] + sent[38:]  # from the server's port to the client's


# -- a host in it ----------------------------------------------------------------------------------------------------------


async def one(lan: Lan, timeout: float = 5.0) -> Member:
    (member,) = await members(1)
    plug(member, lan, timeout)
    await member.call("network.create", name="lan", driver="macvlan", options={"parent": "eth0", "ipam": "dhcp"})
    return member


def plug(member: Member, lan: Lan, timeout: float = 5.0) -> None:
    member.engine.host.open_link = lan.open
    member.engine.host.dhcp_timeout = timeout


@asynccontextmanager
async def agent(member: Member) -> AsyncIterator[None]:
    """Let the leases be kept, as an agent does."""
    member.engine.host.live = True
    task = asyncio.create_task(member.engine.endpoints.leases.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


async def connect(member: Member, name: str = "c1", **parameters: Any) -> dict[str, Any]:
    (row,) = await member.call("network.connect", network="lan", containers=[f"netns:{name}"], **parameters)
    return row


def endpoint(member: Member) -> Endpoint:
    (found,) = member.engine.host.endpoints.values()
    return found


def inside(member: Member, name: str = "c1") -> list[str]:
    """Return the addresses and routes that the kernel holds in a container."""
    found = member.state().get(Netns(f"/run/fake/netns/{name}"), {}).values()
    lines = [str(o.address) for o in found if isinstance(o, Address)]
    return sorted([*lines, *(f"{o.destination} {o.via}" for o in found if isinstance(o, Route))])
