"""The YAML file of plan and apply: what it means, and every way in which it can be wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model.document import MOST_PROBLEMS, Document, Membership, parse
from wefted.model.marked import MOST_ALIASED, MOST_CHARACTERS

WHOLE = """\
networks:
  web:
    driver: bridge
    backend: vxlan
    layer: 3
    subnets: [10.9.0.0/16, fd77:9::/64]
    gateway: 10.9.0.1
    ip-range: 10.9.4.0/22
    auxiliary: [10.9.0.9]
    mtu: 1400
    internal: false
    masquerade: yes
    isolated: true
    expose: false
    options: {vni: 42, note: "yes"}
    labels: {team: web}
  db:
containers:
  netns:c1:
    networks:
      web: {ip: 10.9.0.5, ifname: eth0, mac: 02:42:0a:09:00:05, aliases: [a, b], routes: [default@10.9.0.1], publish: [8080:53]}
      db:
  c2: {networks: [web, db]}
"""


def problems(text: str, source: str = "f") -> list[str]:
    with pytest.raises(UsageError) as error:
        parse(text, source)
    return error.value.message.split("\n")


def test_everything_that_can_be_said() -> None:
    document = parse(WHOLE)
    assert document.networks == {
        "web": {
            "driver": "bridge",
            "backend": "vxlan",
            "layer": "3",
            "subnets": ("10.9.0.0/16", "fd77:9::/64"),
            "gateways": ("10.9.0.1",),
            "ip_ranges": ("10.9.4.0/22",),
            "auxiliary": ("10.9.0.9",),
            "mtu": 1400,
            "internal": False,
            "masquerade": True,
            "isolated": True,
            "options": {"vni": "42", "note": "yes"},
            "labels": {"team": "web"},
        },
        "db": {},
    }
    assert document.exposed == {"web": False}
    assert [(m.container, m.network) for m in document.members] == [
        ("netns:c1", "web"),
        ("netns:c1", "db"),
        ("c2", "web"),
        ("c2", "db"),
    ]
    assert document.members[0].fields == {
        "ip": ("10.9.0.5",),
        "ifname": "eth0",
        "mac": "02:42:0a:09:00:05",
        "aliases": ("a", "b"),
        "routes": ("default@10.9.0.1",),
        "publish": ("8080:53",),
    }


def test_what_looks_like_a_number_to_the_base_of_sixty_stays_a_port() -> None:
    text = "networks: {a: }\ncontainers: {c: {networks: {a: {publish: 8080:53}}}}"
    assert parse(text).members == (Membership("a", "c", {"publish": ("8080:53",)}),)


def test_a_network_that_is_known_need_not_be_described() -> None:
    text = "containers: {c1: {networks: [web]}}"
    assert parse(text, known=["web"]) == Document({}, (Membership("web", "c1", {}),), {})
    assert problems(text) == ["f:1:30: there is no network 'web'"]


def test_an_alias_says_the_same_again() -> None:
    text = "networks:\n  a: {options: &o {vni: 1}}\n  b: {options: *o}\n"
    assert parse(text).networks == {"a": {"options": {"vni": "1"}}, "b": {"options": {"vni": "1"}}}


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    text = """\
networks:
  web: {drivr: bridge, layer: 4, subnets: [10.9.0.1/16, 10.8.0.0/16], gateway: 10.7.0.1, mtu: x, internal: 5}
  we;b:
  web: {}
  db: {subnets: 10.8.1.0/24}
containers:
  dokcer:c1:
    networks: {web: }
  c2:
    networks:
      wbe: {}
      web: {ip: 10.8.0.5, mac: 5, aliases: [no], publish: ["99999:1"]}
  c3: {networks: [[web]]}
  c4: {networks: {web: {ip: 10.8.0.5}}}
  c5:
