"""The verbs of CNI on an engine with fakes: results of each version, errors by their codes, and what stays afterwards."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.model.objects import Netns
from wefted.plugins.cni.request import NEEDS, VERSIONS
from wefted.testing.kernel import FEATURES

from .fake_engine import CONFIG, Host

OLD, MIDDLE, NEW = ({**CONFIG, "cniVersion": version} for version in ("0.4.0", "1.0.0", "1.1.0"))


async def test_an_add_makes_the_network_and_says_all() -> None:
    host = await Host.start("c1")
    result = await host.done("ADD", {**NEW, "mtu": 1400, "dns": {"nameservers": ["192.0.2.53"]}})
    link = (await host.engine.call("endpoint.inspect", {"network": "net1", "container": "cni:c1"}))["link"]
    assert result == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": link},
            {"name": "eth0", "mac": "02:77:0a:37:00:02", "mtu": 1400, "sandbox": "/run/netns/c1"},
        ],
        "ips": [{"address": "10.55.0.2/24", "gateway": "10.55.0.1", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.55.0.1"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    address = ("address", Netns("/run/netns/c1"), "eth0", ip_interface("10.55.0.2/24"))
    assert address in host.member.kernel.read(Netns("/run/netns/c1")).objects


@pytest.mark.parametrize(
    ("config", "ip", "has_mtu"),
    [
        (OLD, {"version": "4", "address": "10.55.0.2/24", "gateway": "10.55.0.1", "interface": 1}, False),
        (MIDDLE, {"address": "10.55.0.2/24", "gateway": "10.55.0.1", "interface": 1}, False),
        (NEW, {"address": "10.55.0.2/24", "gateway": "10.55.0.1", "interface": 1}, True),
    ],
    ids=["0.4.0", "1.0.0", "1.1.0"],
)
async def test_each_version_has_its_own_result(config, ip, has_mtu) -> None:
    host = await Host.start("c1")
    result = await host.done("ADD", config)
    assert result["cniVersion"] == config["cniVersion"]
    assert result["ips"] == [ip]
    assert ["mtu" in interface for interface in result["interfaces"]][-1] == has_mtu


async def test_both_ip_versions() -> None:
    host = await Host.start("c1")
    config = {**OLD, "subnet": "", "ipam": {"ranges": [[{"subnet": "10.55.0.0/24"}], [{"subnet": "fd55::/64"}]]}}
    result = await host.done("ADD", config)
    assert [ip["version"] for ip in result["ips"]] == ["4", "6"]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]


async def test_a_result_stands_behind_that_of_the_plugins_before() -> None:
    host = await Host.start("c1")
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo0", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": "192.0.2.1/32", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    result = await host.done("ADD", {**NEW, "prevResult": before})
    assert [i["name"] for i in result["interfaces"]][::2] == ["lo0", "eth0"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 2]
    assert result["routes"][0] == {"dst": "192.0.2.0/24"}
    assert result["dns"] == {"nameservers": ["192.0.2.53"]}


async def test_the_same_network_twice_by_two_interfaces() -> None:
    host = await Host.start("c1")
    for ifname in ("eth0", "eth1"):
        await host.done("ADD", IFNAME=ifname)
    assert sorted((r["ifname"], r["addresses"]) for r in await host.rows()) == [
        ("eth0", ["10.55.0.2/24"]),
        ("eth1", ["10.55.0.3/24"]),
    ]
    await host.done("DEL", IFNAME="eth0")
    assert [r["ifname"] for r in await host.rows()] == ["eth1"]


async def test_an_add_twice_is_an_error_and_a_del_twice_is_none() -> None:
    host = await Host.start("c1")
    await host.done("ADD")
    assert (await host.refused("ADD"))["code"] == 101
    assert len(await host.rows()) == 1
    assert [await host.done("DEL") for _ in range(3)] == [None, None, None]
    assert await host.rows() == []


async def test_a_del_needs_no_namespace_and_no_result() -> None:
    host = await Host.start("c1")
    await host.done("ADD")
    host.remove("/run/netns/c1")
    await host.done("DEL", NETNS="")
    assert await host.rows() == []


async def test_a_container_that_is_made_again_after_a_boot_takes_the_place_of_the_old() -> None:
    host = await Host.start("c1")
    first = await host.done("ADD", {**NEW, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}})
    host.remove("/run/netns/c1")
    host.make("/run/netns/c1")
    again = await host.done("ADD", {**NEW, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}})
    assert again["ips"] == first["ips"]
    assert len(await host.rows()) == 1


async def test_the_agent_frees_what_has_no_namespace_any_more() -> None:
    host = await Host.start("c1", "c2")
    for name in ("c1", "c2"):
        await host.done("ADD", CONTAINERID=name)
    host.remove("/run/netns/c1")
    await host.engine.endpoints.following.find_all()
    assert [r["container"] for r in await host.rows()] == ["cni:c2"]


async def test_a_full_network_is_cleared_of_the_dead_before_an_add_fails() -> None:
    host = await Host.start("c1", "c2", "c3")
    small = {**NEW, "subnet": "10.55.0.0/30"}
    await host.done("ADD", small)
    host.remove("/run/netns/c1")
    result = await host.done("ADD", small, CONTAINERID="c2")
    assert [ip["address"] for ip in result["ips"]] == ["10.55.0.2/30"]
    assert (await host.refused("ADD", small, CONTAINERID="c3"))["code"] == 100


async def test_check_compares_with_the_result_and_with_the_kernel() -> None:
    host = await Host.start("c1")
    result = await host.done("ADD")
    known = {**NEW, "prevResult": result}
    assert await host.done("CHECK", known) is None
    assert (await host.refused("CHECK", NEW))["code"] == 7
    other = {**result, "ips": [{"address": "10.55.0.9/24", "interface": 1}]}
    assert "10.55.0.2" in (await host.refused("CHECK", {**NEW, "prevResult": other}))["msg"]
    address = ip_interface("10.55.0.2/24")
    host.member.kernel.discard(("address", Netns("/run/netns/c1"), "eth0", address))
    found = await host.refused("CHECK", known)
    assert found["code"] == 103
    assert "10.55.0.2/24" in found["details"]
    await host.done("DEL")
    assert (await host.refused("CHECK", known))["code"] == 3


async def test_gc_frees_all_but_what_is_named() -> None:
    host = await Host.start("c1", "c2", "c3")
    for name in ("c1", "c2", "c3"):
        await host.done("ADD", CONTAINERID=name)
    host.remove("/run/netns/c3")
    await host.done("GC", {**NEW, "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]})
    assert [r["container"] for r in await host.rows()] == ["cni:c2"]
    await host.done("GC", {**NEW, "name": "another"})
    await host.done("GC")
    assert await host.rows() == []


async def test_gc_touches_nobody_elses_endpoint() -> None:
    host = await Host.start("c1")
    await host.done("ADD")
    host.member.add("bare")
    await host.engine.call("network.connect", {"network": "net1", "containers": ["netns:bare"]})
    await host.done("GC")
    assert [r["container"] for r in await host.rows()] == ["netns:bare"]


async def test_status_tells_whether_an_add_would_work() -> None:
    host = await Host.start("c1")
    small = {**NEW, "subnet": "10.55.0.0/30"}
    assert await host.done("STATUS", small) is None
    await host.done("ADD", small)
    assert (await host.refused("STATUS", small))["code"] == 50
    await host.done("DEL", small)
    assert await host.done("STATUS", small) is None


async def test_status_of_what_the_kernel_lacks() -> None:
    host = await Host.start("c1")
    await host.done("ADD")
    facts = host.engine.host.facts
    host.engine.host.facts = replace(facts, features={**dict.fromkeys(FEATURES, ""), "bridge": "not built"})
    found = await host.refused("STATUS")
    assert (found["code"], "bridge" in found["msg"]) == (50, True)


async def test_what_a_runtime_may_ask_for() -> None:
    host = await Host.start("c1")
    runtime = {
        "ips": ["10.55.0.77/24"],
        "mac": "02:00:00:00:00:77",
        "aliases": {"net1": ["db", "not_a_name"], "other": ["x"]},
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
            {"hostPort": 0, "containerPort": 99},
        ],
    }
    result = await host.done("ADD", {**NEW, "runtimeConfig": runtime}, ARGS="IgnoreUnknown=1;K8S_POD_NAME=web")
    row = (await host.rows())[0]
    assert result["interfaces"][1]["mac"] == "02:00:00:00:00:77"
    assert (row["addresses"], row["aliases"]) == (["10.55.0.77/24"], ["db", "web"])
    assert [(p["host_ip"], p["host_port"], p["port"], p["protocol"]) for p in row["ports"]] == [
        (None, 8080, 80, "tcp"),
        ("127.0.0.1", 5353, 53, "udp"),
    ]


@pytest.mark.parametrize(
    ("config", "variables"),
    [
        ({"args": {"cni": {"ips": ["10.55.0.9"]}}}, {}),
        ({}, {"ARGS": "IP=10.55.0.9"}),
        ({"runtimeConfig": {"ips": ["10.55.0.9/24"]}}, {"ARGS": "IP=10.55.0.9"}),
    ],
)
async def test_an_address_may_be_asked_for_in_three_ways(config, variables) -> None:
    host = await Host.start("c1")
    result = await host.done("ADD", {**NEW, **config}, **variables)
    assert [ip["address"] for ip in result["ips"]] == ["10.55.0.9/24"]


async def test_an_aliases_list_and_a_routes_list() -> None:
    host = await Host.start("c1")
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.55.0.7"}]
    config = {**NEW, "isDefaultGateway": False, "runtimeConfig": {"aliases": ["db"]}, "ipam": {"routes": routes}}
    result = await host.done("ADD", config)
    assert result["routes"] == [{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.55.0.7"}]
    assert (await host.rows())[0]["aliases"] == ["db"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"rangeStart": "10.55.0.128", "rangeEnd": "10.55.0.191"}, "10.55.0.129/24"),
        ({"rangeStart": "10.55.0.10", "rangeEnd": "10.55.0.200"}, "10.55.0.10/24"),
        ({"rangeStart": "10.55.0.10"}, "10.55.0.10/24"),
        ({"gateway": "10.55.0.254"}, "10.55.0.1/24"),
    ],
)
async def test_a_range_of_host_local(bounds, expected) -> None:
    host = await Host.start("c1")
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.55.0.0/24", **bounds}]]}
    result = await host.done("ADD", {**NEW, "subnet": "", "ipam": ipam})
    wanted = "10.55.0.128/24" if bounds.get("rangeEnd") == "10.55.0.191" else expected
    assert result["ips"][0]["address"] == wanted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cniVersion": "9.9.9"}, 1),
        ({"cniVersion": None}, 1),
        ({"cniVersion": "0.2.0"}, 1),
        ({"cniVersion": 7}, 7),
        ({"name": ""}, 7),
        ({"name": "a/b"}, 7),
        ({"subnet": "10.55.0.1/24"}, 7),
        ({"subnet": "", "ipam": {"type": "dhcp"}}, 2),
        ({"subnet": "", "ipam": {"ranges": [{"subnet": "10.0.0.0/24"}]}}, 7),
        ({"subnet": "", "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]]}}, 2),
        ({"subnet": "", "ipam": {"subnet": "10.1.0.0/16", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.200.1"}}, 7),
        ({"driver": "nosuch"}, 7),
        ({"mtu": -1}, 7),
        ({"mtu": 20}, 7),
        ({"ipMasq": "yes"}, 7),
        ({"runtimeConfig": {"mac": "01:00:00:00:00:01"}}, 7),
        ({"runtimeConfig": {"ips": ["192.0.2.1"]}}, 7),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 1}]}}, 7),
        ({"runtimeConfig": {"portMappings": "80"}}, 7),
        ({"runtimeConfig": []}, 7),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": "fast"}}}, 7),
        ({"runtimeConfig": {"bandwidth": {"ingressRate": 1 << 50}}}, 7),
        ({"options": {"no-such-option": "1"}}, 7),
    ],
)
async def test_a_wrong_configuration_has_its_code_and_changes_nothing(change, code) -> None:
    host = await Host.start("c1")
    before = host.member.state()
    assert (await host.refused("ADD", {**NEW, **change}))["code"] == code
    assert host.member.state() == before
    assert await host.rows() == []


@pytest.mark.parametrize(
    ("command", "variables", "code"),
    [
        ("", {}, 4),
        ("add", {}, 4),
        ("ADD", {"CONTAINERID": ""}, 4),
        ("ADD", {"CONTAINERID": "../x"}, 4),
        ("ADD", {"CONTAINERID": "x" * 200}, 4),
        ("ADD", {"IFNAME": "a/b"}, 4),
        ("ADD", {"IFNAME": "sixteen-letters-"}, 4),
        ("ADD", {"NETNS": ""}, 4),
        ("CHECK", {"NETNS": ""}, 4),
        ("ADD", {"NETNS": "/run/netns/nobody"}, 3),
        ("ADD", {"NETNS": "relative"}, 7),
        ("DEL", {"IFNAME": ""}, 4),
    ],
)
async def test_a_wrong_environment_has_its_code(command, variables, code) -> None:
    host = await Host.start("c1")
    assert (await host.refused(command, **{"CONTAINERID": "c1", "NETNS": "/run/netns/c1", **variables}))["code"] == code
    assert await host.rows() == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100000])
async def test_what_is_no_configuration_cannot_be_decoded(text) -> None:
    host = await Host.start("c1")
    assert (await host.refused("ADD", text))["code"] == 6


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
@pytest.mark.parametrize("command", ["GC", "STATUS"])
async def test_verbs_that_came_later(command, version) -> None:
    host = await Host.start("c1")
    assert (await host.refused(command, {**NEW, "cniVersion": version}))["code"] == 1


async def test_an_error_is_told_in_the_version_of_the_configuration() -> None:
    host = await Host.start("c1")
    assert (await host.refused("ADD", {**OLD, "mtu": 20}))["cniVersion"] == "0.4.0"


async def test_version() -> None:
    host = await Host.start()
    assert await host.done("VERSION", {"cniVersion": "1.0.0"}) == {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}


async def test_a_store_that_is_away_means_later() -> None:
    host = await Host.start("c1", "c2")
    await host.done("ADD")
    host.member.cluster.cut = True
    await host.done("ADD", CONTAINERID="c2")
    assert (await host.refused("ADD", {**NEW, "name": "fresh", "subnet": "10.77.0.0/24"}, IFNAME="eth7"))["code"] == 11
    await host.done("DEL")


KEYS = st.sampled_from(
    ["cniVersion", "name", "network", "driver", "backend", "subnet", "mtu", "ipam", "ranges", "routes", "runtimeConfig", "ips",
     "mac", "aliases", "portMappings", "hostPort", "containerPort", "hostIP", "args", "cni", "prevResult", "interfaces", "dns",
     "options", "cni.dev/valid-attachments", "containerID", "ifname", "rangeStart", "dst", "gw"]
)  # fmt: skip
WORDS = st.sampled_from(["1.1.0", "0.4.0", "net1", "10.55.0.0/24", "10.55.0.5", "fd55::/64", "eth0", "bridge", "", "é", "\0"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
VARIABLES = st.dictionaries(
    st.sampled_from(["CONTAINERID", "NETNS", "IFNAME", "ARGS"]), WORDS | st.sampled_from(["c1", "/run/netns/c1", "a=b;;=;IP"])
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    command=st.sampled_from([*NEEDS, "X", ""]),
    config=st.dictionaries(KEYS, VALUES),
    raw=st.none() | st.binary(max_size=20),
    variables=VARIABLES,
)
async def test_whatever_comes_gets_an_answer_of_the_specification(command, config, raw, variables) -> None:
    host = await Host.start("c1")
    given = raw if raw is not None else {**NEW, **config}
    answer = await host.call(command, given, **variables)
    if answer.exit_code:
        assert set(answer.output) == {"cniVersion", "code", "msg", "details"}
        assert answer.output["code"] != 199, answer.output
    else:
        assert answer.output is None or "cniVersion" in answer.output
