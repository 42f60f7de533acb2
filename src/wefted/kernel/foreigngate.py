"""What firewalld says of packets to the host itself, written once more as chains of our own table. Pure.

firewalld's forward chain accepts whatever was translated, and what a table beside it accepts or drops in another place, it
cannot know: so its decision has to be asked before the translation, at a point where it has no chain. Here its input chain is
copied, with all that it jumps to and the sets that these use (firewalld.conf(5), FirewallBackend=nftables; the chains are those
of firewall/core/nftables.py). Who would be let in is translated. Who would not, goes on untranslated, and meets firewalld's
own chain, which drops, refuses and logs as for every closed port.

A rule that cannot be copied never opens a port: one that accepts is left out; any other is taken for a refusal of all that the
known part of it means. While firewalld loads its rules it drops everything, and there is nothing to be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from typing import Any

from . import nftexpression
from .nftexpression import Unknown

FIREWALL = ("inet", "firewalld")
LOADING = ("inet", "firewalld_policy_drop")
"""A table that firewalld has while it loads its rules, and in panic mode; it drops all new connections."""
PREFIX = "gate_"
"""How our copies of its chains and sets begin."""

DECIDING = "inet firewalld filter_INPUT"
"""The base chain that decides."""

_EMPTY = frozenset({"counter", "log", "ct helper", "notrack", "audit"})
"""Statements that decide nothing."""
ADMITTED = f"{PREFIX}0"
"""The chain to which those go who are let in; the table's owner says where that leads."""
_ADMIT = f"goto {ADMITTED}"
_REFUSE = "accept"
"""It ends the evaluation of our table without a translation."""

_STRANGE = (LookupError, TypeError, ValueError, AttributeError, StopIteration)
"""What reading JSON of another shape ends in; `Unknown` is a `ValueError`."""

Listing = Sequence[Mapping[str, Any]]
_Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """The copy: what stands in our table besides its own text, and the rule that leads there; empty where nobody is asked."""

    chain: str = ""
    """The base chain that decides, as `inet firewalld filter_INPUT`."""
    text: str = ""
    """The chains and sets."""
    entry: str = ""
    unfollowed: tuple[str, ...] = ()
    """The rules that could not be copied: chain and handle, as `nft -a list` shows them."""

    @property
    def digest(self) -> str:
        """Return what tells one gate from another."""
        return blake2s(f"{self.entry}\n{self.text}".encode(), digest_size=6).hexdigest()


OPEN = Gate()
"""Nobody is asked."""
CLOSED = Gate(chain=DECIDING, entry=_REFUSE)
"""Nobody is let in."""


def copy(listing: Listing) -> Gate:
    """Return the gate that follows firewalld's table; while that is not whole, or cannot be understood, nobody is let in."""
    try:
        return _copied(listing)
    except _STRANGE as error:
        return replace(CLOSED, unfollowed=(f"all of it ({error!r})",))


def _copied(listing: Listing) -> Gate:
    base = next((c for c in _bodies(listing, "chain") if c.get("hook") == "input" and c.get("type") == "filter"), None)
    if base is None:
        return CLOSED
    copying = _Copying(listing)
    text = copying.table(base["name"])
    way = "jump" if base.get("policy", "accept") == "accept" else "goto"
    entry = f"{way} {copying.names[base['name']]}"
    return Gate(f"{FIREWALL[0]} {FIREWALL[1]} {base['name']}", text, entry, tuple(copying.unfollowed))


