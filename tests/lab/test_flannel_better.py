"""What flannel 0.20 does badly in a cluster that lives, done well. Each docstring says what flannel does instead."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.lab import Lab

from .acceptance import lab_name, ping, wait_for, wefted
from .flannel_lab import NOTHING, Etcd, complete, connected, env, key_of, known, up

pytestmark = pytest.mark.lab

PREFIX = "/coreos.com/network"
OTHER_MAC = "aa:36:36:1c:6d:44"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("better"), 3, bare=True) as made:
        yield made


@pytest.fixture(scope="module")
def etcd(lab: Lab) -> Etcd:
    running = Etcd(lab.host("h3"))
    running.start()
    return running


@pytest.fixture(scope="module")
def pair(lab: Lab, etcd: Etcd) -> dict[str, str]:
    """Two hosts in one network, with a container each; the containers' addresses."""
    etcd.configure(PREFIX)
    up(lab, etcd, "h1", "h2")
    for name in ("h1", "h2"):
        wefted(lab.host(name), "flannel", "join")
        wait_for(lambda: bool(env(lab.host(name))), 5, "subnet.env")  # noqa: B023
    return {name: connected(lab.host(name), "flannel", "c") for name in ("h1", "h2")}


def each_reaches_the_other(lab: Lab, pair: dict[str, str]) -> None:
    for a, b in (("h1", "h2"), ("h2", "h1")):
        wait_for(lambda: ping(lab.host(a), "c", pair[b]), 5, f"{a} reaches {b}")  # noqa: B023


