"""How hosts are joined, with real packets: plain routes, tunnels, both by what each peer needs, and nothing but addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from wefted.lab.agents import WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .test_flannel_join import PREFIX, env, etcdctl, store_of

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("backends"), 2) as made:
        yield made


def routes(host: Host, prefix: str) -> list[str]:
    """Return the routes to blocks within a prefix that go to other hosts."""
    lines = host.run(["ip", "route", "show", "root", prefix]).stdout.splitlines()
    return [line for line in lines if " via " in line]


def joined(lab: Lab, name: str, *words: str) -> dict[str, str]:
    """Make a network with a container on each host; return their addresses by the name of the host."""
    wefted(lab.host("h1"), "network", "create", name, *words)
    rows = {h.name: wefted(h, "network", "connect", name, container(h, f"{name}-c"))[0] for h in lab.hosts}
    return {host: address_of(row) for host, row in rows.items()}


def reach(lab: Lab, name: str, addresses: dict[str, str], size: int = 56) -> bool:
    return all(ping(lab.host(a), f"{name}-c", addresses[b], size) for a, b in (("h1", "h2"), ("h2", "h1")))


@pytest.mark.parametrize(
    ("words", "device"),
    [
        (("--backend", "host-gw"), "eth0"),
        (("--backend", "auto"), "eth0"),
        (("--backend", "vxlan", "-o", "direct_routing=on"), "eth0"),
        (("--backend", "vxlan", "-o", "device=over.7", "-o", "port=8472", "-o", "gbp=on"), "over.7"),
        (("--backend", "vxlan", "-o", "learning=on"), "vx-"),
    ],
    ids=lambda words: "-".join(w.strip("-") for w in words) if isinstance(words, tuple) else "",
)
def test_containers_reach_each_other(lab: Lab, words: tuple[str, ...], device: str) -> None:
    name = "".join(c for c in "".join(words[1:]) if c.isalnum())
    addresses = joined(lab, name, "--subnet", "10.71.0.0/16", *words)
    try:
        wait_for(lambda: reach(lab, name, addresses), 5, "both directions")
        assert reach(lab, name, addresses, 8000)
        assert all(f"dev {device}" in line for host in lab.hosts for line in routes(host, "10.71.0.0/16"))
        assert [wefted(host, "plan") for host in lab.hosts] == [{"changes": []}] * 2
        assert wefted(lab.host("h1"), "status")["unreachable"] == []
    finally:
        end(lab, name)


def end(lab: Lab, name: str) -> None:
    for host in lab.hosts:
        wefted(host, "network", "disconnect", name, f"netns:{name}-c")
        host.run(["ip", "netns", "del", f"{name}-c"])
    wefted(lab.host("h1"), "network", "rm", name)
    wait_for(lambda: all(not routes(h, "10.71.0.0/16") for h in lab.hosts), 5, "the routes are gone")


def test_alloc_gives_out_addresses_and_makes_no_way(lab: Lab) -> None:
    addresses = joined(lab, "alloc", "--subnet", "10.71.0.0/16", "--backend", "alloc")
    try:
        blocks = {address.rpartition(".")[0] for address in addresses.values()}
        assert len(blocks) == 2
        assert all(not routes(host, "10.71.0.0/16") for host in lab.hosts)
        assert wefted(lab.host("h1"), "status")["unreachable"] == []
        h1, h2 = lab.host("h1"), lab.host("h2")
        for host, other in ((h1, h2), (h2, h1)):
            host.run(["ip", "route", "add", f"{addresses[other.name].rpartition('.')[0]}.0/24", "via", str(other.address)])
        wait_for(lambda: reach(lab, "alloc", addresses), 5, "by somebody else's routes")
    finally:
        for host in lab.hosts:
            host.run(["ip", "route", "flush", "root", "10.71.0.0/16", "proto", "boot"])
        end(lab, "alloc")


def test_commands_of_the_user_join_hosts(lab: Lab) -> None:
    """A shell with `$` and `&&`, as flannel's documentation has it, and flannel's code no longer."""
    words = ("-o", "subnet_add=ip route replace $SUBNET via $PUBLIC_IP && echo $SUBNET >>/run/added",
             "-o", "subnet_remove=ip route del $SUBNET via $PUBLIC_IP")  # fmt: skip
    addresses = joined(lab, "ext", "--subnet", "10.71.0.0/16", "--backend", "extension", *words)
    h1 = lab.host("h1")
    try:
        wait_for(lambda: reach(lab, "ext", addresses), 5, "both directions")
        h1.run(["wefted", "apply"])
        assert len(h1.run(["cat", "/run/added"]).stdout.splitlines()) == 1, "it is run once"
    finally:
        end(lab, "ext")


def test_a_command_that_fails_before_a_lease_takes_nothing(lab: Lab) -> None:
    h1 = lab.host("h1")
    words = ("-o", "subnet_add=true", "-o", "pre_startup=echo no key >&2; exit 7")
    wefted(h1, "network", "create", "fails", "--subnet", "10.71.0.0/16", "--backend", "extension", *words)
    try:
        done = wefted(h1, "network", "connect", "fails", container(h1, "fails-c"), check=False)
        assert done.returncode == 1
        assert "the command that comes before a lease failed" in done.stderr
        assert "ended with 7: no key" in done.stderr
        assert wefted(h1, "network", "inspect", "fails")[0]["leases"] == []
    finally:
        h1.run(["ip", "netns", "del", "fails-c"])
        wefted(h1, "network", "rm", "fails")


def test_a_network_of_flannels_that_commands_join(lab: Lab) -> None:
    """flannel's own example, with VXLAN by hand: what the first command says is in the lease, and the others' commands read it.

    The command is run once, not at each start of the agent: the device that it makes would take all routes along.
    """
    h1 = lab.host("h1")
    commands = {
        "PreStartupCommand": "echo run >>/run/pre; ip link add ext7 type vxlan id 7 dstport 8472 nolearning dev eth0 &&"
        " cat /sys/class/net/ext7/address",
        "PostStartupCommand": "ip addr add ${SUBNET%/*}/32 dev ext7 && ip link set ext7 up &&"
        " echo 1 >/proc/sys/net/ipv4/conf/ext7/forwarding",
        "SubnetAddCommand": "read -r mac && first=${SUBNET%/*} && bridge fdb replace $mac dev ext7 dst $PUBLIC_IP &&"
        " ip neigh replace $first lladdr $mac dev ext7 && ip route replace $SUBNET via $first dev ext7 onlink",
        "SubnetRemoveCommand": "ip route del $SUBNET dev ext7",
    }
    config = {"Network": "10.71.0.0/16", "Backend": {"Type": "extension", **commands}}
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(config))
    try:
        for host in lab.hosts:
            wefted(host, "flannel", "join")
            wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
        addresses = {
            h.name: address_of(wefted(h, "network", "connect", "flannel", container(h, "flannel-c"))[0]) for h in lab.hosts
        }
        wait_for(lambda: reach(lab, "flannel", addresses), 5, "both directions")
        for host in lab.hosts:
            mac = host.run(["cat", "/sys/class/net/ext7/address"]).stdout.strip()
            key = f"{PREFIX}/subnets/{addresses[host.name].rpartition('.')[0]}.0-24"
            assert json.loads(etcdctl(h1, store_of(h1), "get", "--print-value-only", key))["BackendData"] == mac
        h1.run([*WEFTED, "down"])
        h1.run([*WEFTED, "up"])
        wait_for(lambda: wefted(h1, "plan") == {"changes": []}, 20, "nothing is left to do")
        assert h1.run(["cat", "/run/pre"]).stdout == "run\n"
        assert reach(lab, "flannel", addresses)
    finally:
        for host in lab.hosts:
            wefted(host, "network", "disconnect", "flannel", "netns:flannel-c", check=False)
            host.run(["ip", "netns", "del", "flannel-c"], check=False)
            wefted(host, "flannel", "leave", "flannel", check=False)
            host.run(["ip", "link", "del", "ext7"], check=False)


def test_a_networks_first_command_that_fails_is_told(lab: Lab) -> None:
    h1 = lab.host("h1")
    config = {
        "Network": "10.71.0.0/16",
        "Backend": {"Type": "extension", "SubnetAddCommand": "true", "PreStartupCommand": "exit 9"},
    }
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(config))
    wefted(h1, "flannel", "join")
    try:
        wait_for(lambda: "ended with 9" in wefted(h1, "flannel", "ls")[0]["error"], 5, "it is told")
        assert etcdctl(h1, store_of(h1), "get", "--prefix", "--keys-only", f"{PREFIX}/subnets/").strip() == ""
    finally:
        wefted(h1, "flannel", "leave", "flannel")


def test_auto_follows_a_host_to_another_segment_and_back(lab: Lab) -> None:
    """A peer whose prefix no longer holds us is behind a router in our eyes: the tunnel takes over, and gives back."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    addresses = joined(lab, "roams", "--subnet", "10.71.0.0/16", "--backend", "auto")
    wait_for(lambda: reach(lab, "roams", addresses), 5, "both directions")
    try:
        for host, other in ((h1, h2), (h2, h1)):
            host.run(["ip", "route", "add", f"{other.address}/32", "dev", "eth0"])
            host.run(["ip", "addr", "add", f"{host.address}/32", "dev", "eth0"])
            host.run(["ip", "addr", "del", f"{host.address}/24", "dev", "eth0"])
        for host in lab.hosts:
            wait_for(lambda: all("dev vx-" in r for r in routes(host, "10.71.0.0/16")), 10, "the tunnel")  # noqa: B023
        wait_for(lambda: reach(lab, "roams", addresses), 5, "through the tunnel")
    finally:
        for host, other in ((h1, h2), (h2, h1)):
            host.run(["ip", "addr", "add", f"{host.address}/24", "dev", "eth0"])
            host.run(["ip", "addr", "del", f"{host.address}/32", "dev", "eth0"])
            host.run(["ip", "route", "del", f"{other.address}/32", "dev", "eth0"])
    for host in lab.hosts:
        wait_for(lambda: all("dev eth0" in r for r in routes(host, "10.71.0.0/16")), 10, "the route")  # noqa: B023
    wait_for(lambda: reach(lab, "roams", addresses), 5, "by the route")
    end(lab, "roams")