class _Copying:
    """The chains that were met so far, in the order in which they were."""

    def __init__(self, listing: Listing) -> None:
        self._rules: dict[str, list[_Rule]] = {}
        for rule in _bodies(listing, "rule"):
            self._rules.setdefault(rule["chain"], []).append(rule)
        self._sets = {body["name"]: lines for body in _bodies(listing, "set") if (lines := _set(body))}
        self._set_names: dict[str, str] = {name: f"{PREFIX}{number}" for number, name in enumerate(sorted(self._sets), 1)}
        self.names: dict[str, str] = {}
        self.unfollowed: list[str] = []

    def table(self, base: str) -> str:
        """Return the sets and chains that `base` leads to."""
        self._target(base)
        chains: dict[str, list[str]] = {}
        while len(chains) < len(self.names):
            name, copied = list(self.names.items())[len(chains)]
            chains[copied] = [line for rule in self._rules.get(name, ()) for line in self._rule(rule)]
        text = "\n".join(_block("chain", copied, lines) for copied, lines in _pruned(chains, self.names[base]).items())
        used = [(name, copied) for name, copied in self._set_names.items() if f"@{copied} " in text]
        return "\n".join([*(_block("set", copied, self._sets[name]) for name, copied in used), text])

    def _target(self, chain: str) -> str:
        return self.names.setdefault(chain, f"{PREFIX}{len(self.names) + 1}")

    def _rule(self, rule: _Rule) -> Iterator[str]:
        """Yield the copy of a rule, if it decides anything."""
        known: list[str] = []
        verdict = ""
        complete = True
        for statement in rule.get("expr", ()):
            kind, body = next(iter(statement.items()))
            try:
                verdict = self._verdict(kind, body) or verdict
                known += self._condition(kind, body)
            except _STRANGE:
                complete = False
        if not complete:
            self.unfollowed.append(f"{rule['chain']} handle {rule.get('handle', '?')}")
            verdict = "" if verdict == _ADMIT else _REFUSE
        if verdict:
            yield " ".join([*known, verdict])

    def _condition(self, kind: str, body: Any) -> Iterator[str]:
        if kind == "match":
            yield nftexpression.match(body, self._set_names)
        elif kind == "limit":
            yield nftexpression.limit(body)
        elif kind not in _EMPTY | _VERDICTS:
            raise Unknown(kind)

    def _verdict(self, kind: str, body: Any) -> str:
        if kind == "accept":
            return _ADMIT
        if kind in ("drop", "reject"):
            return _REFUSE
        if kind in ("jump", "goto"):
            return f"{kind} {self._target(body['target'])}"
        if kind == "vmap":
            return self._map(body)
        return kind if kind in ("return", "continue") else ""

    def _map(self, body: Mapping[str, Any]) -> str:
        """Return a verdict map; firewalld dispatches to zones by one since 2.0."""
        pairs = []
        for value, statement in body["data"]["set"]:
            kind, target = next(iter(statement.items()))
            verdict = self._verdict(kind, target)
            if not verdict:
                raise Unknown(kind)
            pairs.append(f"{nftexpression.key(body['key'], value)} : {verdict}")
        return f"{nftexpression.selector(body['key'])} vmap {{ {', '.join(pairs)} }}"


_VERDICTS = frozenset({"accept", "drop", "reject", "jump", "goto", "return", "continue", "vmap"})


def _pruned(chains: Mapping[str, Sequence[str]], base: str) -> Mapping[str, Sequence[str]]:
    """Leave out the chains in which nothing is decided, and the jumps there: most of firewalld's are such."""
    wanted = {base, *(word for lines in chains.values() for line in lines for word in line.replace(",", " ").split()[:-1])}
    wanted |= {line.split()[-1] for lines in chains.values() for line in lines if not _is_jump(line)}
    empty = {name for name, lines in chains.items() if not lines} - wanted
    if not empty:
        return chains
    left = {name: lines for name, lines in chains.items() if name not in empty}
    return _pruned({n: [x for x in lines if not (_is_jump(x) and x.split()[-1] in empty)] for n, lines in left.items()}, base)


def _is_jump(line: str) -> bool:
    return line.split()[-2:-1] == ["jump"]


def _bodies(listing: Listing, kind: str) -> Iterator[Mapping[str, Any]]:
    return (entry[kind] for entry in listing if kind in entry)


def _set(body: Mapping[str, Any]) -> list[str]:
    """Return what is in a set; nothing if packets fill it, its elements go by themselves, unheard, or it cannot be written."""
    if {"dynamic", "timeout"} & set(body.get("flags", ())):
        return []
    types = body["type"] if isinstance(body["type"], list) else [body["type"]]
    try:
        lines = [f"type {' . '.join(map(nftexpression.word, types))};"]
        elements = sorted(nftexpression.key(_selector(types), item) for item in body.get("elem", ()))
    except _STRANGE:
        return []
    if "interval" in body.get("flags", ()):
        lines.append("flags interval;")
    if elements:
        lines.append(f"elements = {{ {', '.join(elements)} }}")
    return lines


def _selector(types: Sequence[str]) -> Mapping[str, Any]:
    """Return a property whose values are written as those of this type."""
    return {"meta": {"key": "iifname"}} if "ifname" in types else {}


def _block(kind: str, name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{kind} {name} {{", *(f"    {line}" for line in lines), "}"])
