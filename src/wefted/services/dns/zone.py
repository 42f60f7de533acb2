"""The zone: which names the endpoints have, and what they stand for. Pure, and kept up to date one endpoint at a time.

    NAME.NETWORK.DOMAIN            the addresses that NAME has in NETWORK
    NAME.DOMAIN                    its addresses in all networks
    _PORT._PROTOCOL.NAME...        SRV: that port, where it is published
    _PROTOCOL.NAME...              SRV: all published ports of that protocol
    4.3.2.1.in-addr.arpa           PTR: the NAME.NETWORK.DOMAIN of every endpoint with that address

NAME is a container's name (`c1` of `netns:c1`) or an alias of its endpoint. Several containers may share a name. What is no
host name, such as the path of `path:/proc/7/ns/net`, is no name here either. A container that is gone has no names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from wefted.model.network import Endpoint, PortMapping
from wefted.model.objects import IPAddress

K = TypeVar("K")

LONGEST = 253
"""Characters of a name without its last dot (RFC 1035, section 3.1)."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_SERVICE = re.compile(r"(?:_([0-9]{1,5})\.)?_(tcp|udp|sctp)\.(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint as the zone sees it; `names` are whole and in small letters, the one that PTR gives first."""

    names: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    ports: tuple[PortMapping, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A published port: the port that the container listens on, and the name of the container."""

    port: int
    target: str


class Zone:
    """Names by endpoint. `put` costs the same with any number of them."""

    def __init__(self, domain: str) -> None:
        self.domain = folded(domain)
        self.members: dict[str, Member] = {}
        self.changes = 0
        """How often it has changed: an answer of before the last change may be wrong."""
        self._named: dict[str, dict[str, Member]] = {}
        self._at: dict[IPAddress, dict[str, Member]] = {}
        self._branches: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._named)

    def put(self, key: str, endpoint: Endpoint | None) -> None:
        """Take what is known of an endpoint now; None: it is gone."""
        new = None if endpoint is None else member(endpoint, self.domain)
        old = self.members.get(key)
        if new == old:
            return
        self.changes += 1
        if old is not None:
            self._remove(key, old)
        if new is not None:
            self._add(key, new)

    def inside(self, name: str) -> bool:
        """Tell whether a name is the domain or below it: then nobody else knows better."""
        return name == self.domain or name.endswith(f".{self.domain}")

    def exists(self, name: str) -> bool:
        """Tell whether there is anything at a name, or below it (RFC 8020)."""
        return name == self.domain or name in self._named or name in self._branches or bool(self.services(name))

    def addresses(self, name: str) -> list[IPAddress]:
        """Return the addresses of a whole name, each once."""
        return list(dict.fromkeys(a for found in self._named.get(name, {}).values() for a in found.addresses))

    def services(self, name: str) -> list[Service]:
        """Return the published ports that a name of the form `[_PORT.]_PROTOCOL.NAME` asks for."""
        match = _SERVICE.fullmatch(name)
        if match is None:
            return []
        number, protocol, target = match.groups()
        members = self._named.get(target, {}).values()
        ports = {p.port for found in members for p in found.ports if p.protocol == protocol}
        return [Service(port, target) for port in sorted(ports) if number is None or number == str(port)]

    def names_of(self, address: IPAddress) -> list[str]:
        """Return the first name of every endpoint with this address."""
        return sorted({found.names[0] for found in self._at.get(address, {}).values()})

    def find(self, text: str) -> str:
        """Return the whole name that a person meant: as it is typed, or else below the domain."""
        name = folded(text)
        return name if self.inside(name) else f"{name}.{self.domain}"

    def _add(self, key: str, new: Member) -> None:
        self.members[key] = new
        for name in new.names:
            self._named.setdefault(name, {})[key] = new
            self._branches.update(self._above(name))
        for address in new.addresses:
            self._at.setdefault(address, {})[key] = new

    def _remove(self, key: str, old: Member) -> None:
        del self.members[key]
        for name in old.names:
            _take_out(self._named, name, key)
            for branch in self._above(name):
                self._branches[branch] -= 1
                if not self._branches[branch]:
                    del self._branches[branch]
        for address in old.addresses:
            _take_out(self._at, address, key)

    def _above(self, name: str) -> Iterator[str]:
        """Yield the names between a name and the domain."""
        name = name.partition(".")[2]
        while name and name != self.domain:
            yield name
            name = name.partition(".")[2]


def member(endpoint: Endpoint, domain: str) -> Member | None:
    """Return an endpoint's entry, or None for one that has no names now."""
    own = endpoint.container.partition(":")[2]
    names = tuple(dict.fromkeys(_whole((own, *endpoint.aliases), folded(endpoint.network), domain)))
    if not endpoint.attached or not endpoint.addresses or not names:
        return None
    return Member(names, tuple(i.ip for i in endpoint.addresses), endpoint.ports)


def folded(name: str) -> str:
    """Return a name as it is compared: small letters, no last dot (RFC 4343)."""
    return name.lower().removesuffix(".")


def valid(name: str) -> bool:
    """Tell whether a folded name can be asked for."""
    return len(name) <= LONGEST and all(_LABEL.fullmatch(label) for label in name.split("."))


def _whole(names: Iterable[str], network: str, domain: str) -> Iterator[str]:
    for zone in (f"{network}.{domain}", domain):
        yield from (whole for name in names if valid(whole := f"{folded(name)}.{zone}"))


def _take_out(index: dict[K, dict[str, Member]], name: K, key: str) -> None:
    holders = index[name]
    del holders[key]
    if not holders:
        del index[name]
