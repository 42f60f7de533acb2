"""flannel's backend `wireguard`: three hosts of ours on an etcd, and a fourth one that is set up by hand with `wg`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.lab.agents import WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .test_flannel_join import PREFIX, env, etcdctl, store_of
from .test_udp import inside
from .test_wireguard import settled, tunnel

pytestmark = pytest.mark.lab

PSK = "L7c3W8rIwzYhSHZNSSDOrJmZFFhGOjzMIKxTFcxR5fQ="
CONFIG = {
    "Network": "10.5.0.0/16",
    "Backend": {"Type": "wireguard", "PSK": PSK, "PersistentKeepaliveInterval": 25},
}
OURS = ("h1", "h2", "h3")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("wgf"), 4) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        if "wireguard" in missing:
            pytest.skip(missing["wireguard"])
        yield made


@pytest.fixture(scope="module")
def containers(lab: Lab) -> dict[str, str]:
    """The address of the container `c` on each host that runs wefted."""
    h1 = lab.host("h1")
    etcdctl(h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps(CONFIG))
    found: dict[str, str] = {}
    for name in OURS:
        host = lab.host(name)
        wefted(host, "flannel", "join")
        wait_for(lambda: bool(env(host)), 5, "a subnet")  # noqa: B023
        found[name] = address_of(wefted(host, "network", "connect", "flannel", container(host, "c"))[0])
    for name in OURS:
        for address in found.values():
            wait_for(lambda: ping(lab.host(name), "c", address), 10, f"{name} reaches {address}")  # noqa: B023
    return found


def subnet(host: Host) -> str:
    """Return a host's subnet, 10.5.9.0/24."""
    return env(host)["FLANNEL_SUBNET"].replace(".1/", ".0/")


def public_key(host: Host) -> str:
    """Return what `wg` makes of the key in flannel's file."""
    return host.run(["sh", "-c", "wg pubkey </run/flannel/wgkey"]).stdout.strip()


def records(lab: Lab) -> dict[str, str]:
    h1 = lab.host("h1")
    lines = etcdctl(h1, store_of(h1), "get", "--prefix", f"{PREFIX}/subnets/").splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_the_records_are_flannels_byte_for_byte(lab: Lab, containers: dict[str, str]) -> None:
    found = records(lab)
    for name in OURS:
        host = lab.host(name)
        value = found[f"{PREFIX}/subnets/{subnet(host).replace('/', '-')}"]
        assert value == (
            f'{{"PublicIP":"{host.address}","PublicIPv6":null,"BackendType":"wireguard",'
            f'"BackendData":{{"PublicKey":"{public_key(host)}"}}}}'
        )
        assert env(host)["FLANNEL_MTU"] == "1420"


def test_the_device_is_as_flannel_makes_it(lab: Lab, containers: dict[str, str]) -> None:
    host = lab.host("h1")
    (link,) = json.loads(host.run(["ip", "-j", "addr", "show", "dev", "flannel-wg"]).stdout)
    own = subnet(host).partition("/")[0]
    assert link["mtu"] == 1420
    assert [(a["local"], a["prefixlen"]) for a in link["addr_info"] if a["family"] == "inet"] == [(own, 32)]
    (route,) = json.loads(host.run(["ip", "-j", "route", "show", "10.5.0.0/16"]).stdout)
    assert (route["dev"], route["scope"], "gateway" in route, "prefsrc" in route) == ("flannel-wg", "link", False, False)
    device, *peers = [line.split("\t") for line in host.run(["wg", "show", "flannel-wg", "dump"]).stdout.splitlines()]
    assert device[1:3] == [public_key(host), "51820"]
    assert {(p[0], p[1], p[2], p[3], p[7]) for p in peers} == {
        (public_key(other), PSK, f"{other.address}:51820", subnet(other), "25") for other in map(lab.host, ("h2", "h3"))
    }


def test_secrets_are_shown_nowhere(lab: Lab, containers: dict[str, str]) -> None:
    """The pre-shared key is in flannel's configuration, for whoever may read that; we do not spread it."""
    host = lab.host("h1")
    words = (("status",), ("plan",), ("network", "ls"), ("network", "inspect", "flannel"), ("flannel", "ls"))
    shown = [host.run(["wefted", *each, "--json"]).stdout for each in words]
    shown.append(host.run(["cat", "/var/lib/wefted/agent.log"]).stdout)
    shown.append(etcdctl(host, store_of(host), "get", "--prefix", "/wefted/"))
    own = host.run(["cat", "/run/flannel/wgkey"]).stdout.strip()
    assert not [text for text in shown if PSK in text or own in text]


