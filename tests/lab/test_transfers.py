"""Three hosts on one etcd, joined in every way that this kernel has: what goes from one to the next arrives as it was sent.

100 MB each; `WEFTED_TRANSFER=1GB`, or `make soak`, sends that much. The underlay is like a plain card (nothing cut or summed by
devices) and as the lab's links are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from wefted.bench import card
from wefted.lab.agents import WEFTED
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, container, lab_name, ping, wait_for, wefted
from .test_udp import reconcile
from .transfers import amount, transfer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WAYS = {
    "host-gw": (("--backend", "host-gw"), ""),
    "vxlan": (("--backend", "vxlan"), ""),
    "vxlan as flannel's": (("--backend", "vxlan", "-o", "device=flannel.1", "-o", "vni=1", "-o", "port=8472"), ""),
    "udp by programs": (("--backend", "udp"), ""),
    "udp by the relay": (("--backend", "udp"), "relay"),
    "udp by programs through the stack": (("--backend", "udp", "-o", "direct=off"), ""),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(lab_name("transfers"), 3) as made:
        missing = wefted(made.host("h1"), "status")["kernel"]["missing"]
        for feature in ("tun", "bpf", "vxlan"):
            if feature in missing:
                pytest.skip(missing[feature])
        yield made


@pytest.fixture(scope="module", params=["on", "off"], ids=["virtual card", "plain card"])
def cards(lab: Lab, request: pytest.FixtureRequest) -> str:
    for host in lab.hosts:
        host.run([sys.executable, "-P", "-m", card.__name__, "eth0", request.param])
        reconcile(host)
    return str(request.param)


def choose(host: Host, datapath: str) -> None:
    """Restart a host's agent with a data path, if it has another one."""
    text = f'datapath = "{datapath}"\n' if datapath else ""
    if host.run(["cat", "/etc/wefted/wefted.toml"], check=False).stdout != text:
        host.run(["sh", "-c", "mkdir -p /etc/wefted && cat >/etc/wefted/wefted.toml"], input=text)
        host.run([*WEFTED, "down"])
        host.run([*WEFTED, "up"])


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_arrives_intact(lab: Lab, cards: str, way: str) -> None:
    words, datapath = WAYS[way]
    for host in lab.hosts:
        choose(host, datapath)
    wefted(lab.host("h1"), "network", "create", "n", "--subnet", "10.74.0.0/16", *words)
    try:
        found = {h.name: address_of(wefted(h, "network", "connect", "n", container(h, "c"))[0]) for h in lab.hosts}
        pairs = [(one, other) for one in found for other in found if one != other]
        wait_for(lambda: all(ping(lab.host(one), "c", found[other]) for one, other in pairs), 10, "all reach all")
        for one, other in (("h1", "h2"), ("h2", "h3"), ("h3", "h1")):
            seconds = transfer(lab.host(one), lab.host(other), found[other], amount())
            print(f"{way}, cards {cards}, {one} to {other}: {amount() / 1e6:.0f} MB in {seconds:.2f} s")
    finally:
        for host in lab.hosts:
            wefted(host, "network", "disconnect", "n", "netns:c", check=False)
            host.run(["ip", "netns", "del", "c"], check=False)
        # h1 hears a moment later that the others have none of it any more
        removed = ["wefted", "network", "rm", "n"]
        wait_for(lambda: lab.host("h1").run(removed, check=False).returncode == 0, 5, "the network is removed")