def test_host_gw_wants_an_address_of_this_host(lab: Lab) -> None:
    """flannel: "your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not supported"."""
    h1 = lab.host("h1")
    config = {"Network": "10.72.0.0/16", "Backend": {"Type": "host-gw"}}
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(config))
    wefted(h1, "flannel", "join", "--public-ip", "203.0.113.7")
    told = "needs an address of this host's, not 203.0.113.7"
    wait_for(lambda: told in wefted(h1, "flannel", "ls")[0]["error"], 5, "it is told")
    wefted(h1, "flannel", "join")
    wait_for(lambda: bool(env(h1)), 5, "subnet.env")
    assert env(h1)["FLANNEL_MTU"] == "1500"
    wefted(h1, "flannel", "leave", "flannel")


def test_two_hosts_with_one_address_are_told_apart(lab: Lab) -> None:
    """Behind one router, or machines that are copies: flannel gives the second one the subnet of the first."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps({"Network": "10.73.0.0/16", "Backend": {"Type": "vxlan"}}))
    for host in lab.hosts:
        wefted(host, "flannel", "join", "--public-ip", "10.0.2.15")
        wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
    assert env(h1)["FLANNEL_SUBNET"] != env(h2)["FLANNEL_SUBNET"]

    def told() -> bool:
        return any("announces our own address 10.0.2.15" in row["reason"] for row in wefted(h1, "status")["unreachable"])

    wait_for(told, 5, "the status says so")
    for host in lab.hosts:
        wefted(host, "flannel", "leave", "flannel")
