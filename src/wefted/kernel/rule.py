"""Policy routing rules (`struct fib_rule_hdr`, linux/fib_rules.h)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from struct import Struct

from wefted.model.objects import IPNetwork, KernelObject
from wefted.model.route import Rule

from .address import FAMILY
from .marks import PROTOCOL
from .netlink import CREATE, EXCL, Message, as_int, as_text, attribute, attributes, text, u8, u32
from .reading import Reading
from .transaction import GONE, Transaction

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

_DST, _SRC, _IIFNAME, _PRIORITY, _FWMARK, _TABLE, _PROTOCOL = 1, 2, 3, 6, 10, 15, 21
_TO_TABLE = 1
_TABLE_COMPAT = 252

_HEADER = Struct("=BBBBBBBBI")
_VERSION = {family: version for version, family in FAMILY.items()}


class RuleHandler:
    """Adds and removes rules."""

    def create(self, wanted: Rule, tx: Transaction) -> None:
        tx.queue(wanted.ns, Message(RTM_NEWRULE, CREATE | EXCL, _body(wanted)))

    def update(self, old: KernelObject, new: Rule, tx: Transaction) -> None:
        """Add the new rule, then remove the old one: between the two both are there."""
        self.create(new, tx)
        if isinstance(old, Rule):
            tx.queue(old.ns, Message(RTM_DELRULE, 0, _body(old)), forgive=GONE)

    def delete(self, old: Rule, tx: Transaction) -> None:
        tx.queue(old.ns, Message(RTM_DELRULE, 0, _body(old)))


def read_rules(reading: Reading) -> Iterator[Rule]:
    """Yield the rules with our mark, of both families."""
    for body in reading.socket.dump(RTM_GETRULE, _HEADER.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)):
        family, to_length, from_length, _, table, _, _, action, _ = _HEADER.unpack_from(body)
        found = attributes(body, _HEADER.size)
        if as_int(found.get(_PROTOCOL)) != PROTOCOL or family not in _VERSION or action != _TO_TABLE:
            continue
        yield Rule(
            ns=reading.ns,
            family=_VERSION[family],
            priority=as_int(found.get(_PRIORITY)),
            table=as_int(found.get(_TABLE), table),
            source=_network(found.get(_SRC), from_length),
            destination=_network(found.get(_DST), to_length),
            fwmark=as_int(found.get(_FWMARK)),
            iif=as_text(found.get(_IIFNAME)),
        )


def _network(packed: bytes | None, length: int) -> IPNetwork | None:
    return ip_network((packed, length)) if packed else None


def _body(rule: Rule) -> bytes:
    lengths = (rule.destination.prefixlen if rule.destination else 0, rule.source.prefixlen if rule.source else 0)
    table = rule.table if rule.table < 256 else _TABLE_COMPAT
    parts = [
        _HEADER.pack(FAMILY[rule.family], *lengths, 0, table, 0, 0, _TO_TABLE, 0),
        u32(_PRIORITY, rule.priority),
        u32(_TABLE, rule.table),
        u8(_PROTOCOL, PROTOCOL),
    ]
    if rule.source is not None and rule.source.prefixlen:
        parts.append(attribute(_SRC, rule.source.network_address.packed))
    if rule.destination is not None and rule.destination.prefixlen:
        parts.append(attribute(_DST, rule.destination.network_address.packed))
    if rule.fwmark:
        parts.append(u32(_FWMARK, rule.fwmark))
    if rule.iif:
        parts.append(text(_IIFNAME, rule.iif))
    return b"".join(parts)
