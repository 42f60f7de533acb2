"""What firewalld says, copied: from listings of the real one, and rule by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wefted.kernel.event import TableFilter
from wefted.kernel.foreignfilter import HEADER, SUBSYSTEM
from wefted.kernel.foreigngate import CLOSED, OPEN, Gate, copy
from wefted.kernel.netlink import text
from wefted.kernel.nft import NFT_MSG_NEWGEN, NFTA_TABLE_NAME
from wefted.kernel.nftscript import read_table, script, seal
from wefted.model.firewall import NftTable
from wefted.model.objects import Change

LISTINGS = Path(__file__).parent / "firewalld"
GATED = NftTable(body="chain gate { goto inside; }\nchain inside { }", gate="gate", admitted="inside")


def captured(name: str) -> list[dict[str, Any]]:
    """Return what `nft -j list table inet firewalld` said, firewalld 1.3.3 with nftables 1.0.6."""
    found: list[dict[str, Any]] = json.loads((LISTINGS / f"{name}.json").read_text())["nftables"]
    return found


def chain(name: str, **more: Any) -> dict[str, Any]:
    return {"chain": {"family": "inet", "table": "firewalld", "name": name, **more}}


def rule(where: str, *statements: Mapping[str, Any], handle: int = 7) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "firewalld", "chain": where, "handle": handle, "expr": list(statements)}}


def table(*entries: dict[str, Any], policy: str = "accept") -> list[dict[str, Any]]:
    return [chain("filter_INPUT", type="filter", hook="input", prio=10, policy=policy), *entries]


def match(left: Mapping[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


PORT = match(payload("tcp", "dport"), 8080)
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}


def lines(*statements: Mapping[str, Any], sets: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Return the copy of one rule of the base chain."""
    gate = copy(table(*sets, rule("filter_INPUT", *statements)))
    chains = gate.text[gate.text.index("chain gate_1 {") :].splitlines()
    return [line.strip() for line in chains[1 : chains.index("}")]]


def test_firewalld_as_it_is_delivered() -> None:
    gate = copy(captured("plain"))
    assert (gate.chain, gate.entry, gate.unfollowed) == ("inet firewalld filter_INPUT", "jump gate_1", ())
    assert gate.text.splitlines() == [
        "chain gate_1 {",
        "    ct state { established, related } goto gate_0",
        "    ct status dnat goto gate_0",
        '    meta iifname "lo" goto gate_0',
        "    ct state invalid accept",
        "    jump gate_2",
        "    accept",
        "}",
        "chain gate_2 {",
        '    meta iifname "eth0" goto gate_3',
        "    goto gate_3",
        "}",
        "chain gate_3 {",
        "    jump gate_4",
        "    jump gate_8",
        "    meta l4proto { 1, 58 } goto gate_0",
        "    accept",
        "}",
        "chain gate_4 {",
        "    jump gate_11",
        "}",
        "chain gate_8 {",
        "    tcp dport 22 goto gate_0",
        "    ip6 daddr fe80::/64 udp dport 546 goto gate_0",
        "}",
        "chain gate_11 {",
        "    jump gate_15",
        "}",
        "chain gate_15 {",
        "    icmpv6 type nd-neighbor-advert goto gate_0",
        "    icmpv6 type nd-neighbor-solicit goto gate_0",
        "    icmpv6 type nd-router-advert goto gate_0",
        "    icmpv6 type nd-redirect goto gate_0",
        "}",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "tcp dport 8080 goto gate_0",
        "udp dport 9000-9010 goto gate_0",
        "ip saddr 192.0.2.0/24 goto gate_",
        "ip6 saddr 2001:db8::/32 goto gate_",
        "ether saddr 52:54:00:11:22:33 goto gate_",
        'meta iifname "wl*" goto gate_',
        "ip saddr 192.168.50.2 tcp dport 8081 goto gate_0",
        "ip saddr != 192.168.50.0/24 tcp dport 8082 limit rate 20/minute burst 5 packets goto gate_0",
        "ip daddr 192.168.50.1 tcp dport 8083 accept",
        "ip6 saddr fd00::/8 tcp dport 80 accept",
        "udp sport 1024-2000 goto gate_0",
        "meta l4proto 47 goto gate_0",
    ],
)
def test_everything_that_firewall_cmd_can_say_is_copied(line: str) -> None:
    gate = copy(captured("rich"))
    assert gate.unfollowed == ()
    assert any(have.strip().startswith(line) for have in gate.text.splitlines())
    assert "log" not in gate.text
    assert "helper" not in gate.text


