"""Which chains of other programs may drop what this host forwards: ufw's, firewalld's, Docker's, an administrator's.

A verdict to accept ends only the table in which it is given, a drop ends the packet: so a chain at the forward hook that drops
what none of its rules accepts has the last word over published ports too. Not so where it accepts whatever was translated, as
firewalld's does (firewalld.conf(5), StrictForwardPorts). Attributes: linux/netfilter/nf_tables.h. What the old iptables (not
iptables-nft) has loaded is no chain of nftables and is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct

from .marks import is_our_table
from .netlink import NetlinkSocket, Refused, as_int, as_text, attributes, text

SUBSYSTEM = 10 << 8
"""NFNL_SUBSYS_NFTABLES (linux/netfilter/nfnetlink.h), as the high byte of message types."""
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}

HEADER = Struct("=BBH")
HEADER_SIZE = 4
_IP = ("inet", "ip", "ip6")
_GETCHAIN, _GETRULE = 4, 7
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _FORWARD = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_IMMEDIATE_DATA, _DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE = 2, 1, 2, 1
_DROP, _ACCEPT = 0, 1
_CT_KEY, _CT_STATUS, _BITWISE_MASK, _DST_NAT = 2, 2, 4, 32
_ZONES = "INPUT_ZONES"
_TRANSPARENT = frozenset({"counter", "log"})
_ATTRIBUTE = Struct("=HH")

_Expression = tuple[str, bytes]
"""A step of a rule: its name and its attributes."""


def forward_filters(sock: NetlinkSocket) -> tuple[str, ...]:
    """Return them as `family table chain`; none where this kernel has no nftables. `sock` speaks NETLINK_NETFILTER."""
    try:
        return tuple(sorted(_filters(sock)))
    except Refused:
        return ()


def iptables_firewalld(sock: NetlinkSocket) -> str:
    """Return a name for firewalld if it works with iptables (firewalld.conf(5), FirewallBackend), else "".

    It is known by a chain, so it is seen where iptables stands for iptables-nft.
    """
    for body in sock.dump(SUBSYSTEM | _GETCHAIN, HEADER.pack(0, 0, 0)):
        chain = attributes(body, HEADER_SIZE)
        if (as_text(chain[_CHAIN_TABLE]), as_text(chain[_CHAIN_NAME])) == ("filter", _ZONES):
            return f"firewalld with its backend iptables ({FAMILIES.get(body[0], '')} filter {_ZONES})"
    return ""


def _filters(sock: NetlinkSocket) -> Iterator[str]:
    for body in sock.dump(SUBSYSTEM | _GETCHAIN, HEADER.pack(0, 0, 0)):
        chain = attributes(body, HEADER_SIZE)
        family, table, name = FAMILIES.get(body[0], ""), as_text(chain[_CHAIN_TABLE]), as_text(chain[_CHAIN_NAME])
        if family not in _IP or is_our_table(table) or not _is_forward_filter(chain):
            continue
        rules = list(_rules(sock, body[0], table, name))
        closed = _number(chain.get(_CHAIN_POLICY)) == _DROP or (rules and _closes(rules[-1]))
        if closed and not any(map(_accepts_translated, rules)):
            yield f"{family} {table} {name}"


def _is_forward_filter(chain: Mapping[int, bytes]) -> bool:
    hook = chain.get(_CHAIN_HOOK)
    if hook is None or as_text(chain.get(_CHAIN_TYPE)) != "filter":
        return False
    return _number(attributes(hook).get(_HOOK_NUMBER)) == _FORWARD


def _rules(sock: NetlinkSocket, family: int, table: str, name: str) -> Iterator[list[_Expression]]:
    """Yield the rules of a chain: of each its expressions, without those that let every packet pass."""
    place = text(_RULE_TABLE, table) + text(_RULE_CHAIN, name)
    for body in sock.dump(SUBSYSTEM | _GETRULE, HEADER.pack(family, 0, 0) + place):
        listed = attributes(body, HEADER_SIZE).get(_RULE_EXPRESSIONS, b"")
        found = [attributes(item) for item in _elements(listed)]
        named = [(as_text(e.get(_EXPRESSION_NAME)), e.get(_EXPRESSION_DATA, b"")) for e in found]
        yield [expression for expression in named if expression[0] not in _TRANSPARENT]


def _closes(rule: list[_Expression]) -> bool:
    """Tell whether a rule drops or rejects whatever comes, as the last one of firewalld's chains."""
    if len(rule) != 1:
        return False
    name, data = rule[0]
    return name == "reject" or (name == "immediate" and _verdict(data) == _DROP)


def _accepts_translated(rule: list[_Expression]) -> bool:
    """Tell whether a rule is `ct status dnat accept`."""
    if [name for name, _ in rule] != ["ct", "bitwise", "cmp", "immediate"]:
        return False
    status, mask, _, verdict = (data for _, data in rule)
    masked = attributes(attributes(mask).get(_BITWISE_MASK, b"")).get(_DATA_VALUE)
    of_status = _number(attributes(status).get(_CT_KEY)) == _CT_STATUS
    return of_status and as_int(masked) == _DST_NAT and _verdict(verdict) == _ACCEPT


def _verdict(immediate: bytes) -> int:
    verdict = attributes(attributes(immediate).get(_IMMEDIATE_DATA, b"")).get(_DATA_VERDICT, b"")
    return _number(attributes(verdict).get(_VERDICT_CODE))


def _number(data: bytes | None) -> int:
    """Return a number in network byte order; -1 where there is none."""
    return -1 if data is None else int.from_bytes(data, "big")


def _elements(data: bytes) -> Iterator[bytes]:
    """Yield the attributes of a list, which all have the same type."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length = max(_ATTRIBUTE.unpack_from(data, offset)[0], _ATTRIBUTE.size)
        yield data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
