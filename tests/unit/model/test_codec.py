"""The codec: what goes out comes back, and what is wrong is told with its path."""

from __future__ import annotations

import json
import timeit
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model import codec
from wefted.model.lease import Lease
from wefted.model.link import Vxlan
from wefted.model.network import Endpoint, Network, PortMapping, StaticRoute, Subnet
from wefted.model.node import HostFacts, Node
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox, SandboxEvent

ENDPOINT = Endpoint(
    network="web",
    container="netns:c1",
    ns=Netns("/run/netns/c1"),
    identity="4:4026532177:8",
    mac="02:77:0a:09:00:05",
    addresses=(ip_interface("10.9.0.5/24"), ip_interface("fd77::5/64")),
    gateways=(ip_address("10.9.0.1"), ip_address("fd77::1")),
    aliases=("a",),
    ports=(PortMapping(host_port=8080, port=80),),
    routes=(StaticRoute(destination=ip_network("10.1.0.0/16")),),
)

texts = st.text(max_size=12)
v4 = st.ip_addresses(v=4)
addresses = st.ip_addresses()
prefixes = st.builds(lambda a, n: ip_network((a, n % (a.max_prefixlen + 1)), strict=False), addresses, st.integers(0, 128))
interfaces = st.builds(lambda a, n: ip_interface((a, n % (a.max_prefixlen + 1))), addresses, st.integers(0, 128))
pairs = st.dictionaries(texts, texts, max_size=3).map(lambda d: tuple(sorted(d.items())))


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


subnets = st.builds(
    Subnet, prefix=prefixes, gateway=st.none() | addresses, ip_range=st.none() | prefixes, auxiliary=several(addresses)
)
networks = st.builds(
    Network, name=texts, subnets=several(subnets), number=st.integers(), internal=st.booleans(), options=pairs, labels=pairs
)
ports = st.builds(PortMapping, host_port=st.integers(), port=st.integers(), protocol=texts, host_ip=st.none() | addresses)
routes = st.builds(StaticRoute, destination=prefixes, via=st.none() | addresses)
endpoints = st.builds(
    Endpoint,
    network=texts,
    container=texts,
    ns=texts,
    addresses=several(interfaces),
    gateways=several(addresses),
    routes=several(routes),
    ports=several(ports),
    aliases=several(texts),
)
leases = st.builds(Lease, network=texts, block=prefixes, node=texts, underlay=several(addresses), data=pairs)
nodes = st.builds(Node, id=texts, name=texts, underlay=several(interfaces), device=texts, mtu=st.integers())
facts = st.builds(HostFacts, device=texts, features=st.dictionaries(texts, texts, max_size=3), prefixes=several(interfaces))
sandboxes = st.builds(Sandbox, container=texts, ns=texts, identity=texts)
events = st.builds(SandboxEvent, container=texts, sandbox=st.none() | sandboxes)


@given(st.one_of(networks, endpoints, leases, nodes, facts, events))
def test_what_goes_out_comes_back(value: Any) -> None:
    assert codec.decode(type(value), codec.encode(value)) == value
    assert codec.loads(type(value), codec.dumps(value)) == value


@given(st.one_of(networks, leases))
def test_json_text_is_compact_and_sorted(value: Any) -> None:
    text = codec.dumps(value)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()


def test_every_field_is_written() -> None:
    assert codec.encode(Subnet(prefix=ip_network("10.9.0.0/16"))) == {
        "prefix": "10.9.0.0/16",
        "gateway": None,
        "ip_range": None,
        "auxiliary": [],
    }


def test_missing_fields_with_defaults_are_tolerated() -> None:
    assert codec.decode(Network, {"name": "web"}) == Network(name="web")


def test_pairs_are_an_object_and_sorted() -> None:
    network = Network(name="web", options=(("b", "2"), ("a", "1")))
    assert codec.encode(network)["options"] == {"a": "1", "b": "2"}
    assert codec.loads(Network, codec.dumps(network)).options == (("a", "1"), ("b", "2"))
    assert codec.decode(Network, {"name": "web", "options": {"b": "2", "a": "1"}}).options == (("a", "1"), ("b", "2"))


