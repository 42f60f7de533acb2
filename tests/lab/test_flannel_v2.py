"""Networks of old flannel's, in etcd's API v2, as the classic texts type it: `etcdctl mk`, `set`, `ls`, `curl -XPUT`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address, ip_interface
from random import Random
from subprocess import Popen
from typing import Any

import pytest

from wefted.engine.flannel import Keeper
from wefted.lab.agents import answers
from wefted.lab.host import Host
from wefted.lab.lab import Lab
from wefted.model import flannel_lease
from wefted.model.node import Node
from wefted.model.records import Put
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.open import open_flannel
from wefted.store.url import EtcdSpec
from wefted.testing.etcd import EtcdCluster

from .acceptance import lab_name, ping, wait_for, wefted
from .flannel_lab import NOTHING, PEER_MAC, Etcd, complete, connected, env, key_of, known, up

pytestmark = pytest.mark.lab

PREFIX = "/atomic.io/network"
SUBNETS = f"{PREFIX}/subnets"
BIN = "/run/classics"
NAMES = ("h1", "h2", "h3")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("flannelv2"), 4, bare=True) as made:
        yield made


@pytest.fixture(scope="module")
def etcd(lab: Lab) -> Etcd:
    """An etcd that serves both APIs, with the configuration in v2 alone."""
    running = Etcd(lab.host("h4"), ("--enable-v2",))
    running.start()
    config = '{ "Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": { "Type": "vxlan" } }'
    ctl2(running, "mk", f"{PREFIX}/config", config)
    assert ctl2(running, "get", f"{PREFIX}/config") == [config]
    assert running.ctl("get", "--prefix", "--keys-only", "/").stdout.strip() == ""
    return running


def ctl2(etcd: Etcd, *words: str, check: bool = True) -> list[str]:
    """Run etcd's own client as it was before v3; return its lines."""
    return list(etcd.ctl(*words, api="2", check=check).stdout.splitlines())


def keys(etcd: Etcd) -> set[str]:
    """Return what `etcdctl ls` shows of the subnets."""
    return {line.removeprefix(f"{SUBNETS}/") for line in ctl2(etcd, "ls", SUBNETS, check=False)}


def peer(etcd: Etcd, subnet: str, public: str, mac: str = PEER_MAC) -> None:
    """Write the lease of a host that is not there, as flannel 0.11 did."""
    value = f'{{"PublicIP":"{public}","BackendType":"vxlan","BackendData":{{"VtepMAC":"{mac}"}}}}'
    ctl2(etcd, "set", "--ttl", "86400", f"{SUBNETS}/{subnet.replace('/', '-')}", value)


def flanneld(lab: Lab, etcd: Etcd) -> Popen[Any]:
    """Start the daemon on the first host, without a word about APIs."""
    words = [f"{BIN}/flanneld", f"-etcd-endpoints={etcd.url}", f"-etcd-prefix={PREFIX}", "-iface=eth0"]
    return lab.host("h1").popen(words)


@pytest.fixture(scope="module")
def joined(lab: Lab, etcd: Etcd) -> dict[str, dict[str, str]]:
    """Three hosts in the network: one by `flanneld`, one that was told the API, one that finds it; the environment files."""
    lab.host("h1").run(["mkdir", "-p", BIN])
    lab.host("h1").run(["wefted", "compat", "install", BIN])
    flanneld(lab, etcd)
    up(lab, etcd, "h2", "h3")
    wefted(lab.host("h2"), "flannel", "join", "--prefix", PREFIX, "--api", "2")
    wefted(lab.host("h3"), "flannel", "join", "--prefix", PREFIX)
    for name in NAMES:
        wait_for(lambda: bool(env(lab.host(name))), 10, f"subnet.env on {name}")  # noqa: B023
    return {name: env(lab.host(name)) for name in NAMES}


@pytest.fixture(scope="module")
def containers(lab: Lab, joined: dict[str, dict[str, str]]) -> dict[str, str]:
    """A container on each host; their addresses."""
    return {name: connected(lab.host(name), "flannel", "c") for name in NAMES}


