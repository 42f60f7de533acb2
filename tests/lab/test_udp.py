"""Networks of the backend `udp`: h1 and h2 carry packets by programs in the kernel, h3 by a process, h4 by a proxy in C."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wefted.bench import card
from wefted.client import RemoteEngine, complete
from wefted.lab.agents import SOCKET, WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, agent_held, container, lab_name, ping, wait_for, wefted
from .test_flannel_join import PREFIX, env, etcdctl, store_of
from .transfers import amount, transfer

pytestmark = pytest.mark.lab

PROXY = Path(__file__).parents[1] / "bench/udp_proxy.c"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("udp"), 4) as made:
        h1, h3 = made.host("h1"), made.host("h3")
        missing = wefted(h1, "status")["kernel"]["missing"]
        for feature in ("tun", "bpf"):
            if feature in missing:
                pytest.skip(missing[feature])
        h3.run(["sh", "-c", "mkdir -p /etc/wefted && echo 'datapath = \"relay\"' >/etc/wefted/wefted.toml"])
        h3.run([*WEFTED, "down"])
        h3.run([*WEFTED, "up"])
        for host in made.hosts:  # peers in user space read packets: they need their checksums, as over a wire
            host.run([sys.executable, "-P", "-m", card.__name__, "eth0", "off"])
        yield made


@pytest.fixture(scope="module")
def containers(lab: Lab) -> dict[str, str]:
    """The address of the container `c` on each host that runs wefted: a network of flannel's, which h1 to h3 have joined."""
    h1, h4 = lab.host("h1"), lab.host("h4")
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "udp"}}))
    record = json.dumps({"PublicIP": str(h4.address), "PublicIPv6": None})
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/subnets/10.5.77.0-24", record)
    found: dict[str, str] = {}
    for name in ("h1", "h2", "h3"):
        host = lab.host(name)
        wefted(host, "flannel", "join")
        wait_for(lambda: bool(env(host)), 5, "a subnet")  # noqa: B023
    for name in ("h1", "h2", "h3"):
        host = lab.host(name)
        found[name] = address_of(wefted(host, "network", "connect", "flannel", container(host, "c"))[0])
    for name in found:
        for other in found:
            wait_for(lambda: ping(lab.host(name), "c", found[other]), 5, f"{name} reaches {other}")  # noqa: B023
    return found


