"""The CNI plugin on a real kernel: the sequences of the specification by its own driver (environment and standard input)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wefted.errors import Unsupported
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.plugins.native import program

from .acceptance import lab_name, ping, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

CONFIG = {"cniVersion": "1.1.0", "name": "net1", "type": "wefted", "ipam": {"ranges": [[{"subnet": "10.55.0.0/24"}]]}}
HOME = "/etc/wefted/cni-bin"
"""On the part of a virtual host's disk that outlasts a boot."""


def need_program() -> None:
    """Skip, by name, where the plugin has not been compiled."""
    try:
        program()
    except Unsupported as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One host with an agent, and the plugin installed."""
    need_program()
    with Lab.up(lab_name("cni"), 1, bare=True) as made:
        wefted(made.host("h1"), "up")
        wefted(made.host("h1"), "cni", "install", "--dir", HOME)
        yield made


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """The host, with its agent running; the containers of the test are gone at the end."""
    yield lab.host("h1")
    h1 = lab.host("h1")
    wefted(h1, "up")
    call(h1, "GC", "", {**CONFIG, "cni.dev/valid-attachments": []})
    for name in h1.run(["ls", "/run/netns"], check=False).stdout.split():
        h1.run(["ip", "netns", "del", name])


def call(host: Host, command: str, name: str, config: Any = CONFIG, ifname: str = "eth0", netns: str | None = None) -> Any:
    """Call the plugin as libcni does; return exit code and what it printed as JSON, None for nothing."""
    place = f"/run/netns/{name}" if netns is None else netns
    variables = {"COMMAND": command, "CONTAINERID": name, "NETNS": place, "IFNAME": ifname, "PATH": HOME}
    words = [f"CNI_{key}={value}" for key, value in variables.items()]
    done = host.run(["env", *words, f"{HOME}/wefted"], input=json.dumps(config), check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None


def make(host: Host, name: str) -> str:
    host.run(["ip", "netns", "add", name])
    return name


def inside(host: Host, name: str, *words: str) -> Any:
    return json.loads(host.run(["ip", "-n", name, "-j", *words]).stdout)


def test_the_result_is_what_the_kernel_has(host: Host) -> None:
    code, result = call(host, "ADD", make(host, "c1"))
    assert code == 0, result
    outer, inner = result["interfaces"]
    shown = inside(host, "c1", "address", "show", "dev", "eth0")[0]
    assert (shown["address"], shown["mtu"]) == (inner["mac"], inner["mtu"])
    local = [f"{a['local']}/{a['prefixlen']}" for a in shown["addr_info"] if a["scope"] == "global"]
    assert local == [result["ips"][0]["address"]]
    mine = json.loads(host.run(["ip", "-j", "link", "show", "dev", outer["name"]]).stdout)[0]
    assert (mine["address"], mine["mtu"]) == (outer["mac"], outer["mtu"])
    default = inside(host, "c1", "route", "show", "default")[0]
    assert [{"dst": "0.0.0.0/0", "gw": default["gateway"]}] == result["routes"]
    assert result["dns"]["nameservers"] == [default["gateway"]]
    assert ping(host, "c1", default["gateway"])


def test_add_check_and_del(host: Host) -> None:
    _, result = call(host, "ADD", make(host, "c1"))
    known = {**CONFIG, "prevResult": result}
    assert call(host, "CHECK", "c1", known) == (0, None)
    host.run(["ip", "-n", "c1", "link", "set", "dev", "eth0", "mtu", "1200"])
    wait_for(lambda: call(host, "CHECK", "c1", known)[0] == 0, 10, "the agent's repair")
    assert call(host, "DEL", "c1", known) == (0, None)
    assert call(host, "DEL", "c1", known) == (0, None)
    assert [link["ifname"] for link in inside(host, "c1", "link")] == ["lo"]
    code, error = call(host, "CHECK", "c1", known)
    assert (code, error["code"]) == (1, 3)


def test_containers_reach_each_other_and_one_has_two_interfaces(host: Host) -> None:
    for name in ("c1", "c2"):
        assert call(host, "ADD", make(host, name))[0] == 0
    second = call(host, "ADD", "c1", ifname="net7")[1]
    assert ping(host, "c2", second["ips"][0]["address"].split("/")[0])
    assert call(host, "DEL", "c1", ifname="eth0") == (0, None)
    assert [link["ifname"] for link in inside(host, "c1", "link")] == ["lo", "net7"]


def test_a_namespace_that_goes_without_a_word_frees_everything(host: Host) -> None:
    address = call(host, "ADD", make(host, "c1"))[1]["ips"][0]["address"]
    host.run(["ip", "netns", "del", "c1"])
    wait_for(lambda: wefted(host, "ps") == [], 5, "the endpoint to go")
    assert call(host, "DEL", "c1", netns="") == (0, None)
    wanted = {**CONFIG, "runtimeConfig": {"ips": [address]}}
    assert call(host, "ADD", make(host, "c2"), wanted)[1]["ips"][0]["address"] == address


def test_a_container_gets_and_sends_no_more_than_it_may(host: Host) -> None:
    limits = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 16_000_000, "egressBurst": 800_000}
    code, result = call(host, "ADD", make(host, "c1"), {**CONFIG, "runtimeConfig": {"bandwidth": limits}})
    assert code == 0, result
    outer = json.loads(host.run(["tc", "-j", "qdisc", "show", "dev", result["interfaces"][0]["name"]]).stdout)[0]
    inner = json.loads(host.run(["ip", "netns", "exec", "c1", "tc", "-j", "qdisc", "show", "dev", "eth0"]).stdout)[0]
    assert (outer["kind"], outer["options"]["rate"]) == ("tbf", 1_000_000)
    assert (inner["kind"], inner["options"]["rate"]) == ("tbf", 2_000_000)
    assert call(host, "CHECK", "c1", {**CONFIG, "prevResult": result}) == (0, None)
    assert call(host, "DEL", "c1") == (0, None)


def test_gc_and_status(host: Host) -> None:
    for name in ("c1", "c2", "c3"):
        call(host, "ADD", make(host, name))
    assert call(host, "STATUS", "") == (0, None)
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    assert call(host, "GC", "", {**CONFIG, "cni.dev/valid-attachments": valid}) == (0, None)
    assert [row["container"] for row in wefted(host, "ps")] == ["cni:c2"]


def test_sixteen_at_once(host: Host) -> None:
    names = [make(host, f"p{number}") for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: call(host, "ADD", name), names))
    assert [code for code, _ in results] == [0] * 16
    assert len({result["ips"][0]["address"] for _, result in results}) == 16
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: call(host, "DEL", name), names)) == [(0, None)] * 16
    assert wefted(host, "ps") == []


def test_without_the_agent_it_is_slower_and_the_same(host: Host) -> None:
    wefted(host, "down")
    code, result = call(host, "ADD", make(host, "c1"))
    assert code == 0, result
    assert ping(host, "c1", result["ips"][0]["gateway"])
    assert call(host, "CHECK", "c1", {**CONFIG, "prevResult": result}) == (0, None)
    code, error = call(host, "ADD", "c1")
    assert (code, error["code"]) == (1, 101)
    assert call(host, "DEL", "c1") == (0, None)
    assert wefted(host, "ps") == []


def test_a_boot_frees_what_was_attached(lab: Lab, host: Host) -> None:
    assert call(host, "ADD", make(host, "c1"))[0] == 0
    lab.poweroff("h1")
    lab.boot("h1")
    h1 = lab.host("h1")
    assert [row["container"] for row in wefted(h1, "ps")] == ["cni:c1"], "nobody has looked yet"
    wefted(h1, "up")
    assert wefted(h1, "ps") == []
    assert call(h1, "DEL", "c1", netns="") == (0, None)


def test_a_chain_with_the_plugins_of_others(host: Host) -> None:
    tuning = shutil.which("tuning", path="/usr/lib/cni:/opt/cni/bin")
    if tuning is None:
        pytest.skip("the CNI plugin tuning is not installed")
    config = {**CONFIG, "cniVersion": "1.0.0"}
    _, first = call(host, "ADD", make(host, "c1"), config)
    then = {"cniVersion": "1.0.0", "name": "net1", "type": "tuning", "mtu": 1300, "prevResult": first}
    variables = ["CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/c1", "CNI_IFNAME=eth0", f"CNI_PATH={HOME}"]
    done = host.run(["env", *variables, tuning], input=json.dumps(then), check=False)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ips"] == first["ips"]
    assert call(host, "DEL", "c1", {**config, "prevResult": json.loads(done.stdout)}) == (0, None)