def test_the_sets_in_use_are_copied_with_their_elements() -> None:
    gate = copy(captured("ipsets"))
    assert (
        "set gate_1 {\n    type ipv4_addr;\n    flags interval;\n    elements = { 198.51.100.0/24, 203.0.113.7 }\n}"
        in gate.text
    )
    assert "ether saddr @gate_2 tcp dport 8087 goto gate_0" in gate.text
    assert "ip saddr . meta l4proto . th sport @gate_3 goto gate_0" in gate.text
    assert "elements = { 10.0.0.1 . 6 . 8086 }" in gate.text
    assert gate.unfollowed == ()


def test_the_same_listing_gives_the_same_gate_whatever_its_handles_and_its_order() -> None:
    listing = captured("ipsets")
    other = json.loads(json.dumps(listing))
    for entry in other:
        (body,) = entry.values()
        body["handle"] = 999
        body.get("elem", []).reverse()
    assert copy(other).digest == copy(listing).digest
    assert copy(captured("plain")).digest != copy(listing).digest


def test_with_half_of_firewalld_or_with_what_nobody_understands_nobody_is_let_in() -> None:
    assert copy([]) == CLOSED
    strange = copy([*table(), {"rule": {"no": "chain"}}])
    assert (strange.entry, strange.unfollowed) == (CLOSED.entry, ("all of it (KeyError('chain'))",))
    assert copy([chain("nat_PREROUTING", type="nat", hook="prerouting", prio=-90)]) == CLOSED


def test_a_base_chain_that_drops_by_its_policy_lets_nobody_in_by_its_end() -> None:
    assert copy(table()).entry == "jump gate_1"
    assert copy(table(policy="drop")).entry == "goto gate_1"


UNKNOWN = match({"meta": {"key": "skuid"}}, 0)


@pytest.mark.parametrize(
    ("statements", "written"),
    [
        ((PORT, ACCEPT), ["tcp dport 8080 goto gate_0"]),
        ((PORT, DROP), ["tcp dport 8080 accept"]),
        ((PORT, {"reject": {"type": "tcp reset"}}), ["tcp dport 8080 accept"]),
        ((PORT, {"return": None}), ["tcp dport 8080 return"]),
        ((PORT, {"counter": None}, {"log": {"prefix": "x"}}), []),
        ((PORT, {"ct helper": "helper-ftp-tcp"}), []),
        ((PORT, UNKNOWN, ACCEPT), []),
        ((PORT, UNKNOWN, DROP), ["tcp dport 8080 accept"]),
        ((PORT, UNKNOWN, {"jump": {"target": "more"}}), ["tcp dport 8080 accept"]),
        ((PORT, {"queue": {"num": 1}}), ["tcp dport 8080 accept"]),
        ((PORT, {"xt": None}), ["tcp dport 8080 accept"]),
        ((match({"ct": {"key": "state"}}, "new", "in"), ACCEPT), ["ct state new goto gate_0"]),
        ((match({"ct": {"key": "state"}}, "new"), ACCEPT), ["ct state == new goto gate_0"]),
        ((match({"ct": {"key": "state"}}, ["new", "related"], "in"), ACCEPT), ["ct state new,related goto gate_0"]),
        ((match({"meta": {"key": "iifname"}}, "map"), ACCEPT), ['meta iifname "map" goto gate_0']),
        ((match({"meta": {"key": "mark"}}, 7, "!="), ACCEPT), ["meta mark != 7 goto gate_0"]),
        (
            (match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), DROP),
            ["fib saddr . iif oif missing accept"],
        ),
        (
            (match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, {"set": [{"concat": ["::1", 80]}]}), ACCEPT),
            ["ip saddr . tcp dport { ::1 . 80 } goto gate_0"],
        ),
        (
            ({"limit": {"rate": 9, "per": "hour", "inv": True}}, DROP),
            ["limit rate over 9/hour accept"],
        ),
        (
            ({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["eth0", ACCEPT], ["eth1", DROP]]}}},),
            ['meta iifname vmap { "eth0" : goto gate_0, "eth1" : accept }'],
        ),
        (({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}},), ["accept"]),
    ],
)  # fmt: skip
def test_a_rule(statements: Sequence[Mapping[str, Any]], written: list[str]) -> None:
    assert lines(*statements) == written


