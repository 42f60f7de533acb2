"""Labs as YAML: what is read, and every mistake with its line, all at once."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.lab import document
from wefted.lab.document import parse
from wefted.lab.topology import simple

OFFICE = """
segments:
  west: {cidr: 10.1.0.0/24}
  east: {cidr: [10.2.0.0/24, "fd02::/64"], mtu: 9000}
routers:
  r1: [west, east]
hosts:
  a1: {segment: west}
  a2: {segment: west}
  b1: {segment: east, address: 10.2.0.9}
networks:
  blue: {backend: vxlan, subnet: 10.20.0.0/16, internal: true, options: {vni: 7}}
  green:
containers:
  c1: {host: a1, network: blue, ip: 10.20.0.9, publish: [8080:80, "53:53/udp"]}
  c2: {host: b1, networks: {blue: {alias: db}, green: }}
  c3: {host: a2}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse(textwrap.dedent(text), "lab.yaml")
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


def test_a_whole_lab():
    topology = parse(OFFICE, store=False)
    assert [(s.name, list(map(str, s.prefixes)), s.mtu) for s in topology.switches] == [
        ("west", ["10.1.0.0/24"], 1500),
        ("east", ["10.2.0.0/24", "fd02::/64"], 9000),
    ]
    assert {m.name: [str(a) for a in m.addresses] for m in topology.machines} == {
        "a1": ["10.1.0.1"],
        "a2": ["10.1.0.2"],
        "b1": ["10.2.0.9", "fd02::1"],
        "r1": ["10.1.0.254", "10.2.0.254", "fd02::fffe"],
    }


def test_networks_become_the_words_of_their_command():
    networks = {n.name: n.options for n in parse(OFFICE).networks}
    assert networks == {"blue": ("--backend", "vxlan", "--subnet", "10.20.0.0/16", "--internal", "-o", "vni=7"), "green": ()}


def test_containers_become_the_words_of_their_command():
    containers = {c.name: [(a.network, a.options) for a in c.attachments] for c in parse(OFFICE).containers}
    assert containers == {
        "c1": [("blue", ("--ip", "10.20.0.9", "--publish", "8080:80", "--publish", "53:53/udp"))],
        "c2": [("blue", ("--alias", "db")), ("green", ())],
        "c3": [],
    }


@pytest.mark.parametrize("text", ["hosts: 3", "hosts: [h1, h2, h3]", "hosts: {h1: , h2: {}, h3: {}}"])
def test_the_short_forms_are_the_lab_of_the_command_line(text):
    assert parse(text) == simple(3)


def test_a_host_on_two_segments_has_two_interfaces():
    topology = parse("segments: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.2.0.0/24}}\nhosts: {h: {segments: [a, b]}}", store=False)
    assert [(leg.ifname, str(leg.addresses[0])) for leg in topology.machine("h").legs] == [
        ("eth0", "10.1.0.1/24"),
        ("eth1", "10.2.0.1/24"),
    ]


def test_engines_of_every_host_and_of_one():
    text = "hosts: {h1: , h2: {engines: [docker, containerd]}}\nrouters:\nengines: podman"
    assert {m.name: m.engines for m in parse(text).machines} == {
        "h1": ("podman",),
        "h2": ("containerd", "docker", "podman"),
        "etcd": (),
    }


def test_engines_in_any_order_are_the_same_lab():
    assert parse("hosts: 2\nengines: [podman, docker]") == simple(2).with_engines({"docker", "podman"})


def test_an_unknown_engine():
    assert mistakes("hosts: {h1: {engines: [dokcer]}}\nengines: rkt\n") == [
        "lab.yaml:1: there is no container engine 'dokcer' for a lab: did you mean 'docker'?",
        "lab.yaml:2: there is no container engine 'rkt' for a lab (there is containerd, docker, lxc, nspawn, podman)",
    ]