def test_a_peer_that_went_while_the_agent_was_down_is_gone(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    """flannel: route, neighbour and forwarding entry stay for ever (its issue 2554)."""
    h1 = lab.host("h1")
    etcd.peer(PREFIX, "10.5.200.0/24", "203.0.113.9")
    wait_for(lambda: known(h1, "10.5.200.0/24", "203.0.113.9") == complete(), 5, "the peer is known")
    wefted(h1, "down")
    assert known(h1, "10.5.200.0/24", "203.0.113.9") == complete(), "without the agent the traffic goes on"
    etcd.ctl("del", f"{PREFIX}/subnets/10.5.200.0-24")
    wefted(h1, "up")
    wait_for(lambda: known(h1, "10.5.200.0/24", "203.0.113.9") == NOTHING, 5, "the peer is forgotten")
    each_reaches_the_other(lab, pair)


def test_a_peer_with_another_mac_leaves_nothing_of_the_old_one(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    """flannel: the forwarding table then holds both MACs."""
    h1 = lab.host("h1")
    etcd.peer(PREFIX, "10.5.201.0/24", "203.0.113.10")
    wait_for(lambda: known(h1, "10.5.201.0/24", "203.0.113.10") == complete(), 5, "the peer is known")
    etcd.peer(PREFIX, "10.5.201.0/24", "203.0.113.10", OTHER_MAC)
    wait_for(lambda: known(h1, "10.5.201.0/24", "203.0.113.10") == complete(OTHER_MAC), 5, "its new MAC alone")
    etcd.peer(PREFIX, "10.5.201.0/24", "203.0.113.11", OTHER_MAC)
    wait_for(lambda: known(h1, "10.5.201.0/24", "203.0.113.11") == complete(OTHER_MAC), 5, "its new address")
    assert not known(h1, "10.5.201.0/24", "203.0.113.10").forwards
    etcd.ctl("del", f"{PREFIX}/subnets/10.5.201.0-24")
    wait_for(lambda: known(h1, "10.5.201.0/24", "203.0.113.11") == NOTHING, 5, "the peer is forgotten")


@pytest.mark.parametrize("restored", [True, False], ids=["configured again by hand", "left empty"])
def test_an_etcd_that_lost_its_data_is_filled_again(lab: Lab, etcd: Etcd, pair: dict[str, str], restored: bool) -> None:
    """flannel: no record comes back before the next renewal, a day later; and no new peer is seen, for the watch waits for a
    revision that lies in the future."""
    subnets = {name: env(lab.host(name)) for name in ("h1", "h2")}
    for number in range(30):  # the new etcd's revisions shall lie far behind
        etcd.ctl("put", "/elsewhere", str(number))
    etcd.stop(wipe=True)
    assert ping(lab.host("h1"), "c", pair["h2"]), "without etcd the traffic goes on"
    etcd.start()
    if restored:
        etcd.configure(PREFIX)
    wanted = {key_of(found) for found in subnets.values()}
    wait_for(lambda: set(etcd.keys(PREFIX)) == wanted, 10, "both records are there again")
    assert json.loads(etcd.ctl("get", "--print-value-only", f"{PREFIX}/config").stdout)["Network"] == "10.5.0.0/16"
    etcd.peer(PREFIX, "10.5.202.0/24", "203.0.113.12")
    for host in (lab.host("h1"), lab.host("h2")):
        wait_for(lambda: known(host, "10.5.202.0/24", "203.0.113.12") == complete(), 5, "a new peer is seen")  # noqa: B023
        assert env(host) == subnets[host.name]
    each_reaches_the_other(lab, pair)
    assert wefted(lab.host("h1"), "plan") == {"changes": []}
    etcd.ctl("del", f"{PREFIX}/subnets/10.5.202.0-24")


def test_compaction_and_a_restart_of_etcd_cost_nothing(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    """flannel: after some restarts of etcd no new peer was seen for 8 to 20 s; after a compaction its watch fails for ever."""
    h1 = lab.host("h1")
    before = env(h1), etcd.keys(PREFIX)
    revision = json.loads(etcd.ctl("get", "x", "-w", "json").stdout)["header"]["revision"]
    etcd.ctl("compact", str(revision))
    etcd.stop()
    etcd.start()
    etcd.peer(PREFIX, "10.5.203.0/24", "203.0.113.13")
    wait_for(lambda: known(h1, "10.5.203.0/24", "203.0.113.13") == complete(), 5, "a new peer is seen")
    etcd.ctl("del", f"{PREFIX}/subnets/10.5.203.0-24")
    wait_for(lambda: known(h1, "10.5.203.0/24", "203.0.113.13") == NOTHING, 5, "it is forgotten")
    assert (env(h1), etcd.keys(PREFIX)) == before
    each_reaches_the_other(lab, pair)


def test_a_host_with_another_public_address_tells_the_others(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    """flannel: its identity is the public address, so that the host gets another subnet, and Docker's bridge must follow."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    before = env(h2)
    h2.run(["ip", "address", "add", "192.168.50.77/24", "dev", "eth0"])
    try:
        wefted(h2, "down")
        wefted(h2, "up", "--advertise", "192.168.50.77")
        wait_for(lambda: '"192.168.50.77"' in etcd.keys(PREFIX)[key_of(before)], 5, "the record says so")
        wait_for(lambda: bool(known(h1, _subnet(before), "192.168.50.77").forwards), 5, "the other host sends there")
        assert not known(h1, _subnet(before), str(h2.address)).forwards
        assert env(h2) == before
        each_reaches_the_other(lab, pair)
    finally:
        wefted(h2, "down")
        wefted(h2, "up", "--advertise", str(h2.address))
    wait_for(lambda: bool(known(h1, _subnet(before), str(h2.address)).forwards), 5, "and back")
    wefted(h2, "flannel", "join", "--public-ip", "203.0.113.50")
    wait_for(lambda: '"203.0.113.50"' in etcd.keys(PREFIX)[key_of(before)], 5, "also while it runs")
    wefted(h2, "flannel", "join")
    wait_for(lambda: f'"{h2.address}"' in etcd.keys(PREFIX)[key_of(before)], 5, "and back")
    each_reaches_the_other(lab, pair)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('{"Network": "10.5.0.0/16"', f"{PREFIX}/config: it is not JSON"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 31}', f"{PREFIX}/config: SubnetLen 31 leaves no room"),
        ("", f"{PREFIX}/config is not there"),
    ],
    ids=["damaged", "senseless", "deleted"],
)
def test_containers_survive_a_configuration_that_becomes_wrong(
    lab: Lab, etcd: Etcd, pair: dict[str, str], wrong: str, message: str
) -> None:
    """flannel: what runs goes on and says nothing; what starts then exits, or asks for ever."""
    h1 = lab.host("h1")
    before = env(h1)
    etcd.ctl(*(("put", f"{PREFIX}/config", wrong) if wrong else ("del", f"{PREFIX}/config")))
    try:
        wait_for(lambda: wefted(h1, "flannel", "ls")[0]["error"].startswith(message), 5, "it is told")
        assert wefted(h1, "flannel", "ls")[0]["error"].endswith("; what it said before goes on")
        wefted(h1, "down")
        wefted(h1, "up")
        wait_for(lambda: wefted(h1, "flannel", "ls")[0]["error"].startswith(message), 5, "also after a restart")
        assert env(h1) == before
        assert ping(h1, "c", pair["h2"])
        log = h1.run(["cat", "/var/lib/wefted/agent.log"]).stdout
        assert message in log
    finally:
        etcd.configure(PREFIX)
    wait_for(lambda: not wefted(h1, "flannel", "ls")[0]["error"], 5, "all is well again")
    each_reaches_the_other(lab, pair)


def test_both_ip_versions_in_one_network(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    prefix = "/dual/network"
    ranges = {"EnableIPv6": True, "IPv6Network": "fd05:12::/48", "IPv6SubnetLen": 64}
    etcd.configure(prefix, "10.6.0.0/16", Backend={"Type": "vxlan", "VNI": 6}, **ranges)
    found = {}
    for name in ("h1", "h2"):
        host = lab.host(name)
        wefted(host, "flannel", "join", "--name", "dual", "--prefix", prefix, "--subnet-file", "/run/flannel/dual.env")
        wait_for(lambda: bool(env(host, "/run/flannel/dual.env")), 5, "dual.env")  # noqa: B023
        lines = env(host, "/run/flannel/dual.env")
        assert list(lines) == [
            "FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ",
        ]  # fmt: skip
        connected(host, "dual", "d")
        row = next(
            r for r in wefted(host, "ps") if r["network"] == "dual" and r["container"] == "netns:d" and r["host"] == name
        )
        found[name] = [address.partition("/")[0] for address in row["addresses"]]
        assert len(found[name]) == 2
    for a, b in (("h1", "h2"), ("h2", "h1")):
        for target in found[b]:
            wait_for(lambda: ping(lab.host(a), "d", target), 5, f"{a} reaches {target}")  # noqa: B023
            assert ping(lab.host(a), "d", target, 1372), "packets of nearly the whole MTU"
    assert len(etcd.keys(prefix)) == 2
    assert all("&" in key for key in etcd.keys(prefix))


def test_several_networks_and_those_that_come_later(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    h2 = lab.host("h2")
    wefted(h2, "flannel", "watch", "/many", "--masquerade", "--blackhole")
    for number, name in enumerate(("blue", "green"), 20):
        etcd.configure(f"/many/{name}", f"10.{number}.0.0/16", Backend={"Type": "vxlan", "VNI": number})
        wait_for(lambda: bool(env(h2, f"/run/flannel/networks/{name}.env")), 5, name)  # noqa: B023
        found = env(h2, f"/run/flannel/networks/{name}.env")
        assert (found["FLANNEL_NETWORK"], found["FLANNEL_IPMASQ"]) == (f"10.{number}.0.0/16", "true")
        shown = f"blackhole {_subnet(found)}"
        wait_for(lambda: shown in h2.run(["ip", "route", "show", "type", "blackhole"]).stdout, 2, shown)  # noqa: B023
    wefted(h2, "down")
    etcd.configure("/many/red", "10.22.0.0/16", Backend={"Type": "vxlan", "VNI": 22})
    wefted(h2, "up")
    wait_for(lambda: bool(env(h2, "/run/flannel/networks/red.env")), 5, "one that came while the agent was down")
    address = connected(h2, "green", "g")
    for name in ("blue", "green"):
        etcd.ctl("del", f"/many/{name}/config")
    wait_for(lambda: "blue" not in {row["name"] for row in wefted(h2, "flannel", "ls")}, 5, "the deleted one is left")
    assert not env(h2, "/run/flannel/networks/blue.env")
    assert address in h2.run(["ip", "netns", "exec", "g", "ip", "address"]).stdout, "a container keeps its network"
    wefted(h2, "flannel", "watch", "/many", "--stop")
    etcd.configure("/many/late", "10.23.0.0/16", Backend={"Type": "vxlan", "VNI": 23})
    wefted(h2, "flannel", "join", "--name", "sign", "--prefix", "/many/late", "--subnet-file", "/run/flannel/sign.env")
    wait_for(lambda: bool(env(h2, "/run/flannel/sign.env")), 5, "sign.env")
    assert "late" not in {row["name"] for row in wefted(h2, "flannel", "ls")}


def test_a_configuration_may_come_later_and_a_wrong_one_is_told(lab: Lab, etcd: Etcd, pair: dict[str, str]) -> None:
    h1 = lab.host("h1")
    words = ("--name", "late", "--prefix", "/late", "--subnet-file", "/run/flannel/late.env")
    wefted(h1, "flannel", "join", *words)

    def error() -> str:
        return next(str(row["error"]) for row in wefted(h1, "flannel", "ls") if row["name"] == "late")

    wait_for(lambda: error() == "flannel network 'late' has no configuration", 3, "it says what it waits for")
    etcd.ctl("put", "/late/config", '{"Network": "10.30.0.0/29"}')
    wait_for(lambda: error().startswith("/late/config: 10.30.0.0/29 is too small"), 3, "what is wrong")
    etcd.configure("/late", "10.30.0.0/16", Backend={"Type": "nothing"})
    wait_for(lambda: "wefted has no backend 'nothing'" in error(), 3, "what is not there")
    etcd.configure("/late", "10.30.0.0/16", Backend={"Type": "vxlan", "VNI": 30})
    wait_for(lambda: bool(env(h1, "/run/flannel/late.env")), 3, "the subnet")
    assert error() == ""


def _subnet(found: dict[str, str]) -> str:
    return found["FLANNEL_SUBNET"].replace(".1/", ".0/")
