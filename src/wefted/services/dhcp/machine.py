"""The client's state machine (RFC 2131, figure 5): from messages and the clock to actions. Pure.

    SELECTING -> REQUESTING -> PROBING -> BOUND -> RENEWING -> REBINDING -> SELECTING
    REBOOTING (the address of before, after a restart) -> BOUND, or SELECTING when the server says no
    INIT: a pause before SELECTING

Times are seconds of any clock that runs on; durations are those of the lease. `deadline` says when `tick` is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from math import inf
from random import Random

from wefted.model.dhcp import FOREVER, DhcpLease

from . import message as m
from .frame import Arp
from .lease import lease_of
from .message import Kind, Message

BACKOFF = (4.0, 8.0, 16.0, 32.0, 64.0)
"""Seconds between retransmissions, each give or take one (RFC 2131, section 4.1)."""
REQUESTS = 3
"""Unanswered requests for an offer until another one is looked for."""
REBOOT_REQUESTS = 2
SLOWEST = 60.0
"""Seconds between two tries to extend a lease, at least (RFC 2131, section 4.4.5)."""
PROBES, PROBE_GAP = 3, 0.15
"""Whether anybody has the address is asked quickly: the 4 to 7 seconds of RFC 5227 are longer than a container may start."""
AFTER_DECLINE = 10.0
"""Seconds (RFC 2131, section 3.1)."""
AFTER_REFUSAL = 1.0
"""Seconds until one starts again after a server refused its own offer, so that a wrong setting is no flood."""
LARGEST = 1472
"""Bytes of a message that fit into a packet of Ethernet."""
PARAMETERS = (m.MASK, m.CLASSLESS_ROUTES, m.ROUTER, m.DNS, m.DOMAIN, m.MTU, m.LEASE_TIME, m.RENEWAL, m.REBINDING)
"""What is asked for; classless routes stand before routers (RFC 3442)."""


class State(Enum):
    INIT = "waiting"
    SELECTING = "no server has made an offer"
    REQUESTING = "the server that made an offer does not confirm it"
    PROBING = "the address is being checked"
    BOUND = "bound"
    RENEWING = "the server does not answer"
    REBINDING = "no server answers"
    REBOOTING = "no server confirms the address of before"


QUIET = frozenset({State.INIT, State.BOUND})
"""The states in which nobody is listened to."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message: to all servers, or to the lease's own by the ordinary way of packets."""

    message: Message
    unicast: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask by ARP who has the address; `announce` tells the neighbours that we have it."""

    address: IPv4Address
    announce: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """There is a lease, new or extended; its time began at `since`."""

    lease: DhcpLease
    since: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease may not be used any more."""

    reason: str


Action = Send | Ask | Bound | Lost


@dataclass(slots=True)
class Identity:
    """Who asks. `client` is option 61 (RFC 4361), stable for the endpoint; `broadcast` asks for answers to everybody."""

    client: bytes
    hostname: str = ""
    mac: bytes = bytes(6)
    broadcast: bool = False