def test_a_restart_keeps_key_and_subnet(lab: Lab, containers: dict[str, str]) -> None:
    host = lab.host("h2")
    before = (public_key(host), subnet(host), records(lab))
    pid = str(wefted(host, "status")["agent"]["pid"])
    host.run(["kill", f"-{signal.SIGKILL.value}", pid])
    wait_for(lambda: host.run(["kill", "-0", pid], check=False).returncode != 0, 5, "the agent is dead")
    assert ping(host, "c", containers["h1"])
    host.run([*WEFTED, "up"])
    wait_for(settled(host), 10, "nothing is left to do")
    assert (public_key(host), subnet(host), records(lab)) == before


@pytest.fixture(scope="module")
def stranger(lab: Lab, containers: dict[str, str]) -> Iterator[str]:
    """The address of a container on h4, which knows nothing of ours: `wg`, `ip` and `etcdctl` make it a peer."""
    h4, name = lab.host("h4"), "wg9"
    program = None
    if h4.run(["ip", "link", "add", name, "type", "wireguard"], check=False).returncode:
        program = h4.popen(["wireguard-go", "-f", name], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: h4.run(["wg", "show", name], check=False).returncode == 0, 5, "wireguard-go answers")
    h4.run(
        [
            "sh",
            "-c",
            f"umask 077; wg genkey >/run/key; echo {PSK} >/run/psk; wg set {name} private-key /run/key listen-port 51820",
        ]
    )
    key = h4.run(["wg", "show", name, "public-key"]).stdout.strip()
    commands = [
        "link add name ve type veth peer name eth0 netns c", "addr add 10.5.77.1/24 dev ve", "link set ve up mtu 1420",
        f"link set {name} up mtu 1420", f"addr add 10.5.77.0/32 dev {name}", f"route add 10.5.0.0/16 dev {name}",
    ]  # fmt: skip
    h4.run(["ip", "netns", "add", "c"])
    h4.run(["ip", "-batch", "-"], input="\n".join(commands))
    inner = "link set lo up\nlink set eth0 up mtu 1420\naddr add 10.5.77.2/24 dev eth0\nroute add default via 10.5.77.1\n"
    h4.run(["ip", "-n", "c", "-batch", "-"], input=inner)
    h4.run(["sh", "-c", f"for d in ve {name}; do echo 1 >/proc/sys/net/ipv4/conf/$d/forwarding; done"])
    for other in map(lab.host, OURS):
        words = ["wg", "set", name, "peer", public_key(other), "preshared-key", "/run/psk"]
        h4.run([*words, "endpoint", f"{other.address}:51820", "allowed-ips", subnet(other)])
    value = {"PublicIP": str(h4.address), "PublicIPv6": None, "BackendType": "wireguard", "BackendData": {"PublicKey": key}}
    etcdctl(h4, store_of(h4), "put", f"{PREFIX}/subnets/10.5.77.0-24", json.dumps(value))
    yield "10.5.77.2"
    if program is not None:
        program.terminate()
        program.wait(5)


@pytest.mark.parametrize("name", OURS)
def test_a_peer_made_by_hand_joins(lab: Lab, containers: dict[str, str], stranger: str, name: str) -> None:
    ours, theirs = lab.host(name), lab.host("h4")
    wait_for(lambda: ping(ours, "c", stranger), 10, "we reach it")
    wait_for(lambda: ping(theirs, "c", containers[name]), 10, "it reaches us")
    assert "1 received" in inside(ours, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1392", stranger)
    assert "1 received" in inside(theirs, "ping", "-c1", "-W2", "-n", "-Mdo", "-s1392", containers[name])
    assert ["10.5.77.0/24"] in [peer["allowed"] for peer in tunnel(ours)["peers"]]


def test_a_peer_that_goes_is_forgotten(lab: Lab, containers: dict[str, str], stranger: str) -> None:
    h1 = lab.host("h1")
    etcdctl(h1, store_of(h1), "del", f"{PREFIX}/subnets/10.5.77.0-24")
    wait_for(lambda: "10.5.77.0/24" not in h1.run(["wg", "show", "flannel-wg", "allowed-ips"]).stdout, 2, "it is gone")
    assert not ping(h1, "c", stranger, deadline=1)


def test_leaving_takes_everything_along_but_the_key(lab: Lab, containers: dict[str, str]) -> None:
    host = lab.host("h3")
    key: Any = public_key(host)
    wefted(host, "network", "disconnect", "flannel", "netns:c")
    wefted(host, "flannel", "leave", "flannel")
    assert host.run(["ip", "link", "show", "dev", "flannel-wg"], check=False).returncode != 0
    assert host.run(["sh", "-c", "pgrep -x wireguard-go; ls /run/wireguard"], check=False).stdout == ""
    assert public_key(host) == key
