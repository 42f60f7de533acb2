"""`wefted demo` shows every kind of network, tells what fails, and leaves nothing; its parts say what is really there."""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wefted.errors import WeftedError
from wefted.lab import path, state
from wefted.lab.demo import _output, _start, topology
from wefted.lab.host import Host
from wefted.lab.kinds import KINDS
from wefted.lab.lab import Lab
from wefted.lab.path import Place, shortened

WEFTED = (sys.executable, "-P", "-m", "wefted.cli.main")
BRIDGE, TUNNEL = "br-0123456789ab", "vx-0123456789ab"


@pytest.fixture(scope="module")
def shown() -> Any:
    done = subprocess.run([*WEFTED, "demo", "--json"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    return json.loads(done.stdout) | {"exit": done.returncode, "progress": done.stderr}


def row(shown: Any, title: str) -> Any:
    return next(network for network in shown["networks"] if network["network"] == title)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_a_kind_works(shown: Any, kind: Any) -> None:
    found = row(shown, kind.title)
    if found["status"] == "skipped":
        pytest.skip(found["reason"])
    assert found["problems"] == []
    assert found["http"] == {"ok": 12, "tried": 12} if kind.spans else {"ok": 4, "tried": 4}
    assert found["published"]["ok"] == found["published"]["tried"] == (2 if kind.publishes else 0)
    assert found["mtu"] == (1450 if kind.backend == "vxlan" else 1500)
    assert found["ping_ms"] > 0
    assert found["tcp_gbit"] > 0
    assert found["p50_us"] > 0
    assert len({found["addresses"][name] for name in found["shown"]}) == 2


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("bridge", "eth0→ve→br→ve→eth0"),
        ("bridge+host-gw", "eth0→ve→br→eth0⇒eth0→br→ve→eth0"),
        ("bridge+vxlan", "eth0→ve→br→vx→eth0⇒eth0→vx→br→ve→eth0"),
        ("bridge+vxlan L2", "eth0→ve→br→vx→eth0⇒eth0→vx→br→ve→eth0"),
        ("macvlan", "eth0→eth0⇒eth0→eth0"),
        ("ptp", "eth0→ve→ve→eth0"),
    ],
)
def test_the_path_is_that_of_the_kind(shown: Any, title: str, expected: str) -> None:
    found = row(shown, title)
    if found["status"] == "skipped":
        pytest.skip(found["reason"])
    assert shortened(found["path"], found["wire"]) == expected


def test_it_succeeds_within_a_minute_and_draws_the_lab(shown: Any) -> None:
    assert shown["exit"] == 0
    assert shown["ok"] is True
    assert shown["seconds"] < 60
    assert any("c3" in line and "overlay" in line for line in shown["topology"])
    assert "macvlan" in shown["progress"]


def test_it_takes_its_lab_down(shown: Any) -> None:
    assert shown["lab"] is None
    assert not [name for name in state.names() if name.startswith("demo-")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    child = subprocess.Popen([*WEFTED, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    try:
        seen = next(line for line in child.stderr if "bridge: connect" in line)
        child.send_signal(number)
        _, rest = child.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
    assert "bridge" in seen
    assert "take everything down" in rest
    assert "Traceback" not in rest
    assert child.returncode == 130
    assert f"demo-{child.pid}" not in state.names()


# -- the parts, on links that plain iproute2 made -------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(f"test-demo-{secrets.token_hex(3)}", topology(), bare=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def joined(lab: Lab) -> Lab:
    """c1 and c2 on h1, c3 on h2: one broadcast domain over a VXLAN."""
    one, other = lab.host("h1"), lab.host("h2")
    for host, peer in ((one, other), (other, one)):
        ip(host, f"link add {BRIDGE} type bridge")
        ip(host, f"link set {BRIDGE} up")
        ip(host, f"link add {TUNNEL} type vxlan id 7 dstport 4789 local {host.address} remote {peer.address} dev eth0")
        ip(host, f"link set {TUNNEL} master {BRIDGE} up")
    for host, name, number in ((one, "c1", 1), (one, "c2", 2), (other, "c3", 3)):
        ip(host, f"link add ve-0123456789{name} mtu 1450 master {BRIDGE} type veth peer name eth1 mtu 1450 netns {name}")
        ip(host, f"link set ve-0123456789{name} up")
        ip(host, f"-n {name} link set eth1 up")
        ip(host, f"-n {name} address add 10.0.0.{number}/24 dev eth1")
        child = _start(host, name, "serve", name)
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], 10)[0]
        assert child.stdout.readline() == "ready\n"
    return lab


def ip(host: Host, words: str) -> None:
    host.run(["ip", *words.split()])


def probe(host: Host, address: str, port: int = 80, size: int = 1450) -> Any:
    target = {"address": address, "port": port, "ping": True, "size": size}
    return json.loads(_output(_start(host, "c1", "probe", json.dumps([target]))))[0]


def test_a_probe_tells_who_answered(joined: Lab) -> None:
    found = probe(joined.host("h1"), "10.0.0.3")
    assert found["errors"] == []
    assert found["text"] == "c3"
    assert found["ping_ms"] > 0


def test_a_probe_finds_an_mtu_that_is_none(joined: Lab) -> None:
    found = probe(joined.host("h1"), "10.0.0.2", size=1451)
    assert found["text"] == "c2"
    assert "1451 bytes" in found["errors"][0]


def test_a_probe_finds_a_closed_port(joined: Lab) -> None:
    start = time.monotonic()
    found = probe(joined.host("h1"), "10.0.0.2", port=81)
    assert found["text"] == ""
    assert "refused" in found["errors"][0]
    assert time.monotonic() - start < 15


def test_a_stream_is_counted_by_its_receiver(joined: Lab) -> None:
    found = json.loads(_output(_start(joined.host("h1"), "c1", "stream", "10.0.0.3", "0.1")))
    assert found["gbit"] > 0
    assert min(found["turns_us"]) > 0


def test_paths_follow_the_links(joined: Lab) -> None:
    probe(joined.host("h1"), "10.0.0.3")
    one, two = Place(joined.host("h1"), "c1", "10.0.0.1"), Place(joined.host("h1"), "c2", "10.0.0.2")
    far = Place(joined.host("h2"), "c3", "10.0.0.3")
    assert str(path.between(one, two)) == "eth1→ve→br→ve→eth1"
    assert str(path.between(one, far)) == "eth1→ve→br→vx→eth0⇒eth0→vx→br→ve→eth1"
    assert path.between(one, far).devices[3] == TUNNEL


def test_a_path_to_an_address_that_is_gone_is_an_error(joined: Lab) -> None:
    one, nobody = Place(joined.host("h1"), "c1", "10.0.0.1"), Place(joined.host("h2"), "c4", "10.0.0.9")
    with pytest.raises(WeftedError, match="does not have"):
        path.between(one, nobody)


def test_the_demo_needs_root() -> None:
    code = "import os, sys; os.geteuid = lambda: 1000; from wefted.cli.main import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