def test_kernel_objects_are_dataclasses_like_others() -> None:
    tunnel = Vxlan(ns=Netns("/run/netns/x"), name="vx-0", vni=7, local=ip_address("192.168.50.1"), alias="web")
    assert codec.decode(Vxlan, codec.encode(tunnel)) == tunnel
    assert codec.encode(tunnel)["alias"] == "web"


def test_all_problems_are_told_at_once_with_their_paths() -> None:
    data = {
        "name": 5,
        "subnets": [{"prefix": "10.0.0.1/8", "gatway": 1, "gateway": "x"}, 3, {}],
        "options": {"a": 1},
        "labels": [],
        "mtu": True,
        "internal": 0,
        "driver": "\ud800",
    }
    with pytest.raises(UsageError) as error:
        codec.decode(Network, data)
    assert error.value.message.split("\n") == [
        "name: 5 is not a string",
        r"driver: '\ud800' is not a string",
        "subnets[0].prefix: '10.0.0.1/8' is not an IP network: it has host bits set, the network is 10.0.0.0/8",
        "subnets[0].gateway: 'x' is not an IP address",
        "subnets[0]: unknown key 'gatway', did you mean 'gateway'?",
        "subnets[1]: 3 is not an object",
        "subnets[2].prefix: is missing",
        "mtu: true is not an integer",
        "internal: 0 is not true or false",
        "options.a: 1 is not a string",
        "labels: a list is not an object",
    ]


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff", b'"x"', b"null", b"1" * 5000, b'{"name": NaN}'])
def test_bytes_that_are_no_network_are_refused(text: bytes) -> None:
    with pytest.raises(UsageError, match="networks/web"):
        codec.loads(Network, text, "networks/web")


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), texts, st.sampled_from(["10.0.0.1", "10.0.0.0/8", "fe80::1%1"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=10,
)


@given(
    st.sampled_from([Network, Endpoint, Lease, Node, SandboxEvent, HostFacts, Vxlan]),
    st.data(),
)
def test_any_value_is_decoded_or_refused(type_: Any, data: st.DataObject) -> None:
    names = list(codec.schema(type_)["properties"])
    value = data.draw(st.one_of(values, st.dictionaries(st.sampled_from(names), values, max_size=len(names))))
    try:
        decoded = codec.decode(type_, value)
    except UsageError:
        return
    assert codec.decode(type_, codec.encode(decoded)) == decoded


def test_a_schema_says_what_is_written() -> None:
    schema = codec.schema(Endpoint)
    encoded = codec.encode(ENDPOINT)
    assert list(schema["properties"]) == list(encoded)
    assert schema["required"] == ["network", "container"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["default_route"] == {"type": "boolean", "default": True}
    assert schema["properties"]["aliases"] == {"type": "array", "items": {"type": "string"}, "default": []}
    assert schema["properties"]["container"]["description"].startswith("As in `docker:web1`")
    assert schema["properties"]["ports"]["items"]["required"] == ["host_port", "port"]
    assert json.loads(json.dumps(schema)) == schema


def test_a_schema_knows_pairs_and_what_may_be_null() -> None:
    properties = codec.schema(Network)["properties"]
    assert properties["options"]["additionalProperties"] == {"type": "string"}
    subnet = properties["subnets"]["items"]["properties"]
    assert subnet["gateway"]["anyOf"][1] == {"type": "null"}


def test_a_type_without_json_is_a_defect() -> None:
    with pytest.raises(TypeError, match="no JSON"):
        codec.schema(bytes)
    with pytest.raises(TypeError, match="apart"):
        codec.schema(int | str)


def _microseconds(step: Any) -> float:
    """Return the best of many short runs: the machine may be busy with other tests."""
    return min(timeit.repeat(step, number=20, repeat=200)) / 20 * 1e6


def test_an_endpoint_costs_some_microseconds() -> None:
    encoded = codec.encode(ENDPOINT)
    assert _microseconds(lambda: codec.encode(ENDPOINT)) <= 30
    assert _microseconds(lambda: codec.decode(Endpoint, encoded)) <= 60