def all_reach_all(lab: Lab, containers: dict[str, str]) -> None:
    for a in NAMES:
        for b in NAMES:
            wait_for(lambda: a == b or ping(lab.host(a), "c", containers[b]), 10, f"{a} reaches {b}")  # noqa: B023


def test_etcdctl_shows_the_records_as_flannel_wrote_them(lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]]) -> None:
    assert sorted(ctl2(etcd, "ls", PREFIX)) == [f"{PREFIX}/config", SUBNETS]
    assert keys(etcd) == {key_of(found) for found in joined.values()}
    for name in NAMES:
        host = lab.host(name)
        assert next(iter(joined[name].items())) == ("FLANNEL_NETWORK", "10.5.0.0/16")
        value = ctl2(etcd, "get", f"{SUBNETS}/{key_of(joined[name])}")[0]
        mac = json.loads(host.run(["ip", "-j", "link", "show", "flannel.1"]).stdout)[0]["address"]
        expected = {"PublicIP": str(host.address), "BackendType": "vxlan", "BackendData": {"VtepMAC": mac}}
        assert value == json.dumps(expected, separators=(",", ":"))
        shown = etcd.ctl("-o", "extended", "get", f"{SUBNETS}/{key_of(joined[name])}", api="2").stdout
        ttl = int(next(line for line in shown.splitlines() if line.startswith("TTL:")).split()[1])
        assert 86400 - 300 < ttl <= 86400
        row = wefted(host, "flannel", "ls")[0]
        assert (row["api"], row["error"]) == ("2", "")
    assert etcd.ctl("get", "--prefix", "--keys-only", PREFIX).stdout.strip() == "", "in the API v3 flannel has nothing"


def test_containers_of_all_hosts_reach_each_other(lab: Lab, containers: dict[str, str]) -> None:
    all_reach_all(lab, containers)
    assert wefted(lab.host("h2"), "plan") == {"changes": []}


def test_a_peer_that_runs_an_old_flanneld_is_followed(lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]]) -> None:
    peer(etcd, "10.5.200.0/24", "203.0.113.9")
    for name in NAMES:
        wait_for(lambda: known(lab.host(name), "10.5.200.0/24", "203.0.113.9") == complete(), 5, "the peer is known")  # noqa: B023
    ctl2(etcd, "rm", f"{SUBNETS}/10.5.200.0-24")
    for name in NAMES:
        wait_for(lambda: known(lab.host(name), "10.5.200.0/24", "203.0.113.9") == NOTHING, 5, "the peer is forgotten")  # noqa: B023


