"""flannel's firewall rules with real packets: who is seen behind which address, and how fast a flush is repaired."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, rows_of, wait_for, wefted
from .test_flannel_join import PREFIX, env, etcdctl, store_of

pytestmark = pytest.mark.lab

LISTEN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("0.0.0.0", 5401)); s.settimeout(5); print("listening", flush=True); print(s.recvfrom(9)[1][0], flush=True)
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    if sys.argv[2]: s.bind((sys.argv[2], 0))
    if sys.argv[3]: s.setsockopt(socket.SOL_SOCKET, 36, int(sys.argv[3]))
    s.sendto(b"?", (sys.argv[1], 5401))
"""

Place = tuple[str, str]
"""A host and a container of it, "" for the host itself."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts of a flannel network with a container each; a third one, which knows where the network is, is outside."""
    with Lab.up(lab_name("fw"), 3) as made:
        h1, h2, h3 = (made.host(name) for name in ("h1", "h2", "h3"))
        etcdctl(
            h1, store_of(h1), "put", f"{PREFIX}/config", json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})
        )
        for host in (h1, h2):
            wefted(host, "flannel", "join", "--masquerade")
            wait_for(lambda: bool(env(host)), 5, "subnet.env")  # noqa: B023
            wefted(host, "network", "connect", "flannel", container(host, "f1"))
        h3.run(["ip", "route", "add", "10.5.0.0/16", "via", str(h1.address)])
        yield made


@pytest.fixture(scope="module")
def at(lab: Lab) -> dict[str, str]:
    """The address of each host and of each host's container."""
    found = {host.name: str(host.address) for host in lab.hosts}
    for row in rows_of(lab.host("h1"), 2):
        found[f"{row['host']}/f1"] = address_of(row)
    return found | {f"{name}/tunnel": found[f"{name}/f1"].rpartition(".")[0] + ".0" for name in ("h1", "h2")}


def inside(place: Place, *words: str) -> list[str]:
    return ["ip", "netns", "exec", place[1], *words] if place[1] else list(words)


def seen(lab: Lab, source: Place, target: Place, address: str, own: str = "", mark: str = "") -> str:
    """Return the address behind which a datagram of `source` arrives at `target`."""
    listener = lab.host(target[0]).popen(inside(target, "python3", "-c", LISTEN), stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"
    lab.host(source[0]).run(inside(source, "python3", "-c", SEND, address, own, mark))
    found: str = listener.stdout.readline().strip()
    listener.wait()
    return found


@pytest.mark.parametrize(
    ("source", "target", "behind"),
    [
        (("h1", "f1"), ("h2", "f1"), "h1/f1"),  # from container to container: as it is
        (("h1", "f1"), ("h3", ""), "h1"),  # to the outside: behind its host
        (("h1", ""), ("h2", "f1"), "h1/tunnel"),  # a host takes the address of its end of the tunnel
        (("h3", ""), ("h1", "f1"), "h3"),  # a stranger to a container of this host: as it is
        (("h3", ""), ("h2", "f1"), "h1/tunnel"),  # and behind this host on its way to another's
    ],
)
def test_who_is_seen_behind_which_address(lab: Lab, at: dict[str, str], source: Place, target: Place, behind: str) -> None:
    address = at["/".join(word for word in target if word)]
    assert seen(lab, source, target, address) == at[behind]


def test_an_address_of_this_host_outside_the_network_is_masqueraded_on_its_way_in(lab: Lab, at: dict[str, str]) -> None:
    """flannel's nftables mode never does this: its fourth rule returns first."""
    assert seen(lab, ("h1", ""), ("h2", "f1"), at["h2/f1"], own=at["h1"]) == at["h1/tunnel"]


def test_what_others_have_marked_is_left_alone(lab: Lab, at: dict[str, str]) -> None:
    """0x4000: somebody else translates it; what nobody translates arrives with its own address."""
    h1, h3 = lab.host("h1"), lab.host("h3")
    h1.run(["nft", "add table ip marker; add chain ip marker c { type filter hook prerouting priority mangle; };"
            f"add rule ip marker c ip saddr {at['h1/f1']} udp dport 5401 meta mark set 0x4000"])  # fmt: skip
    try:
        assert seen(lab, ("h1", "f1"), ("h3", ""), str(h3.address)) == at["h1/f1"]
    finally:
        h1.run(["nft", "delete table ip marker"])
    assert seen(lab, ("h1", "f1"), ("h3", ""), str(h3.address)) == at["h1"]


@pytest.mark.parametrize("command", ["flush ruleset", "delete table inet wefted", "flush chain inet wefted postrouting"])
def test_a_flush_is_repaired_within_a_second(lab: Lab, at: dict[str, str], command: str) -> None:
    """flannel looks every five seconds."""
    h1: Host = lab.host("h1")
    h1.run(["nft", command])

    def whole() -> bool:
        listed = h1.run(["nft", "list", "table", "inet", "wefted"], check=False).stdout
        return "@overlay4" in listed and "elements = { 10.5.0.0/16 }" in listed

    wait_for(whole, 1, "the rules are back")
    assert seen(lab, ("h1", "f1"), ("h3", ""), at["h3"]) == at["h1"]
