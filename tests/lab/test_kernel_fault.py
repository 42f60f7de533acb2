"""kill -9 after every single kernel change: what was left is recognised, and the work is completed or removed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from wefted.kernel.fault import VARIABLE
from wefted.model.firewall import NftElement, Sysctl
from wefted.model.link import PortVlan
from wefted.model.objects import HOST, Change, KernelObject, Key, Netns
from wefted.model.route import Route
from wefted.testing.kernel_samples import BRIDGE, FOREIGN, TABLE, attached

from .conftest import LabHost

pytestmark = pytest.mark.lab

PROGRAM = """
import pickle, sys
from wefted.kernel.linux import LinuxKernel
outcomes = LinuxKernel(runtime_dir=sys.argv[2], home=sys.argv[1]).apply(pickle.load(sys.stdin.buffer))
sys.exit("\\n".join(o.error for o in outcomes if o.error) or 0)
"""

MOST = 60


def wanted(ns: Netns) -> list[KernelObject]:
    """Return an attach with everything that it may have: sysctls, a published port, a route."""
    return [
        *attached(ns),
        PortVlan(link="ve-test", tag=10),
        Sysctl(name=f"net/ipv4/conf/{BRIDGE.name}/forwarding", value="1"),
        Sysctl(name="net/ipv4/ip_forward", value="1"),
        Route(ns=ns, destination=ip_network("0.0.0.0/0"), link="eth0", via=ip_address("10.64.0.1")),
        TABLE,
        NftElement(container="any4", match=("tcp", "8080"), value=("10.64.0.5", "80")),
    ]


def changes(ns: Netns, verb: str) -> list[Change]:
    objects = wanted(ns)
    if verb == "attach":
        return [Change(None, item) for item in sorted(objects, key=lambda item: item.rank)]
    owned = sorted((item for item in objects if item.owned), key=lambda item: -item.rank)
    return [Change(item, None) for item in owned]


def run(host: LabHost, ns: Netns, verb: str, position: int) -> int:
    """Make the changes in a process that dies after so many of them; return its exit status."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, host.netns, str(host.runtime_dir)],
        env={**os.environ, VARIABLE: str(position)},
        input=pickle.dumps(changes(ns, verb)),
        capture_output=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def difference(desired: Sequence[KernelObject], found: dict[Key, KernelObject]) -> list[Change]:
    keys = {item.key for item in desired}
    gone = [Change(item, None) for key, item in found.items() if key not in keys and item.owned]
    new = [item for item in desired if item.key not in found or not item.satisfied_by(found[item.key])]
    gone.sort(key=lambda change: -change.subject.rank)
    return gone + [Change(found.get(item.key), item) for item in sorted(new, key=lambda item: item.rank)]


def found(host: LabHost, ns: Netns) -> dict[Key, KernelObject]:
    kernel = host.new_kernel()
    return {**kernel.read(HOST).objects, **kernel.read(ns).objects}


def positions(host: LabHost, ns: Netns, verb: str) -> int:
    """Return how many single changes there are."""
    position = 1
    while run(host, ns, verb, position) != 0:
        restore(host, ns, verb)
        position += 1
        assert position < MOST
    return position - 1


def restore(host: LabHost, ns: Netns, verb: str) -> None:
    """Complete what was interrupted, see that it holds, and take it back."""
    target = wanted(ns) if verb == "attach" else []
    before = wanted(ns) if verb == "detach" else []
    for goal in (target, before):
        outcomes = host.new_kernel().apply(difference(goal, found(host, ns)))
        assert [o.error for o in outcomes if o.error] == []
        assert difference(goal, found(host, ns)) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_every_position_is_survived(host: LabHost, verb: str) -> None:
    ns = host.sandbox()
    before = {link["ifname"] for link in host.links()}
    if verb == "detach":
        assert [o.error for o in host.kernel.apply(changes(ns, "attach")) if o.error] == []
    counted = positions(host, ns, verb)
    assert counted >= (10 if verb == "attach" else 5)
    host.kernel.apply(difference([], found(host, ns)))
    assert {link["ifname"] for link in host.links()} == before == {"lo", FOREIGN, f"{FOREIGN}-far"}
    assert not list((host.runtime_dir / "sysctl").iterdir())
    assert host.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    assert host.run("nft", "list", "tables") == ""
