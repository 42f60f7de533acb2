"""Hosts joined by IPv4 in IPv4, as networks of ours and as networks of flannel's, with real packets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, ping, rows_of, wait_for, wefted
from .test_backends import end, joined, reach, routes
from .test_flannel_join import PREFIX, env, etcdctl, store_of

pytestmark = pytest.mark.lab

SUBNET = "10.71.0.0/16"
PLAIN, WHOLE = 56, 1452  # what ping adds to the payload, and the outer header: 1452 + 28 + 20 = 1500


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("ipip"), 2) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        if "ipip" in missing:
            pytest.skip(missing["ipip"])
        yield made


def unfragmented(host: Host, name: str, address: str, size: int) -> bool:
    words = ["ip", "netns", "exec", name, "ping", "-c1", "-W2", "-n", "-Mdo", f"-s{size}", address]
    return host.run(words, check=False).returncode == 0


def sent(host: Host, device: str) -> int:
    (link,) = json.loads(host.run(["ip", "-j", "-s", "link", "show", device]).stdout)
    packets: int = link["stats64"]["tx"]["packets"]
    return packets


@pytest.mark.parametrize("options", [(), ("-o", "device=over.7")], ids=" ".join)
def test_packets_go_through_the_tunnel(lab: Lab, options: tuple[str, ...]) -> None:
    h1 = lab.host("h1")
    addresses = joined(lab, "tun", "--subnet", SUBNET, "--backend", "ipip", *options)
    try:
        wait_for(lambda: reach(lab, "tun", addresses), 5, "both directions")
        (line,) = routes(h1, SUBNET)
        device = line.split()[line.split().index("dev") + 1]
        assert device.startswith(options[-1].partition("=")[2] if options else "vx-")
        assert f"via {lab.host('h2').address} " in line
        before = sent(h1, device)
        assert unfragmented(h1, "tun-c", addresses["h2"], WHOLE)
        assert not unfragmented(h1, "tun-c", addresses["h2"], WHOLE + 1)
        assert reach(lab, "tun", addresses, 8000)
        assert sent(h1, device) > before
        assert [wefted(host, "plan") for host in lab.hosts] == [{"changes": []}] * 2
        assert wefted(h1, "status")["unreachable"] == []
    finally:
        end(lab, "tun")
    assert h1.run(["ip", "link", "show", device], check=False).returncode != 0


def test_hosts_of_one_segment_may_do_without(lab: Lab) -> None:
    addresses = joined(lab, "direct", "--subnet", SUBNET, "--backend", "ipip", "-o", "direct_routing=on")
    try:
        wait_for(lambda: reach(lab, "direct", addresses), 5, "both directions")
        assert all(" dev eth0 " in line for host in lab.hosts for line in routes(host, SUBNET))
        assert [wefted(host, "plan") for host in lab.hosts] == [{"changes": []}] * 2
    finally:
        end(lab, "direct")


def test_a_tunnel_that_somebody_removes_is_put_back(lab: Lab) -> None:
    addresses = joined(lab, "back", "--subnet", SUBNET, "--backend", "ipip", "-o", "device=over.8")
    h1 = lab.host("h1")
    try:
        wait_for(lambda: reach(lab, "back", addresses), 5, "both directions")
        h1.run(["ip", "link", "del", "over.8"])
        wait_for(lambda: reach(lab, "back", addresses), 10, "both directions again")
    finally:
        end(lab, "back")


def test_a_second_network_is_refused(lab: Lab) -> None:
    """The kernel would not make its tunnel: it tells tunnels apart by their two addresses, which are the same here."""
    h1 = lab.host("h1")
    wefted(h1, "network", "create", "one", "--subnet", SUBNET, "--backend", "ipip")
    try:
        refused = wefted(h1, "network", "create", "two", "--subnet", "10.72.0.0/16", "--backend", "ipip", check=False)
        assert refused.returncode == 2
        assert "joins network 'one' already" in refused.stderr
        assert [row["name"] for row in wefted(h1, "network", "ls")] == ["one"]
    finally:
        wefted(h1, "network", "rm", "one")


def test_a_network_of_flannels(lab: Lab) -> None:
    h1, h2 = lab.hosts
    config = {"Network": "10.5.0.0/16", "Backend": {"Type": "ipip"}}
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(config))
    for host in lab.hosts:
        wefted(host, "flannel", "join")
        wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
        assert env(host)["FLANNEL_MTU"] == "1480"
        wefted(host, "network", "connect", "flannel", container(host, "f1"))
    target = next(row["addresses"][0].partition("/")[0] for row in rows_of(h1, 2) if row["host"] == "h2")
    for size in (PLAIN, WHOLE, 8000):
        wait_for(lambda: ping(h1, "f1", target, size), 5, f"h1 reaches h2 with {size} bytes")  # noqa: B023
    key = f"{PREFIX}/subnets/{env(h2)['FLANNEL_SUBNET'].replace('.1/', '.0-')}"
    record = json.loads(etcdctl(h1, store_of(h1), "get", "--print-value-only", key))
    assert (record["PublicIP"], record["BackendType"], record.get("BackendData")) == (str(h2.address), "ipip", None)
    assert f"via {h2.address} dev flannel.ipip" in h1.run(["ip", "route", "show", "root", "10.5.0.0/16"]).stdout
    assert wefted(h1, "plan") == {"changes": []}
