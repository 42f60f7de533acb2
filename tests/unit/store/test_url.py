"""What `--store` takes, and what it says about everything else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.store import EtcdSpec, MemorySpec, SqliteSpec, parse_store_url


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("memory:", MemorySpec()),
        ("sqlite:/var/lib/wefted/state.db", SqliteSpec("/var/lib/wefted/state.db")),
        ("sqlite:///tmp/with%20space.db", SqliteSpec("/tmp/with space.db")),
        ("etcd://10.0.0.1", EtcdSpec(endpoints=("http://10.0.0.1:2379",))),
        ("http://10.0.0.1:1/", EtcdSpec(endpoints=("http://10.0.0.1:1",))),
        ("etcd://h1:2379,h2:4001,H1/site/a", EtcdSpec(endpoints=("http://h1:2379", "http://h2:4001"), prefix="/site/a/")),
        ("etcd://[fd00::1]:99,[fd00::2]", EtcdSpec(endpoints=("http://[fd00::1]:99", "http://[fd00::2]:2379"))),
        (
            "HTTPS://me:s%40c%3Aret@etcd.example",
            EtcdSpec(endpoints=("https://etcd.example:2379",), user="me", password="s@c:ret"),
        ),
        (
            "https://h/p/?ca=/etc/ca.pem&cert=/etc/c.pem&key=/etc/c.key&timeout=5",
            EtcdSpec(
                endpoints=("https://h:2379",), prefix="/p/", ca="/etc/ca.pem", cert="/etc/c.pem", key="/etc/c.key", timeout=5.0
            ),
        ),
    ],
)
def test_it_is_parsed(text, spec):
    assert parse_store_url(text) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a URL"),
        ("/var/lib/state.db", "not a URL"),
        ("etcd://h 1", "not a URL"),
        ("etcd://h\n", "not a URL"),
        ("redis://h", "unknown kind 'redis'"),
        ("memory:x", "takes nothing"),
        ("sqlite:", "absolute path"),
        ("sqlite:state.db", "absolute path"),
        ("sqlite:/", "absolute path"),
        ("sqlite:/a%00b", "absolute path"),
        ("etcd://", "names no host"),
        ("etcd:", "names no host"),
        ("etcd://h1,,h2", "names no host"),
        ("etcd://h:port", "'port' is not a port"),
        ("etcd://h:0", "'0' is not a port"),
        ("etcd://h:65536", "'65536' is not a port"),
        ("etcd://h:²", "is not a port"),
        ("etcd://-h", "is not a host"),
        ("etcd://h_$", "is not a host"),
        ("etcd://fd00::1", "needs brackets"),
        ("etcd://[fd00::1", "brackets"),
        ("etcd://[10.0.0.1]", "brackets"),
        ("etcd://h//double", "is not a prefix"),
        ("etcd://h/a%20b", "is not a prefix"),
        ("etcd://h#part", "no #fragment"),
        ("https://me@h", "but not both"),
        ("https://me:@h", "but not both"),
        ("https://:secret@h", "but not both"),
        ("https://me:sec:ret@h", "holds @ or :"),
        ("https://me:sec@ret@h", "holds @ or :"),
        ("https://me:se/cret@h", "holds / ? or #"),
        ("https://me:se?cret@h", "holds / ? or #"),
        ("https://me:se#cret@h", "holds / ? or #"),
        ("https://h?colour=red", "no option 'colour'"),
        ("https://h?ca=", "is empty"),
        ("https://h?ca=/a&ca=/b", "given twice"),
        ("https://h?ca=ca.pem", "absolute path"),
        ("https://h?cert=/c.pem", "both cert= and key="),
        ("https://h?timeout=soon", "not a number of seconds"),
        ("https://h?timeout=nan", "not a number of seconds"),
        ("https://h?timeout=0", "not a number of seconds"),
        ("etcd://h?ca=/ca.pem", "without TLS"),
    ],
)
def test_what_is_wrong_is_named(text, reason):
    with pytest.raises(UsageError) as caught:
        parse_store_url(text)
    assert reason in caught.value.message
    assert caught.value.hint


BEGINNINGS = st.sampled_from(["etcd://", "https://", "sqlite:", "memory:", "http:"])
MARKS = st.sampled_from([*",[]@:/?#&=%", "\0", " ", "\n", "é", "\ud800"])
WORDS = st.sampled_from(["h1", ":2379", "fd00::1", "ca=/x", "timeout=1", "%41"])
PARTS = BEGINNINGS | MARKS | WORDS


@given(st.one_of(st.text(), st.lists(PARTS, max_size=12).map("".join)))
@example("http://[")
@example("https://[::1%eth0]")
@example("https://h?timeout=" + "9" * 400)
@example("etcd://h:" + "9" * 5000)
def test_nothing_but_a_usage_error_comes_of_nonsense(text):
    try:
        spec = parse_store_url(text)
    except UsageError:
        return
    if not (isinstance(spec, EtcdSpec) and (spec.user or spec.timeout != 2)) and not isinstance(spec, SqliteSpec):
        assert parse_store_url(str(spec)) == spec


SECRET = "correct-horse"


@pytest.mark.parametrize(
    "rest", ["h:port", "h/a b", "h//", "h?x=y", "h?ca=ca.pem", "h#", "[", "fd00::1", ",", "-", "h?ca=/a&ca=/b"]
)
def test_no_message_holds_the_password(rest):
    with pytest.raises(UsageError) as caught:
        parse_store_url(f"https://me:{SECRET}@{rest}")
    assert SECRET not in str(caught.value)


def test_a_spec_does_not_show_its_password():
    spec = parse_store_url(f"https://me:{SECRET}@h1,h2/p?ca=/etc/ca.pem")
    assert str(spec) == "https://me:***@h1:2379,h2:2379/p/?ca=/etc/ca.pem"
    assert SECRET not in repr(spec)