"""
    assert problems(text, "nets.yaml") == [
        "nets.yaml:2:9: unknown key 'drivr' in network 'web', did you mean 'driver'?",
        "nets.yaml:2:31: layer is 2 or 3, not '4'",
        "nets.yaml:2:44: subnet '10.9.0.1/16': it has host bits set; the network is 10.9.0.0/16",
        "nets.yaml:2:80: 10.7.0.1 lies in no subnet of network 'web' (10.8.0.0/16)",
        "nets.yaml:2:95: an MTU is a number of bytes, not 'x'",
        "nets.yaml:2:108: this must be true or false, not '5'",
        "nets.yaml:3:3: network name 'we;b': it must not have ';'; letters, digits and _ . - may be used",
        "nets.yaml:4:3: the key 'web' stands in line 2 already",
        "nets.yaml:5:17: subnet 10.8.1.0/24 overlaps 10.8.0.0/16 of network 'web'",
        "nets.yaml:7:3: container 'dokcer:c1': there is no kind of container 'dokcer'; did you mean docker:c1?",
        "nets.yaml:11:7: there is no network 'wbe', did you mean 'web'?",
        "nets.yaml:12:32: MAC '5': it must have six pairs of hex digits",
        "nets.yaml:12:45: this must be a text, not 'no' (quote it)",
        "nets.yaml:12:60: port '99999:1': a port is a number from 1 to 65535",
        "nets.yaml:13:19: this must be a text, not a list",
        "nets.yaml:14:29: 10.8.0.5 is given to 'c2' already",
        "nets.yaml:15:6: container 'c5' is in no network; give it the key networks",
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "1:1", "the document is empty"),
        ("# nothing", "1:1", "the document is empty"),
        ("null", "1:1", "the document is empty"),
        ("[]", "1:1", "the document must be a mapping, not a list"),
        ("web", "1:1", "the document must be a mapping, not 'web'"),
        ("networks: [a]", "1:11", "networks must be a mapping, not a list"),
        ("networks:\n\tweb:", "2:1", "YAML does not allow a tab here"),
        ('networks: "x', "1:13", "this is not YAML"),
        ("networks:\n---\nnetworks:", "2:1", "a second document begins here"),
        ("networks: &a [*a]", "1:15", "the alias *a means nothing that stands before it"),
        ("networks: *b", "1:11", "the alias *b means nothing"),
        ("networks: !!python/object:os.system 1", "1:11", "the tag 'tag:yaml.org,2002:python/object:os.system' has no meaning"),
        ("networks: {a: !x {}}", "1:15", "the tag '!x' has no meaning"),
        ("networks: \0", "1:11", "the character U+0000 cannot stand in YAML"),
        ("networks:\n  \ud800", "2:3", "the character U+D800 cannot stand in YAML"),
        ("- " * 5000, "1:33", "nested more than 16 levels"),
        ("[" * 100_000, "1:17", "nested more than 16 levels"),
        ("{" * 100_000, "1:2", "a key must be a single word"),
        ("? " * 5000, "1:3", "a key must be a single word"),
        ("networks: {[a]: b}", "1:12", "a key must be a single word"),
        ("networks: {<<: {a: 1}}", "1:12", "network name '<<'"),
        ("networks: {a: {options: {k: [1]}}}", "1:29", "this must be a text, not a list"),
        ("networks: {a: {options: {'': x}}}", "1:26", "its key must be"),
        ("networks: {a: {driver: }}", "1:24", "this must be a text, not nothing"),
        ("networks: {a: {driver: ''}}", "1:24", "a name is missing"),
        ("networks: {a: {mtu: '1400'}}", "1:21", "an MTU is a number of bytes"),
        ("networks: {a: {mtu: 67}}", "1:21", "MTU '67'"),
        ("networks: {a: {internal: 'true'}}", "1:26", "this must be true or false"),
        ("networks: {a: {subnets: [10.0.0.0/8, 10.1.0.0/16]}}", "1:38", "overlaps 10.0.0.0/8 of the same network"),
        ("networks: {a: {subnets: 10.0.0.0/8, ip-range: 11.0.0.0/9}}", "1:47", "lies in no subnet of network 'a'"),
        ("networks: {a: }\ncontainers: {c: {networks: {a: {ip: 1.2.3.4.5}}}}", "2:37", "it is not an IP address"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, where: str, what: str) -> None:
    lines = problems(text)
    assert any(line.startswith(f"f:{where}: ") and what in line for line in lines), lines


def test_a_document_that_is_too_large_is_not_read() -> None:
    assert problems("#" * (MOST_CHARACTERS + 1)) == [
        f"f:1:1: the document has {MOST_CHARACTERS + 1} characters, at most 1048576 are read"
    ]


def test_aliases_of_aliases_end_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    begun = time.perf_counter()
    assert f"stand for more than {MOST_ALIASED} values" in problems("\n".join(lines))[0]
    assert time.perf_counter() - begun < 5


def test_of_very_many_problems_the_first_are_told() -> None:
    lines = problems("networks:\n" + "".join(f"  n{n}: {{drivr: x}}\n" for n in range(2000)))
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"f: and {2000 - MOST_PROBLEMS} more"


KEYS = "networks containers web netns:c1 driver subnets ip mtu publish options 10.9.0.0/16 10.9.0.5 8080:80 true null 1400"
WORDS = st.sampled_from([*KEYS.split(), *"'\"|>%#\t\ud800é~", "&a", "*a", "!x", "<<", "---", "..."])
SIGNS = st.sampled_from([" ", "\n", "\n  ", "\n    ", ": ", ":", ", ", "[", "]", "{", "}", "- ", "? "])


def refusal(text: str) -> str:
    """Return the message of the only error that may come of a text."""
    try:
        document = parse(text)
    except UsageError as error:
        return error.message
    assert isinstance(document, Document)
    return "none"


@given(st.one_of(st.text(max_size=200), st.lists(st.one_of(WORDS, SIGNS), max_size=60).map("".join)))
def test_any_text_is_a_document_or_a_usage_error(text: str) -> None:
    assert refusal(text).startswith(("-:", "none"))


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), WORDS),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
        max_leaves=20,
    )
)
def test_any_value_is_a_document_or_a_usage_error(value: object) -> None:
    import yaml

    try:
        text = yaml.safe_dump(value, allow_unicode=True)
    except UnicodeEncodeError:
        return
    assert refusal(text).startswith(("-:", "none"))


def test_a_container_says_all_that_connect_takes() -> None:
    text = """
networks: {web: {subnets: [10.9.0.0/16, "fd09::/64"]}}
containers:
  c1: {networks: {web: {ip: 10.9.0.5, ip6: "fd09::5", gateway-priority: 10, publish: "80:80", publish-from: [192.0.2.0/24]}}}
"""
    (member,) = parse(text).members
    assert member.fields == {
        "ip": ("10.9.0.5", "fd09::5"),
        "gateway_priority": 10,
        "publish": ("80:80",),
        "publish_from": ("192.0.2.0/24",),
    }
    with pytest.raises(UsageError, match="this must be a number"):
        parse(text.replace("priority: 10", "priority: high"))
    with pytest.raises(UsageError, match="fd08::5 lies in no subnet"):
        parse(text.replace("fd09::5", "fd08::5"))
