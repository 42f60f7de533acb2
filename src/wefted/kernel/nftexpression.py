"""Matches and limits of foreign rules, from libnftables-json(5) back to nft's language, nft(8). Pure.

Only what is known is written. Words and numbers are all that may stand in a rule besides the keywords here, so nothing that
another program has written can become anything but an operand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[A-Za-z0-9_.:/-]+")
_PROTOCOLS = ("ip", "ip6", "tcp", "udp", "udplite", "sctp", "dccp", "th", "ether", "icmp", "icmpv6")
_META = ("iifname", "iifkind", "iifgroup", "iif", "iiftype", "l4proto", "nfproto", "protocol", "mark", "pkttype", "length")
_CONNTRACK = ("state", "status", "mark", "direction", "zone")
_NAMES = ("iifname", "iifkind", "iif")
_BITS = ("state", "status", "flags")
"""Of these the plain form asks whether a bit is set, and only `==` whether it is the only one."""
_OPERATORS = ("==", "!=", "<", ">", "<=", ">=", "in")
_UNITS = ("second", "minute", "hour", "day", "week")


class Unknown(ValueError):
    """An expression that cannot be written again."""


def match(body: Mapping[str, Any], sets: Mapping[str, str]) -> str:
    """Return a comparison; `sets` are the new names of named sets. Raises `Unknown`."""
    operator, left = body["op"], body["left"]
    if operator not in _OPERATORS:
        raise Unknown(operator)
    right = _operand(body["right"], sets, quoted=_is_name(left))
    if operator == "in" or (operator == "==" and (right[0] in "{@" or not _has_bits(left))):
        operator = ""
    return " ".join(part for part in (selector(left), operator, right) if part)


def limit(body: Mapping[str, Any]) -> str:
    """Return a limit of packets. Raises `Unknown`."""
    if set(body) - {"rate", "burst", "per", "inv"} or body["per"] not in _UNITS:
        raise Unknown("limit")
    over = "over " if body.get("inv") else ""
    burst = f" burst {int(body['burst'])} packets" if body.get("burst") else ""
    return f"limit rate {over}{int(body['rate'])}/{body['per']}{burst}"


def selector(body: Any) -> str:
    """Return what is compared, or looked up: a field, a property, or several of them. Raises `Unknown`."""
    kind, value = _only(body)
    if kind not in _SELECTORS:
        raise Unknown(kind)
    return _SELECTORS[kind](value)


def key(left: Any, value: Any) -> str:
    """Return what `selector(left)` is compared with, in a map. Raises `Unknown`."""
    return _operand(value, {}, quoted=_is_name(left))


def word(text: Any) -> str:
    """Return a keyword, an address or a number as it is. Raises `Unknown` for anything else."""
    if isinstance(text, bool) or not isinstance(text, str | int) or not _WORD.fullmatch(str(text)):
        raise Unknown(str(text))
    return str(text)


def _concat(parts: Sequence[Any]) -> str:
    return " . ".join(map(selector, parts))


def _payload(body: Mapping[str, Any]) -> str:
    if set(body) != {"protocol", "field"} or body["protocol"] not in _PROTOCOLS:
        raise Unknown("payload")
    return f"{body['protocol']} {word(body['field'])}"


def _meta(body: Mapping[str, Any]) -> str:
    if body["key"] not in _META:
        raise Unknown(f"meta {body['key']}")
    return f"meta {body['key']}"


def _conntrack(body: Mapping[str, Any]) -> str:
    if set(body) != {"key"} or body["key"] not in _CONNTRACK:
        raise Unknown("ct")
    return f"ct {body['key']}"


def _fib(body: Mapping[str, Any]) -> str:
    flags = body["flags"]
    return f"fib {' . '.join(map(word, flags if isinstance(flags, list) else [flags]))} {word(body['result'])}"


_SELECTORS: Mapping[str, Callable[[Any], str]] = {
    "payload": _payload,
    "meta": _meta,
    "ct": _conntrack,
    "fib": _fib,
    "concat": _concat,
}


def _operand(value: Any, sets: Mapping[str, str], *, quoted: bool) -> str:
    if isinstance(value, bool):
        return "exists" if value else "missing"
    if isinstance(value, list):
        return ",".join(_operand(one, sets, quoted=quoted) for one in value)
    if isinstance(value, dict):
        return _composed(value, sets, quoted=quoted)
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in sets:
            raise Unknown(value)
        return "@" + sets[value[1:]]
    if quoted and isinstance(value, str) and _WORD.fullmatch(value.removesuffix("*")):
        return f'"{value}"'
    return word(value)


def _composed(value: Mapping[str, Any], sets: Mapping[str, str], *, quoted: bool) -> str:
    kind, body = _only(value)
    if kind == "set":
        return f"{{ {', '.join(_operand(one, sets, quoted=quoted) for one in body)} }}"
    if kind == "prefix":
        return f"{word(body['addr'])}/{int(body['len'])}"
    if kind == "range":
        return "-".join(map(word, body))
    if kind == "concat":
        return " . ".join(_operand(one, sets, quoted=quoted) for one in body)
    if kind == "elem" and set(body) <= {"val", "counter", "comment"}:
        return _operand(body["val"], sets, quoted=quoted)
    raise Unknown(kind)


def _only(body: Any) -> tuple[str, Any]:
    if not isinstance(body, dict) or len(body) != 1:
        raise Unknown(str(body))
    return next(iter(body.items()))


def _is_name(left: Any) -> bool:
    return isinstance(left, dict) and left.get("meta", {}).get("key") in _NAMES


def _has_bits(left: Any) -> bool:
    kind, body = _only(left)
    return kind in ("ct", "payload") and (body.get("key") or body.get("field")) in _BITS