@dataclass(slots=True)
class Machine:
    """One endpoint's client. `lease` is the one of before, if there is one."""

    identity: Identity
    random: Random
    lease: DhcpLease | None = None
    state: State = State.INIT
    deadline: float = inf
    trouble: str = ""
    """What a server last refused."""
    _since: float = 0.0
    _began: float = 0.0
    _sent: float = 0.0
    _tries: int = 0
    _xid: int = 0
    _requested: IPv4Address | None = None
    _offer: DhcpLease | None = None

    # -- what happens ------------------------------------------------------------------------------------------------

    def start(self, now: float, age: float = 0.0) -> list[Action]:
        """Begin; `age` is how long ago the lease of before was obtained."""
        if self.lease is None:
            return self._select(now)
        self._since = now - age
        if now >= self._end(self.lease.duration):
            return self._lose(now, "it ended while nobody renewed it")
        return self._enter(State.REBOOTING, now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due when the deadline has come."""
        if now < self.deadline:
            return []
        if self.state is State.INIT:
            return self._select(now)
        if self.state is State.PROBING:
            return self._probed(now)
        if self.state is State.BOUND:
            return self._enter(State.RENEWING, now)
        if self.state in (State.RENEWING, State.REBINDING):
            return self._extend(now)
        if self.state is State.REQUESTING and self._tries >= REQUESTS:
            return self._select(now)
        if self.state is State.REBOOTING and self._tries >= REBOOT_REQUESTS:
            return self._trust(now)
        return [self._again(now)]

    def received(self, message: Message, mac: str, now: float) -> list[Action]:
        """Take a server's message that came from `mac`; what is not for us, or not for now, changes nothing."""
        if not self._is_ours(message):
            return []
        if message.kind is Kind.OFFER and self.state is State.SELECTING:
            return self._offered(message, mac, now)
        if self.state not in (State.REQUESTING, State.REBOOTING, State.RENEWING, State.REBINDING):
            return []
        if message.kind is Kind.ACK:
            return self._confirmed(message, mac, now)
        return self._refused(message, now) if message.kind is Kind.NAK else []

    def heard(self, arp: Arp, now: float) -> list[Action]:
        """Take an ARP packet: somebody else who has, or is about to take, the address that is being checked."""
        if self.state is not State.PROBING or self._offer is None or arp.mac == self.identity.mac:
            return []
        address = self._offer.address.ip
        if arp.sender != address and not (arp.sender == m.NOBODY and arp.target == address):
            return []
        self.trouble = f"{address} was offered, but {arp.mac.hex(':')} has it"
        decline = self._message(Kind.DECLINE, now, {m.SERVER: self._offer.server.packed, m.REQUESTED: address.packed})
        self._requested = None
        self._pause(now, AFTER_DECLINE)
        return [Send(decline)]

    def release(self, now: float) -> Message | None:
        """Return the message that gives the lease back, or None without one. Nothing answers it."""
        if self.lease is None:
            return None
        self._xid = self.random.getrandbits(32)
        return self._message(Kind.RELEASE, now, {m.SERVER: self.lease.server.packed}, _v4(self.lease))

    # -- getting a lease ---------------------------------------------------------------------------------------------

    def _select(self, now: float) -> list[Action]:
        self._began = now
        return self._enter(State.SELECTING, now)

    def _offered(self, message: Message, mac: str, now: float) -> list[Action]:
        offer = lease_of(message, mac)
        if offer is None:
            return []
        self._offer = offer
        return self._enter(State.REQUESTING, now, self._xid)

    def _confirmed(self, message: Message, mac: str, now: float) -> list[Action]:
        lease = lease_of(message, mac)
        if lease is None:
            return []
        if self.state is not State.REQUESTING:
            return self._bind(lease)
        if self._offer is None or (lease.address.ip, lease.server) != (self._offer.address.ip, self._offer.server):
            return []
        self._offer = lease
        self.state, self._tries, self._since = State.PROBING, 0, self._sent
        return self._probed(now)

    def _probed(self, now: float) -> list[Action]:
        assert self._offer is not None, "nothing is checked without an offer"
        if self._tries >= PROBES:
            return [Ask(_v4(self._offer), announce=True), *self._bind(self._offer, self._since)]
        self._tries += 1
        self.deadline = now + PROBE_GAP
        return [Ask(_v4(self._offer))]

    def _bind(self, lease: DhcpLease, since: float | None = None) -> list[Action]:
        """Have a lease whose time began when it was asked for."""
        self._since = self._sent if since is None else since
        self.lease, self.state, self._offer, self.trouble = lease, State.BOUND, None, ""
        self.deadline = self._end(lease.renewal)
        return [Bound(lease, self._since)]

    def _refused(self, message: Message, now: float) -> list[Action]:
        text = message.text(m.TEXT)
        self.trouble = f"a server refuses the address{f': {text}' if text else ''}"
        if self.state is State.REQUESTING:
            self._requested = None
            self._pause(now, AFTER_REFUSAL)
            return []
        return self._lose(now, self.trouble, again=False)

    # -- keeping it --------------------------------------------------------------------------------------------------

    def _extend(self, now: float) -> list[Action]:
        assert self.lease is not None, "nothing is extended without a lease"
        if now >= self._end(self.lease.duration):
            return self._lose(now, "it has ended, and no server extends it")
        if self.state is State.RENEWING and now >= self._end(self.lease.rebinding):
            return self._enter(State.REBINDING, now)
        return [self._again(now)]

    def _trust(self, now: float) -> list[Action]:
        """Use the lease of before for as long as it lasts although nobody confirms it (RFC 2131, section 3.2)."""
        assert self.lease is not None, "nothing is trusted without a lease"
        self.state, self.deadline = State.BOUND, max(now, self._end(self.lease.renewal))
        return [Bound(self.lease, self._since)]

    def _lose(self, now: float, reason: str, *, again: bool = True) -> list[Action]:
        """Give the lease up, and look for another one: with `again`, best the same address."""
        assert self.lease is not None, "nothing is lost without a lease"
        self._requested = _v4(self.lease) if again else None
        self.lease = None
        return [Lost(reason), *self._select(now)]

    def _end(self, seconds: int) -> float:
        return inf if seconds == FOREVER else self._since + seconds

    # -- sending -----------------------------------------------------------------------------------------------------

    def _enter(self, state: State, now: float, xid: int | None = None) -> list[Action]:
        if state in (State.REBOOTING, State.RENEWING, State.REBINDING):
            self._began = now
        self.state, self._tries = state, 0
        self._xid = self.random.getrandbits(32) if xid is None else xid
        return [self._again(now)]

    def _again(self, now: float) -> Action:
        """Send what this state says, for the first time or again, and set the next deadline."""
        self._tries += 1
        self._sent = now
        self.deadline = now + self._patience(now)
        return Send(self._spoken(now), unicast=self.state is State.RENEWING)

    def _patience(self, now: float) -> float:
        if self.lease is not None and self.state in (State.RENEWING, State.REBINDING):
            renewing = self.state is State.RENEWING
            left = self._end(self.lease.rebinding if renewing else self.lease.duration) - now
            return max(0.0, min(left, max(SLOWEST, left / 2)))
        return BACKOFF[min(self._tries, len(BACKOFF)) - 1] + self.random.uniform(-1, 1)

    def _spoken(self, now: float) -> Message:
        """Return the message of this state (RFC 2131, table 5 and section 4.3.6)."""
        if self.state is State.SELECTING:
            wanted = {m.REQUESTED: self._requested.packed} if self._requested is not None else {}
            return self._message(Kind.DISCOVER, now, wanted)
        if self.state is State.REQUESTING and self._offer is not None:
            chosen = {m.SERVER: self._offer.server.packed, m.REQUESTED: self._offer.address.ip.packed}
            return self._message(Kind.REQUEST, now, chosen)
        assert self.lease is not None, "there is a lease to speak of"
        if self.state is State.REBOOTING:
            return self._message(Kind.REQUEST, now, {m.REQUESTED: self.lease.address.ip.packed})
        return self._message(Kind.REQUEST, now, {}, _v4(self.lease))

    def _message(self, kind: Kind, now: float, options: dict[int, bytes], ciaddr: IPv4Address = m.NOBODY) -> Message:
        """Return a message; DECLINE and RELEASE ask for no parameters and name no host."""
        who = self.identity
        options = {m.CLIENT: who.client, **options}
        if kind in (Kind.DISCOVER, Kind.REQUEST):
            options |= {m.LARGEST: LARGEST.to_bytes(2, "big"), m.PARAMETERS: bytes(PARAMETERS)}
            if who.hostname:
                options[m.HOSTNAME] = who.hostname.encode("ascii")
        return Message(
            kind=kind,
            xid=self._xid,
            secs=min(0xFFFF, max(0, int(now - self._began))) if kind in (Kind.DISCOVER, Kind.REQUEST) else 0,
            flags=m.BROADCAST if who.broadcast and ciaddr == m.NOBODY and kind is not Kind.DECLINE else 0,
            ciaddr=ciaddr,
            chaddr=who.mac,
            options=options,
        )

    def _is_ours(self, message: Message) -> bool:
        """Tell whether a message answers us; a server that repeats the client's identifier must have it right (RFC 6842)."""
        if message.op != m.REPLY or message.xid != self._xid or message.chaddr != self.identity.mac:
            return False
        return message.options.get(m.CLIENT, self.identity.client) == self.identity.client

    def _pause(self, now: float, seconds: float) -> None:
        self.state, self.deadline, self._offer = State.INIT, now + seconds, None


def _v4(lease: DhcpLease) -> IPv4Address:
    address = lease.address.ip
    assert isinstance(address, IPv4Address), "DHCPv4 gives IPv4 addresses"
    return address
