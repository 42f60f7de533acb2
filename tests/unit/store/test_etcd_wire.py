"""The JSON that etcd gets and gives."""

from __future__ import annotations

from base64 import b64encode

import pytest

from wefted.model.records import Check, Delete, Item, Put
from wefted.store.etcd_wire import Codec, Mark, expectations, found_revisions, replaced_leases, revision_of
from wefted.store.ops import end_of

CODEC = Codec("/p/")


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(("prefix", "end"), [(b"", b"\xff"), (b"a", b"b"), (b"a/", b"a0"), ("ü".encode(), b"\xc3\xbd")])
def test_the_end_of_a_prefix_comes_after_all_its_keys(prefix, end):
    assert end_of(prefix) == end
    assert prefix + "\U0010ffff".encode() < end


def test_a_prefix_is_a_span():
    assert CODEC.span("a/") == {"key": b64("/p/a/"), "range_end": b64("/p/a0")}
    assert CODEC.span("") == {"key": b64("/p/"), "range_end": b64("/p0")}


def test_the_next_page_begins_after_the_last_key():
    assert CODEC.after({"key": b64("/p/k")}, CODEC.span("")) == {"key": b64("/p/k\0"), "range_end": b64("/p0")}


def test_a_transaction_guards_moves_the_mark_and_looks_when_refused():
    ops = [Put("a", b"1", expect=0, ttl=5), Put("b", b"2"), Delete("c", expect=7), Check("d", 9)]
    key = {name: b64(f"/p/{name}") for name in ("a", "b", "c", "d", ".written/1")}
    assert CODEC.transaction(ops, {"a": 77}, Mark(".written/1", 42, revision=3)) == {
        "compare": [
            {"target": "MOD", "result": "EQUAL", "key": key[".written/1"], "mod_revision": "3"},
            {"target": "MOD", "result": "EQUAL", "key": key["a"], "mod_revision": "0"},
            {"target": "MOD", "result": "EQUAL", "key": key["c"], "mod_revision": "7"},
            {"target": "MOD", "result": "EQUAL", "key": key["d"], "mod_revision": "9"},
        ],
        "success": [
            {"request_put": {"key": key[".written/1"], "lease": "42"}},
            {"request_put": {"key": key["a"], "value": b64("1"), "lease": "77", "prev_kv": True}},
            {"request_put": {"key": key["b"], "value": b64("2"), "lease": "0", "prev_kv": True}},
            {"request_delete_range": {"key": key["c"], "prev_kv": True}},
        ],
        "failure": [{"request_range": {"key": key[k], "keys_only": True}} for k in (".written/1", "a", "c", "d")],
    }
    assert expectations(ops) == [("a", 0), ("c", 7), ("d", 9)]


def test_an_event_without_a_type_is_a_put_and_marks_are_not_shown():
    kv = {"key": b64("/p/k"), "mod_revision": "5"}
    mark = {"key": b64("/p/.written/1"), "mod_revision": "5"}
    assert CODEC.events([{"kv": mark}, {"kv": kv}, {"type": "DELETE", "kv": kv}]) == (Item("k", b"", 5), Item("k", None, 5))
    assert list(CODEC.items([mark, {**kv, "value": b64("v")}])) == [Item("k", b"v", 5)]


def test_answers_leave_out_what_is_empty():
    assert revision_of({}) == 0
    assert found_revisions({"responses": [{"response_range": {}}, {"response_range": {"kvs": [{"mod_revision": "8"}]}}]}) == [
        0,
        8,
    ]
    responses = [
        {"response_put": {}},
        {"response_put": {"prev_kv": {"lease": "3"}}},
        {"response_put": {"prev_kv": {"key": "eA=="}}},
        {"response_delete_range": {"deleted": "1", "prev_kvs": [{"lease": "4"}]}},
    ]
    assert replaced_leases({"responses": responses}) == {3, 4}
