"""Durations, ports and tables are printed for people, within the width of the terminal."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from wefted.cli.output import NARROWEST, changes, duration, port, table, terminal_width, tree


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (200, "3m20s"),
        (3600, "1h"),
        (7500, "2h5m"),
        (86400 * 4 + 3700, "4d1h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("ip", "text"), [(None, "80:8080/udp"), ("10.0.0.1", "10.0.0.1:80:8080/udp"), ("fd00::1", "[fd00::1]:80:8080/udp")]
)
def test_a_port_is_shown_as_it_is_typed(ip, text):
    assert port({"host_port": 80, "port": 8080, "protocol": "udp", "host_ip": ip}) == text


def test_a_table_without_end_is_not_cut():
    assert list(table(("A", "B"), [("x" * 200, 1)], width=0)) == ["A" + " " * 201 + "B", "x" * 200 + "  1"]


def test_the_widest_column_is_cut_first():
    assert list(table(("NAME", "TEXT"), [("blue", "a" * 40)], width=20)) == ["NAME  TEXT", "blue  " + "a" * 13 + "…"]


def test_a_table_without_rows_has_its_heads():
    assert list(table(("A", "B"), [], width=80)) == ["A  B"]


@given(
    st.lists(st.tuples(st.text("ab", max_size=90), st.text("ab", max_size=90)), max_size=4), st.integers(2 * NARROWEST + 2, 120)
)
def test_a_table_fits_every_terminal(rows, width):
    assert all(len(line) <= width for line in table(("A", "B"), rows, width))


def test_the_width_is_what_the_variable_says(monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    assert terminal_width() == 33


def test_a_pipe_has_no_width(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    with CliRunner().isolation():
        assert terminal_width() == 0


def test_an_outline_leaves_out_what_is_empty():
    value = {"name": "blue", "mtu": 0, "internal": False, "gateway": None, "labels": {}, "list": ["a", "b"]}
    assert list(tree(value)) == ["name: blue", "mtu: 0", "internal: no", "list: a, b"]


def test_an_outline_nests():
    value = {
        "options": {"parent": "eth0"},
        "subnets": [{"prefix": "10.0.0.0/24", "gateway": "10.0.0.1"}, {"prefix": "fd00::/64"}],
    }
    assert list(tree(value)) == [
        "options:",
        "  parent: eth0",
        "subnets:",
        "  - prefix: 10.0.0.0/24",
        "    gateway: 10.0.0.1",
        "  - prefix: fd00::/64",
    ]


def test_an_outline_survives_items_that_say_nothing():
    assert list(tree({"items": [{"a": ""}, {"a": "b"}]})) == ["items:", "  - a: b"]


def test_changes_name_the_namespace_once():
    items = [{"text": "+ link br", "ns": ""}, {"text": "+ link eth0", "ns": "c1"}, {"text": "- addr in c1", "ns": "c1"}]
    plain = [line.replace("\x1b[0m", "").partition("m")[2] for line in changes(items)]
    assert plain == ["+ link br", "+ link eth0  [c1]", "- addr in c1"]