def test_a_router_may_say_its_addresses():
    text = "segments: {a: {cidr: 10.1.0.0/24}, b: {cidr: 10.2.0.0/24}}\nrouters: {r: {a: 10.1.0.1, b: }}\nhosts: {h: }"
    topology = parse(text, store=False)
    assert [str(a) for a in topology.machine("r").addresses] == ["10.1.0.1", "10.2.0.254"]
    assert [str(a) for a in topology.machine("h").addresses] == ["10.1.0.2"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = """\
        segments:
          west: {cidr: 10.1.0.0/24, mtu: many}
          east: {cidr: 10.1.0.128/25}
          Bad_Name: {cidr: 10.300.0.0/24}
        hosts:
          h1: {segment: wset}
          h2: {adress: 10.1.0.5}
          h3: {segment: west, address: 10.9.0.1}
          etcd:
        containers:
          c1: {host: h7, network: blue, publsh: 80}
        colour: blue
        """
    assert mistakes(text) == [
        "lab.yaml:2: 'many' is not a whole number: invalid literal for int() with base 10: 'many'",
        "lab.yaml:3: 10.1.0.0/24 of segment west overlaps 10.1.0.128/25 of segment east",
        "lab.yaml:4: '10.300.0.0/24' is not an IP prefix, such as 10.1.0.0/24: "
        "'10.300.0.0/24' does not appear to be an IPv4 or IPv6 network",
        "lab.yaml:4: 'Bad_Name' cannot be a name in segments: it must match [a-z]([a-z0-9-]{0,13}[a-z0-9])?",
        "lab.yaml:6: there is no segment 'wset': did you mean 'west'?",
        "lab.yaml:7: host h2 has no 'adress': did you mean 'address'?",
        "lab.yaml:8: 10.9.0.1 is not in segment west (10.1.0.0/24)",
        "lab.yaml:9: 'etcd' is the name of the cluster store already",
        "lab.yaml:11: container c1 has no 'publsh': did you mean 'publish'?",
        "lab.yaml:11: there is no host 'h7' (there is etcd, h1, h2, h3)",
        "lab.yaml:11: there is no network 'blue' in this file",
        "lab.yaml:12: the file has no 'colour' (there is containers, engines, hosts, networks, routers, segments)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lab.yaml:1: the file is empty"),
        ("hosts: [", "lab.yaml:1: not YAML: expected the node content, but found '<stream end>'"),
        ("hosts: {h1: {}, h1: {}}", "lab.yaml:1: 'h1' is there twice"),
        ("[a, b]", "lab.yaml:1: the file must be a mapping (key: value), not a list"),
        ("segments: {a: {cidr: 10.0.0.0/24}}", "lab.yaml:1: there are no hosts"),
        ("segments: {a: {}}\nhosts: 1", "lab.yaml:1: segment a has no cidr, such as 192.168.50.0/24"),
        ("segments: {a: {cidr: 10.0.0.0/31}}\nhosts: 1", "lab.yaml:1: 10.0.0.0/31 has no room for hosts"),
        ("segments: {a: {cidr: 10.0.0.0/30}}\nhosts: 4", "lab.yaml:1: segment 10.0.0.0/30 has no address left for h2"),
        ("segments: {a: {cidr: 10.0.0.0/24}}\nrouters: {r: [a]}\nhosts: 1", "lab.yaml:2: router r joins two segments at least"),
        ("hosts: {h: {address: 192.168.50.255}}", "lab.yaml:1: 192.168.50.255 is the first or the last of 192.168.50.0/24"),
        ("hosts: {a: {address: 192.168.50.7}, b: {address: 192.168.50.7}}", "lab.yaml:1: 192.168.50.7 is host a's already"),
        ("hosts: 1\ncontainers: {c: {}}", "lab.yaml:2: container c has no host"),
        ("hosts: 1\ncontainers: {../c: {host: h1}}", "lab.yaml:2: '../c' cannot be a name in containers"),
        ("hosts: 1\ncontainers: {c: {host: h1, ip: 10.0.0.1}}", "lab.yaml:2: container c has ip but no network"),
        ("hosts: 1\nnetworks: {n: {internal: 7}}", "lab.yaml:2: this must be true or false, not '7'"),
        ("hosts: 1\nnetworks: {n: {subnet: 10.0.0.0/99}}", "lab.yaml:2: '10.0.0.0/99' is not an IP prefix"),
        ("hosts: [lo]", "lab.yaml:1: 'lo' is the name of a part of the kernel already"),
        ("hosts: 0", "lab.yaml:1: hosts is 1 to 1000, not 0"),
    ],
)
def test_each_mistake_has_its_line(text, message):
    assert any(line.startswith(message) for line in mistakes(text)), mistakes(text)


def test_a_text_that_is_nested_too_deeply():
    assert mistakes("[" * 5000) == ["lab.yaml:1: not a lab: nested too deeply"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        document.read(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        document.read(path)


WORDS = st.sampled_from(
    ["hosts", "h1", "west", "segments", "cidr", "10.1.0.0/24", "fd00::/64", "routers", "address", "networks", "c1"]
)
NODES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=20,
)


@given(
    st.one_of(
        st.text(),
        NODES.map(lambda node: document.yaml.safe_dump(node)),
        NODES.map(lambda n: document.yaml.safe_dump({"hosts": n})),
    )
)
def test_any_text_is_a_lab_or_a_clear_mistake(text):
    try:
        topology = parse(text)
    except UsageError as error:
        lines = error.message.splitlines()
    else:
        assert topology.machines
        lines = []
    assert all(line.startswith("<text>:") for line in lines)