@pytest.fixture(scope="module")
def proxy(lab: Lab, containers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a container on h4, which a proxy in C joins: it knows the wire and the records, and none of our code."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("proxy") / "udp_proxy"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(PROXY)], check=True)
    h4 = lab.host("h4")
    h4.run(["ip", "netns", "add", "c"])
    commands = [
        "link add name ve type veth peer name eth0 netns c", "addr add 10.5.77.1/24 dev ve", "link set ve up",
        "tuntap add dev flannel0 mode tun", "link set flannel0 mtu 1472 up", "addr add 10.5.77.0/32 dev flannel0",
        "route add 10.5.0.0/16 dev flannel0",
    ]  # fmt: skip
    h4.run(["ip", "-batch", "-"], input="\n".join(commands))
    inside = "link set lo up\nlink set eth0 up mtu 1472\naddr add 10.5.77.2/24 dev eth0\nroute add default via 10.5.77.1\n"
    h4.run(["ip", "-n", "c", "-batch", "-"], input=inside)
    h4.run(["sh", "-c", "for d in ve flannel0; do echo 1 >/proc/sys/net/ipv4/conf/$d/forwarding; done"])
    routes = [f"{address.rpartition('.')[0]}.0/24={lab.host(name).address}" for name, address in containers.items()]
    argv = [str(program), "flannel0", str(h4.address), "8285", "10.5.77.0", *routes]
    child = h4.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return "10.5.77.2"


def inside(host: Host, *words: str, check: bool = True) -> str:
    return host.run(["ip", "netns", "exec", "c", *words], check=check).stdout


def tunnels(host: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wefted(host, "status")["tunnels"]
    return found


def test_status_says_what_carries_packets_and_why(lab: Lab, containers: dict[str, str]) -> None:
    found = {name: tunnels(lab.host(name)) for name in containers}
    assert [t["link"] for name in containers for t in found[name]] == ["flannel0"] * 3
    assert found["h1"][0]["way"].startswith("ebpf, ")
    assert found["h1"][0]["reason"] == ""
    assert (found["h3"][0]["way"], found["h3"][0]["reason"]) == ("relay", "the setting datapath is relay")


def test_the_device_is_as_flannels_texts_show_it(lab: Lab, containers: dict[str, str]) -> None:
    for name, address in containers.items():
        host, subnet = lab.host(name), f"{address.rpartition('.')[0]}.0"
        (link,) = json.loads(host.run(["ip", "-j", "-d", "addr", "show", "dev", "flannel0"]).stdout)
        assert (link["linkinfo"]["info_kind"], link["mtu"]) == ("tun", 1472)
        assert [(a["local"], a["prefixlen"]) for a in link["addr_info"] if a["family"] == "inet"] == [(subnet, 32)]
        assert host.run(["ip", "route", "show", "10.5.0.0/16"]).stdout.startswith("10.5.0.0/16 dev flannel0")


def test_nothing_is_left_to_do(lab: Lab, containers: dict[str, str]) -> None:
    for name in containers:
        wait_for(lambda: wefted(lab.host(name), "plan") == {"changes": []}, 5, f"{name} is as planned")  # noqa: B023


@pytest.mark.parametrize(("one", "other"), [("h1", "h2"), ("h1", "h3"), ("h3", "h2")])
def test_ttl_and_mtu(lab: Lab, containers: dict[str, str], one: str, other: str) -> None:
    """The two ends of the tunnel take one each, as flannel's proxies do, and the two hosts that forward."""
    host, target = lab.host(one), containers[other]
    assert "ttl=60" in inside(host, "ping", "-c1", "-n", target)
    assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1444", target)
    inside(host, "ip", "link", "set", "eth0", "mtu", "1500")
    try:
        assert "0 received, +1 errors" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1445", target, check=False)
        assert "1 received" in inside(host, "ping", "-c1", "-W2", "-n", "-Mdont", "-s8000", target)
    finally:
        inside(host, "ip", "link", "set", "eth0", "mtu", "1472")
        inside(host, "ip", "route", "flush", "cache")


@pytest.mark.parametrize(("one", "other"), [("h1", "h2"), ("h1", "h3"), ("h3", "h1")])
def test_what_is_sent_arrives_intact(lab: Lab, containers: dict[str, str], one: str, other: str) -> None:
    transfer(lab.host(one), lab.host(other), containers[other], amount())


@pytest.mark.parametrize("name", ["h1", "h3"])
def test_a_proxy_in_c_joins(lab: Lab, containers: dict[str, str], proxy: str, name: str) -> None:
    ours, theirs = lab.host(name), lab.host("h4")
    assert "ttl=60" in inside(ours, "ping", "-c1", "-n", proxy)
    assert "ttl=60" in inside(theirs, "ping", "-c1", "-n", containers[name])
    assert "1 received" in inside(ours, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1444", proxy)
    transfer(ours, theirs, proxy, 20_000_000)
    transfer(theirs, ours, containers[name], 20_000_000)


@pytest.mark.parametrize("name", ["h1", "h3"])
def test_nobodys_address_is_unreachable(lab: Lab, containers: dict[str, str], name: str) -> None:
    """A datagram is answered by ICMP net unreachable; a ping, which is ICMP, by nothing."""
    assert nobody(lab.host(name), "10.5.250.1") == "101"
    assert "0 received" in inside(lab.host(name), "ping", "-c1", "-W1", "-n", "10.5.250.1", check=False)


def nobody(host: Host, address: str) -> str:
    """Send a datagram to an address that nobody has; return the number of the error that its sender hears, or ""."""
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(0, 11, 1); s.settimeout(3)\n"
        f"s.connect(('{address}', 9)); s.send(b'x' * 1000)\n"
        "try: s.recv(1)\nexcept OSError as error: print(error.errno)\n"
    )
    return inside(host, sys.executable, "-I", "-S", "-c", code).strip()


@pytest.mark.parametrize(("one", "other"), [("h1", "h2"), ("h1", "h3"), ("h3", "h2")])
def test_where_a_ttl_ends(lab: Lab, containers: dict[str, str], one: str, other: str) -> None:
    """The two hosts say that a TTL has ended, the two ends of the tunnel between them are silent, as flannel's proxy is."""
    own, theirs = (containers[name].rpartition(".")[0] for name in (one, other))
    assert hop(lab.host(one), containers[other], 1) == f"{own}.1"
    assert [hop(lab.host(one), containers[other], ttl) for ttl in (2, 3)] == ["", ""]
    assert hop(lab.host(one), containers[other], 4) in (f"{theirs}.0", f"{theirs}.1", str(lab.host(other).address))
    assert hop(lab.host(one), containers[other], 5) == containers[other]


def hop(host: Host, target: str, ttl: int) -> str:
    """Return who answers a ping with this TTL, "" for nobody."""
    said = inside(host, "ping", "-c1", "-W1", "-n", f"-t{ttl}", target, check=False)
    found = re.search(r"(?:From|bytes from) ([0-9.]+)[: ]", said)
    return found[1] if found else ""


def test_packets_between_containers_pass_the_stack_by(lab: Lab, containers: dict[str, str]) -> None:
    """Both ways, and super-packets too: hardly any of them is forwarded by the hosts."""
    hosts = (lab.host("h1"), lab.host("h2"))
    assert all(ping(host, "c", containers[other]) for host, other in zip(hosts, ("h2", "h1"), strict=True))
    before = [forwarded(host) for host in hosts]
    transfer(*hosts, containers["h2"], 20_000_000)
    grown = [forwarded(host) - count for host, count in zip(hosts, before, strict=True)]
    assert max(grown) < 50, "20 MB are 14,000 packets"


def forwarded(host: Host) -> int:
    """Return how many packets the stack of a host has forwarded (ForwDatagrams of RFC 4293, /proc/net/snmp)."""
    names, numbers = (line.split() for line in host.run(["cat", "/proc/net/snmp"]).stdout.splitlines()[:2])
    return int(numbers[names.index("ForwDatagrams")])


def test_published_ports_are_answered_through_the_tunnel(lab: Lab, containers: dict[str, str]) -> None:
    """The answer is translated by the stack, so it must not pass it by, although packets between the two do."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    assert ping(h2, "c", containers["h1"])
    wefted(h1, "publish", "netns:c", "8080:7000")
    try:
        gateway = f"{containers['h1'].rpartition('.')[0]}.1"
        transfer(h2, h1, gateway, 2_000_000, port=8080)
    finally:
        wefted(h1, "unpublish", "netns:c", "8080:7000")


@pytest.mark.parametrize("name", ["h1", "h3"])
def test_packets_pass_while_the_agent_is_dead(lab: Lab, containers: dict[str, str], name: str) -> None:
    host = lab.host(name)
    pid = wefted(host, "status")["agent"]["pid"]
    host.run(["kill", f"-{signal.SIGKILL.value}", str(pid)])
    assert all(ping(host, "c", address) for other, address in containers.items() if other != name)
    host.run([*WEFTED, "up"])
    for other, address in containers.items():
        wait_for(lambda: other == name or ping(host, "c", address), 10, f"{name} reaches {other} again")  # noqa: B023
    wait_for(lambda: wefted(host, "plan") == {"changes": []}, 5, "nothing is left to do")


@pytest.mark.parametrize(
    "words",
    [
        ("tc", "qdisc", "del", "dev", "flannel0", "clsact"),
        ("tc", "qdisc", "del", "dev", "eth0", "clsact"),
        ("tc", "filter", "del", "dev", "flannel0", "egress"),
        ("tc", "filter", "del", "dev", "eth0", "ingress", "pref", "30566"),
        ("ip", "link", "set", "dev", "eth0", "xdp", "off"),
        ("ip", "link", "del", "flannel0"),
    ],
    ids=["hooks out", "hooks in", "filters out", "filter in", "xdp", "device"],
)
def test_what_somebody_removes_comes_back_within_a_second(lab: Lab, containers: dict[str, str], words: tuple[str, ...]) -> None:
    host = lab.host("h1")
    before = programs(host)
    assert before["xdp"]
    with agent_held(host):
        host.run(list(words))
        assert programs(host) != before
    wait_for(lambda: programs(host) == before, 1, "the programs are back")
    assert ping(host, "c", containers["h2"])
    wait_for(lambda: wefted(host, "plan") == {"changes": []}, 5, "nothing is left to do")


def programs(host: Host) -> dict[str, bool]:
    """Return where programs are."""
    filters = {
        f"{device} {hook}": "wefted udp" in host.run(["tc", "filter", "show", "dev", device, hook], check=False).stdout
        for device, hook in (("flannel0", "egress"), ("eth0", "ingress"))
    }
    return {**filters, "xdp": "xdp" in host.run(["ip", "link", "show", "dev", "eth0"]).stdout}


def reconcile(host: Host) -> None:
    """Let the agent look now, as it does every half minute."""
    engine = RemoteEngine(str(host.root / SOCKET))
    try:
        complete(engine.call("reconcile", {}))
    finally:
        complete(engine.close())


def test_leaving_takes_everything_along(lab: Lab, containers: dict[str, str]) -> None:
    host = lab.host("h2")
    wefted(host, "network", "disconnect", "flannel", "netns:c")
    wefted(host, "flannel", "leave", "flannel")
    assert "clsact" not in host.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    assert "xdp" not in host.run(["ip", "link", "show", "dev", "eth0"]).stdout
    for device in ("flannel0", "wefted-sums"):
        assert host.run(["ip", "link", "show", "dev", device], check=False).returncode != 0
