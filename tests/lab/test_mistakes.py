"""Mistakes: one clear message, exit code 2, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import container, lab_name, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

MISTAKES = {
    "unknown network": (["network", "connect", "nte", "netns:c1"], "did you mean 'net'"),
    "unknown container": (["network", "connect", "net", "netns:nobody"], "no running container"),
    "unknown runtime": (["network", "connect", "net", "dcoker:c1"], "dcoker"),
    "the host itself": (["network", "connect", "net", "pid:1"], "shares the host's network"),
    "unknown driver": (["network", "create", "n", "--driver", "brigde"], "did you mean 'bridge'"),
    "unknown backend": (["network", "create", "n", "--backend", "vxlam"], "did you mean 'vxlan'"),
    "unknown option": (["network", "create", "n", "-o", "vin=3", "--backend", "vxlan"], "vni"),
    "overlapping subnet": (["network", "create", "n", "--subnet", "10.9.1.128/25"], "overlaps"),
    "the host's own subnet": (["network", "create", "n", "--subnet", "192.168.50.0/25"], "overlaps"),
    "host bits": (["network", "create", "n", "--subnet", "10.8.0.1/24"], "10.8.0.0/24"),
    "gateway outside": (["network", "create", "n", "--subnet", "10.8.0.0/24", "--gateway", "10.7.0.1"], "10.7.0.1"),
    "range outside": (["network", "create", "n", "--subnet", "10.8.0.0/24", "--ip-range", "10.7.0.0/26"], "10.7.0.0/26"),
    "address in use": (["network", "connect", "net", "netns:c2", "--ip", "10.9.1.2"], "netns:c1"),
    "address outside": (["network", "connect", "net", "netns:c2", "--ip", "10.8.0.9"], "outside"),
    "network address": (["network", "connect", "net", "netns:c2", "--ip", "10.9.1.0"], "network address"),
    "broadcast address": (["network", "connect", "net", "netns:c2", "--ip", "10.9.1.255"], "broadcast"),
    "gateway's address": (["network", "connect", "net", "netns:c2", "--ip", "10.9.1.1"], "gateway"),
    "full network": (["network", "connect", "tiny", "netns:c2"], "taken"),
    "name exists": (["network", "create", "net"], "exists already"),
    "name too long": (["network", "create", "n" * 64], "63"),
    "name with shell characters": (["network", "create", "a;reboot"], "';'"),
    "name with a path": (["network", "create", "../etc"], "../etc"),
    "name with nft characters": (["network", "create", "a{b}"], "'{'"),
    "interface name too long": (["network", "connect", "net", "netns:c2", "--ifname", "e" * 16], "15"),
    "interface name with a slash": (["network", "connect", "net", "netns:c2", "--ifname", "a/b"], "/"),
    "multicast MAC": (["network", "connect", "net", "netns:c2", "--mac", "01:00:5e:00:00:01"], "multicast"),
    "bad port": (["network", "connect", "net", "netns:c2", "--publish", "99999:80"], "65535"),
    "port in use": (["network", "connect", "net", "netns:c2", "--publish", "8080:80"], "netns:c1"),
    "port on an internal network": (["network", "connect", "inner", "netns:c2", "--publish", "81:80"], "internal"),
    "network in use": (["network", "rm", "net"], "netns:c1"),
    "macvlan without parent": (["network", "create", "n", "--driver", "macvlan", "--subnet", "10.8.0.0/24"], "parent"),
    "layer that cannot be": (["network", "create", "n", "--backend", "host-gw", "-o", "layer=2"], "layer"),
    "MTU too large": (["network", "create", "n", "--backend", "vxlan", "--mtu", "9000"], "1450"),
    "detach who is not in": (["network", "disconnect", "net", "netns:c2"], "not in network"),
    "unpublish what is not": (["unpublish", "netns:c1", "9:9", "--network", "net"], "does not publish"),
    "unknown host": (["host", "rm", "h9"], "h9"),
    "this host": (["host", "rm", "h1"], "this is the host"),
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab.up(lab_name("wrong"), 1) as lab:
        h1 = lab.host("h1")
        wefted(h1, "network", "create", "net", "--subnet", "10.9.1.0/24")
        wefted(h1, "network", "create", "tiny", "--subnet", "10.9.2.0/30")
        wefted(h1, "network", "create", "inner", "--internal", "--subnet", "10.9.3.0/24")
        wefted(h1, "network", "connect", "net", container(h1, "c1"), "--publish", "8080:80")
        wefted(h1, "network", "connect", "tiny", "netns:c1")
        container(h1, "c2")
        yield h1


def everything(host: Host) -> str:
    """Return all that a mistake could have changed, as text."""
    shown = host.run(["sh", "-c", "ip addr; ip -n c2 addr; ip route; nft list ruleset; ip -n c2 route"]).stdout
    shown = shown.replace(" tentative", "")  # the kernel's own link-local address settles by itself
    records = [wefted(host, "network", "ls"), wefted(host, "ps"), wefted(host, "host", "ls")]
    return f"{shown}{records}"


@pytest.mark.parametrize("what", MISTAKES)
def test_mistake(host: Host, what: str) -> None:
    words, told = MISTAKES[what]
    before = everything(host)
    done = wefted(host, *words, check=False)
    assert done.returncode == 2, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert everything(host) == before


def test_missing_kernel_feature_is_named(host: Host) -> None:
    missing = wefted(host, "status")["kernel"]["missing"]
    if "ipvlan" not in missing:
        pytest.skip("this kernel has every feature that a driver needs")
    done = wefted(
        host, "network", "create", "n", "--driver", "ipvlan", "-o", "parent=eth0", "--subnet", "10.8.0.0/24", check=False
    )
    assert done.returncode == 2
    assert "ipvlan" in done.stderr


def test_missing_privileges(host: Host) -> None:
    done = host.run(["setpriv", "--reuid=65534", "--clear-groups", "wefted", "ps"], check=False)
    assert done.returncode == 2
    assert "root" in done.stderr


def test_yaml_mistakes_all_at_once(host: Host) -> None:
    networks = "networks:\n  web:\n    drivr: bridge\n    mtu: large\n"
    text = networks + "containers:\n  netns:c2:\n    networks:\n      wbe: {ip: [1.2.3]}\n"
    before = everything(host)
    done = host.run(["wefted", "apply", "-"], check=False, input=text)
    assert done.returncode == 2
    for place in (":3:5:", ":4:10:", ":8:7:", ":8:18:"):
        assert place in done.stderr, f"{place} in {done.stderr}"
    assert everything(host) == before


def test_damaged_state_file() -> None:
    with Lab.up(lab_name("damaged"), 1, agent=False) as lab:
        h1 = lab.host("h1")
        wefted(h1, "network", "create", "net")
        h1.run(["sh", "-c", "echo garbage > /var/lib/wefted/state.db; rm -f /var/lib/wefted/state.db-*"])
        done = wefted(h1, "network", "ls", check=False)
        assert done.returncode == 2
        assert "/var/lib/wefted/state.db" in done.stderr
        assert h1.run(["cat", "/var/lib/wefted/state.db"]).stdout == "garbage\n"