@pytest.mark.parametrize(
    "body",
    [{"type": {"typeof": "x"}}, {"type": "a b"}, {"type": "ipv4_addr", "elem": [{"elem": {"val": "::1", "expires": 9}}]}],
)
def test_a_set_that_cannot_be_written_lets_nobody_in(body: dict[str, Any]) -> None:
    asked = match(payload("ip", "saddr"), "@known")
    assert lines(asked, ACCEPT, sets=[{"set": {"name": "known", **body}}]) == []
    assert lines(asked, DROP, sets=[{"set": {"name": "known", **body}}]) == ["accept"]


@pytest.mark.parametrize("text", ['x" }; delete table inet wefted; #', "8080 accept", "{", "a\nb", ""])
def test_no_word_of_another_program_becomes_a_command(text: str) -> None:
    for left in ({"meta": {"key": "iifname"}}, payload("tcp", "dport")):
        gate = copy(table(rule("filter_INPUT", match(left, text), ACCEPT, handle=31)))
        assert gate.unfollowed == ("filter_INPUT handle 31",)
        assert "goto" not in gate.text


@pytest.mark.parametrize("flags", [["timeout"], ["dynamic"]])
def test_a_set_that_changes_unheard_lets_nobody_in(flags: list[str]) -> None:
    known = {"set": {"name": "known", "type": "ipv4_addr", "elem": ["192.0.2.1"]}}
    asked = match(payload("ip", "saddr"), "@known")
    assert lines(asked, ACCEPT, sets=[known]) == ["ip saddr @gate_1 goto gate_0"]
    assert lines(asked, ACCEPT, sets=[{"set": {**known["set"], "flags": flags}}]) == []
    assert lines(asked, DROP, sets=[{"set": {**known["set"], "flags": flags}}]) == ["accept"]


def test_a_table_gets_its_gate_in_the_same_transaction() -> None:
    gate = Gate("inet firewalld filter_INPUT", "chain gate_1 {\n}", "jump gate_1")
    written = script([Change(None, GATED)], gate)
    assert "chain gate_0 {\n    goto inside\n}\nchain gate_1 {\n}" in written
    assert written.endswith("insert rule inet wefted gate jump gate_1\n")
    assert "gate_" not in script([Change(None, GATED)])
    assert "gate_" not in script([Change(None, NftTable(body="chain a { }"))], gate)


def test_a_table_is_intact_only_with_the_gate_of_this_moment() -> None:
    gate = copy(captured("plain"))
    listing = [{"table": {"family": "inet", "name": "wefted"}}, {"chain": {"name": "gate"}}]
    listing += [{"set": {"name": "gate_1", "type": "ipv4_addr", "elem": ["192.0.2.1"]}}]
    sealed = [*listing, {"chain": {"name": seal(GATED, listing, gate).split()[-1]}}]
    (found,) = read_table(("inet", "wefted"), sealed, gate)
    assert GATED.satisfied_by(found), "and what the gate's sets hold is nobody's plan"
    (found,) = read_table(("inet", "wefted"), sealed, None)
    assert GATED.satisfied_by(found), "while firewalld loads, the gate stays as it is"
    (found,) = read_table(("inet", "wefted"), sealed, OPEN)
    assert not GATED.satisfied_by(found)
    listing[2]["set"]["elem"] = ["192.0.2.2"]
    (found,) = read_table(("inet", "wefted"), [*listing, sealed[-1]], gate)
    assert not GATED.satisfied_by(found), "somebody has changed the copy"


@pytest.mark.parametrize(("name", "wakes"), [("firewalld", True), ("firewalld_policy_drop", True), ("fire", False)])
def test_a_change_of_firewalld_is_news(name: str, wakes: bool) -> None:
    tables = TableFilter()
    assert tables.finished(SUBSYSTEM | 6, HEADER.pack(1, 0, 0) + text(NFTA_TABLE_NAME, name)) is None
    number = bytes([8, 0, 1, 0, 0, 0, 0, 5])
    assert (tables.finished(SUBSYSTEM | NFT_MSG_NEWGEN, HEADER.pack(1, 0, 0) + number) is not None) == wakes
