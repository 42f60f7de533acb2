"""The firewall's changes as text, and nft's listing as objects."""

from __future__ import annotations

from typing import Any

import pytest

from wefted.kernel.nftscript import digest, read_table, script, seal
from wefted.model.firewall import NftElement, NftTable
from wefted.model.objects import Change

TABLE = NftTable(body="chain a { }")
PORT = NftElement(container="ports", match=("tcp", "8080"), value=("10.64.0.5", "80"))
SUBNET = NftElement(container="subnets", match=("10.64.0.0/16",))


def test_a_transaction_removes_before_it_adds() -> None:
    moved = NftElement(container="ports", match=("tcp", "8080"), value=("10.64.0.6", "80"))
    text = script(
        [Change(PORT, moved), Change(None, SUBNET), Change(None, NftElement(container="subnets", match=("10.65.0.0/16",)))]
    )
    assert text.splitlines() == [
        "delete element inet wefted ports { tcp . 8080 }",
        "add element inet wefted ports { tcp . 8080 : 10.64.0.6 . 80 }",
        "add element inet wefted subnets { 10.64.0.0/16, 10.65.0.0/16 }",
    ]


def test_a_table_is_replaced_whole_and_what_leaves_it_needs_no_command() -> None:
    text = script([Change(PORT, None), Change(TABLE, TABLE), Change(None, SUBNET)])
    assert text.splitlines() == [
        "add table inet wefted",
        "delete table inet wefted",
        "table inet wefted {",
        "chain a { }",
        "}",
        "add element inet wefted subnets { 10.64.0.0/16 }",
    ]


def test_a_table_is_deleted_also_where_there_is_none() -> None:
    assert script([Change(TABLE, None)]).splitlines() == ["add table inet wefted", "delete table inet wefted"]


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("10.64.0.0/16", "10.64.0.0/16"),
        ("fd64::/64", "fd64::/64"),
        ("8000-8010", "8000-8010"),
        ("tcp", "tcp"),
        ("br-0123456789ab", '"br-0123456789ab"'),
        ("map", '"map"'),
        ("eth*", '"eth*"'),
        ('x" }; flush ruleset; #', '"x }; flush ruleset; #"'),
        ("jump chain", "jump chain"),
    ],
)
def test_only_what_may_be_a_name_is_quoted(part: str, written: str) -> None:
    text = script([Change(None, NftElement(container="c", match=(part,)))])
    assert text == f"add element inet wefted c {{ {written} }}\n"


def listing(*entries: dict[str, Any], sealed_with: NftTable | None = TABLE) -> list[dict[str, Any]]:
    """Return what nft would list, with the mark of an intact table."""
    found: list[dict[str, Any]] = [{"metainfo": {"version": "1"}}, {"table": {"family": "inet", "name": "wefted", "handle": 1}}]
    found += entries
    if sealed_with is not None:
        found.append(
            {"chain": {"family": "inet", "table": "wefted", "name": seal(sealed_with, found).split()[-1], "handle": 9}}
        )
    return found


CHAIN = {"chain": {"family": "inet", "table": "wefted", "name": "a", "handle": 2}}
RULE = {"rule": {"family": "inet", "table": "wefted", "chain": "a", "handle": 3, "expr": [{"accept": None}]}}


def container(kind: str, elements: list[Any], **types: Any) -> dict[str, Any]:
    return {kind: {"family": "inet", "name": "c", "table": "wefted", "handle": 5, "elem": elements, **types}}


def test_an_intact_table_satisfies_its_text() -> None:
    (found,) = read_table(("inet", "wefted"), listing(CHAIN, RULE))
    assert TABLE.satisfied_by(found)
    assert not NftTable(body="chain b { }").satisfied_by(found)


@pytest.mark.parametrize(
    "damaged",
    [
        listing(CHAIN, RULE, sealed_with=None),
        [entry for entry in listing(CHAIN, RULE) if entry is not RULE],
        [*listing(CHAIN, RULE), RULE],
        [*listing(CHAIN), *listing(CHAIN, RULE)[-1:]],
    ],
)
def test_a_damaged_table_satisfies_nothing_and_has_no_elements(damaged: list[dict[str, Any]]) -> None:
    (found,) = read_table(("inet", "wefted"), [*damaged, container("set", ["10.0.0.1"], type="ipv4_addr")])
    assert not TABLE.satisfied_by(found)


def test_handles_and_elements_do_not_count() -> None:
    other = {"chain": {**CHAIN["chain"], "handle": 77}}
    assert digest([CHAIN, container("set", [], type="ipv4_addr")]) == digest(
        [other, container("set", ["10.0.0.1"], type="ipv4_addr")]
    )


@pytest.mark.parametrize(
    ("kind", "types", "element", "match", "value"),
    [
        ("set", {"type": "ipv4_addr"}, "10.0.0.1", ("10.0.0.1",), ()),
        ("set", {"type": "ipv4_addr"}, {"prefix": {"addr": "10.0.0.0", "len": 8}}, ("10.0.0.0/8",), ()),
        ("set", {"type": "ipv4_addr"}, {"range": ["10.0.0.1", "10.0.0.9"]}, ("10.0.0.1-10.0.0.9",), ()),
        ("set", {"type": "inet_service"}, {"elem": {"val": 80, "counter": None}}, ("80",), ()),
        ("set", {"type": "inet_proto"}, 6, ("tcp",), ()),
        ("set", {"type": "inet_proto"}, 99, ("99",), ()),
        ("set", {"type": "ifname"}, "br0", ("br0",), ()),
        (
            "set",
            {"type": ["ipv4_addr", "ipv4_addr"]},
            {"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "10.1.0.1"]},
            ("10.0.0.0/8", "10.1.0.1"),
            (),
        ),
        (
            "map",
            {"type": ["inet_proto", "inet_service"], "map": ["ipv4_addr", "inet_service"]},
            [{"concat": [17, 53]}, {"concat": ["10.64.0.5", 5353]}],
            ("udp", "53"),
            ("10.64.0.5", "5353"),
        ),
        ("map", {"type": "ifname", "map": "verdict"}, ["br0", {"jump": {"target": "a"}}], ("br0",), ("jump a",)),
        ("map", {"type": "ifname", "map": "verdict"}, ["br0", {"accept": None}], ("br0",), ("accept",)),
    ],
)
def test_elements_are_read_as_planners_write_them(
    kind: str, types: dict[str, Any], element: Any, match: tuple[str, ...], value: tuple[str, ...]
) -> None:
    _, found = read_table(("inet", "wefted"), listing(CHAIN, container(kind, [element], **types)))
    assert found == NftElement(container="c", match=match, value=value)


def test_what_packets_put_into_a_set_is_not_ours() -> None:
    dynamic = container("set", ["10.0.0.1"], type="ipv4_addr", flags=["dynamic"])
    assert len(list(read_table(("inet", "wefted"), listing(CHAIN, dynamic)))) == 1