def test_a_lost_lease_is_taken_again(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    """flannel: "Lease has been revoked. Shutting down daemon." """
    ctl2(etcd, "rm", f"{SUBNETS}/{key_of(joined['h2'])}")
    wait_for(lambda: key_of(joined["h2"]) in keys(etcd), 5, "the record is back")
    ctl2(etcd, "rm", "--recursive", SUBNETS)
    wait_for(lambda: keys(etcd) == {key_of(found) for found in joined.values()}, 10, "all records are back")
    assert {name: env(lab.host(name)) for name in NAMES} == joined
    all_reach_all(lab, containers)


def test_a_restart_keeps_the_subnet(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    h3 = lab.host("h3")
    h3.run(["kill", "-9", str(wefted(h3, "status")["agent"]["pid"])])
    h3.run(["rm", "/run/flannel/subnet.env"])
    h3.run(["wefted", "up"])
    wait_for(lambda: env(h3) == joined["h3"], 10, "the same environment file")
    h1 = lab.host("h1")
    h1.run(["kill", str(wefted(h1, "status")["agent"]["pid"])])
    wait_for(lambda: h1.run(["test", "-S", "/run/wefted/wefted.sock"], check=False).returncode != 0, 10, "flanneld has ended")
    flanneld(lab, etcd)
    wait_for(lambda: answers(h1), 10, "flanneld runs")
    wait_for(lambda: not wefted(h1, "flannel", "ls")[0]["error"], 10, "it holds a subnet")
    assert env(h1) == joined["h1"]
    assert keys(etcd) == {key_of(found) for found in joined.values()}
    all_reach_all(lab, containers)


def test_an_etcd_that_starts_again_or_is_silent_costs_nothing(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    assert etcd.child is not None
    etcd.child.send_signal(signal.SIGSTOP)
    assert ping(lab.host("h1"), "c", containers["h2"]), "without etcd the traffic goes on"
    etcd.child.send_signal(signal.SIGCONT)
    etcd.stop()
    etcd.start()
    peer(etcd, "10.5.203.0/24", "203.0.113.13")
    for name in NAMES:
        wait_for(lambda: known(lab.host(name), "10.5.203.0/24", "203.0.113.13") == complete(), 10, "a new peer is seen")  # noqa: B023
    ctl2(etcd, "rm", f"{SUBNETS}/10.5.203.0-24")


def test_an_etcd_that_lost_its_data_is_filled_again(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    """flannel: no record comes back for a day, and no new peer is seen."""
    for number in range(30):  # the new etcd's numbers shall lie far behind
        ctl2(etcd, "set", "/elsewhere", str(number))
    etcd.stop(wipe=True)
    etcd.start()
    wait_for(lambda: keys(etcd) == {key_of(found) for found in joined.values()}, 20, "all records are there again")
    assert json.loads(ctl2(etcd, "get", f"{PREFIX}/config")[0])["Network"] == "10.5.0.0/16"
    peer(etcd, "10.5.202.0/24", "203.0.113.12")
    for name in NAMES:
        wait_for(lambda: known(lab.host(name), "10.5.202.0/24", "203.0.113.12") == complete(), 5, "a new peer is seen")  # noqa: B023
        assert env(lab.host(name)) == joined[name]
    ctl2(etcd, "rm", f"{SUBNETS}/10.5.202.0-24")
    all_reach_all(lab, containers)


def test_an_etcd_that_came_back_without_the_api_v2_costs_no_peer(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    h1 = lab.host("h1")
    etcd.stop()
    etcd.flags = ()
    etcd.start()
    refused = wefted(lab.host("h2"), "flannel", "join", "--name", "other", "--prefix", "/other", "--api", "2",
                     "--subnet-file", "/run/flannel/other.env")  # fmt: skip
    assert refused["api"] == "2"

    def told() -> bool:
        row = next(row for row in wefted(lab.host("h2"), "flannel", "ls") if row["name"] == "other")
        return "does not serve the API v2" in row["error"]

    wait_for(told, 5, "what is wrong is told")
    wefted(lab.host("h2"), "flannel", "leave", "other")
    all_reach_all(lab, containers)
    assert {name: env(lab.host(name)) for name in NAMES} == joined
    etcd.stop()
    etcd.flags = ("--enable-v2",)
    etcd.start()
    peer(etcd, "10.5.204.0/24", "203.0.113.14")
    wait_for(lambda: known(h1, "10.5.204.0/24", "203.0.113.14") == complete(), 10, "a new peer is seen")
    ctl2(etcd, "rm", f"{SUBNETS}/10.5.204.0-24")


def test_another_network_is_configured_with_curl_and_set(lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]]) -> None:
    host: Host = lab.host("h2")
    put = ["curl", "-sSL", f"{etcd.url}/v2/keys/coreos.com/network/config", "-XPUT", "-d"]
    host.run([*put, 'value={"Network": "10.6.0.0/16", "Backend": {"Type": "udp"}}'])
    wefted(host, "flannel", "join", "--name", "second", "--subnet-file", "/run/flannel/second.env")
    wait_for(lambda: bool(env(host, "/run/flannel/second.env")), 10, "its environment file")
    key = key_of(env(host, "/run/flannel/second.env"))
    assert ctl2(etcd, "ls", "/coreos.com/network/subnets") == [f"/coreos.com/network/subnets/{key}"]
    assert ctl2(etcd, "get", f"/coreos.com/network/subnets/{key}") == [f'{{"PublicIP":"{host.address}"}}']
    ctl2(etcd, "set", "/coreos.com/network/config", '{"Network": "10.7.0.0/16", "Backend": {"Type": "udp"}}')
    wait_for(lambda: env(host, "/run/flannel/second.env")["FLANNEL_NETWORK"] == "10.7.0.0/16", 10, "the new configuration")
    wefted(host, "flannel", "leave", "second")
    assert ctl2(etcd, "ls", "/coreos.com/network/subnets") == []


def test_networks_under_a_prefix_are_joined_as_they_come(lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]]) -> None:
    host = lab.host("h2")
    wefted(host, "flannel", "watch", "/nets")
    ctl2(etcd, "set", "/nets/blue/config", '{"Network": "10.40.0.0/16", "Backend": {"Type": "udp", "Port": 8286}}')
    path = "/run/flannel/networks/blue.env"
    wait_for(lambda: env(host, path).get("FLANNEL_NETWORK") == "10.40.0.0/16", 10, "the network that came later")
    assert [row["api"] for row in wefted(host, "flannel", "ls") if row["name"] == "blue"] == ["2"]
    wefted(host, "flannel", "watch", "/nets", "--stop")
    wefted(host, "flannel", "leave", "blue")
    assert ctl2(etcd, "ls", "/nets/blue/subnets") == []


def test_a_network_moves_to_the_api_v3_with_its_subnets(
    lab: Lab, etcd: Etcd, joined: dict[str, dict[str, str]], containers: dict[str, str]
) -> None:
    """The way to a newer flannel, or to an etcd without the old API."""
    etcd.configure(PREFIX)
    for name in ("h2", "h3"):
        wefted(lab.host(name), "flannel", "join", "--prefix", PREFIX, "--api", "3")
    wait_for(lambda: set(etcd.keys(PREFIX)) == {key_of(joined["h2"]), key_of(joined["h3"])}, 10, "their records are in v3")
    assert keys(etcd) == {key_of(joined["h1"])}
    assert {name: env(lab.host(name)) for name in ("h2", "h3")} == {name: joined[name] for name in ("h2", "h3")}
    wait_for(lambda: ping(lab.host("h2"), "c", containers["h3"]), 10, "h2 reaches h3")


# -- without hosts, at one etcd --------------------------------------------------------------------------------------------


@pytest.fixture
async def stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[FlannelStore]]:
    """The stores of twenty hosts, at one real etcd."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), flags=("--enable-v2",)) as cluster:
        spec = EtcdSpec(endpoints=cluster.endpoints, timeout=10)
        opened = [open_flannel(spec, [Mount("old", f"{PREFIX}/", auto=True)]) for _ in range(20)]
        yield opened
        for store in opened:
            await store.close()


@pytest.mark.parametrize("public", ["", "10.0.2.15"], ids=["own addresses", "one address for all"])
async def test_twenty_hosts_that_draw_the_same_numbers_all_get_a_subnet(stores: list[FlannelStore], public: str) -> None:
    """flannel: of 12 hosts 10 or 11 live, and those behind one address all take the same subnet."""
    root, _ = stores[0].place_of(Mount("", f"{PREFIX}/", is_v2=True))
    await root.write([Put(f"{PREFIX}/config", b'{"Network": "10.5.0.0/16"}')])
    keepers = []
    for number, store in enumerate(stores, 1):
        address = public or f"192.0.2.{number}"
        node = Node(id=f"node-{number}", name=f"h{number}", underlay=(ip_interface(f"{address}/24"),), device="eth0")
        keepers.append(Keeper(store, "old", node, IPv4Address(address), random=Random(0)))
    leases = await asyncio.gather(*(keeper.acquire() for keeper in keepers))
    assert len({lease.subnet for lease in leases}) == 20
    raw, nodes = await stores[0].raw_leases("old")
    assert nodes == {flannel_lease.key(lease): f"node-{number}" for number, lease in enumerate(leases, 1)}
    assert set(raw.items) == set(nodes)
