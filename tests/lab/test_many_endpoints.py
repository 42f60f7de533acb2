"""More containers on one network of one host than a bridge has ports: they reach each other as if it were one bridge."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from wefted.engine.places import ROOM
from wefted.lab.host import Host
from wefted.lab.lab import Lab

from .acceptance import address_of, lab_name, ping, wait_for, wefted

pytestmark = [pytest.mark.lab, pytest.mark.timeout(480)]

MANY = 1500
PAIRS = 40


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab.up(lab_name("many"), 1) as lab:
        yield lab.host("h1")


def attach(host: Host, network: str, count: int) -> list[dict[str, Any]]:
    """Make containers and connect them in one call that reads their names; return their endpoints in this order."""
    names = [f"{network}-{number}" for number in range(count)]
    host.run(["ip", "-batch", "-"], input="\n".join(f"netns add {name}" for name in names))
    text = "\n".join(f"netns:{name}" for name in names)
    done = host.run(["wefted", "network", "connect", network, "-", "--json"], input=text)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert [row["container"] for row in rows] == [f"netns:{name}" for name in names]
    return rows


def detach(host: Host, rows: Sequence[dict[str, Any]], network: str) -> None:
    host.run(["wefted", "network", "disconnect", network, "-"], input="\n".join(row["container"] for row in rows))


def bare(row: dict[str, Any]) -> str:
    return str(row["container"]).removeprefix("netns:")


def exchange(host: Host, **asked: Any) -> Any:
    """Send datagrams between namespaces of the host; see `datagrams`."""
    script = str(Path(__file__).with_name("datagrams.py"))
    return json.loads(host.run([sys.executable, script], input=json.dumps(asked)).stdout)


def some_pairs(rows: Sequence[dict[str, Any]], version: int) -> list[tuple[str, str, str]]:
    """Return random pairs, and from each bridge to each other one."""
    chosen = random.Random(20)
    first = {row["bridge"]: row for row in rows}.values()
    pairs = [tuple(chosen.sample(rows, 2)) for _ in range(PAIRS)]
    pairs += [(a, b) for a in first for b in first if a is not b]
    return [(bare(a), bare(b), address_of(b, version)) for a, b in pairs]


def links(host: Host) -> set[str]:
    return {link["ifname"] for link in json.loads(host.run(["ip", "-j", "link"]).stdout)}


def test_1500_containers_are_one_network(host: Host) -> None:
    before = links(host)
    wefted(host, "network", "create", "big", "--subnet", "10.70.0.0/16")
    rows = attach(host, "big", MANY)
    assert len({row["bridge"] for row in rows}) == -(-MANY // ROOM) > 1
    members = [bare(next(row for row in rows if row["bridge"] == number)) for number in range(6)]
    last = bare(rows[-1])
    calls = [
        (source, to, [*members, last, ""]) for source in ("big-1", "big-1400") for to in ("255.255.255.255", "10.70.255.255")
    ]
    result = exchange(host, pairs=some_pairs(rows, 4), calls=calls)
    assert result["unheard"] == []
    assert result["copies"] == [[1] * 8] * 4, "one copy for each container, and one for the host"
    assert ping(host, last, "10.70.0.1")
    assert ping(host, "big-0", "10.70.0.1")
    assert wefted(host, "plan")["changes"] == []
    detach(host, rows[: MANY // 2], "big")
    assert exchange(host, pairs=some_pairs(rows[MANY // 2 :], 4))["unheard"] == [], "half of them are gone"
    detach(host, rows[MANY // 2 :], "big")
    assert wefted(host, "plan")["changes"] == []
    wefted(host, "network", "rm", "big")
    assert links(host) == before
    host.run(["ip", "-batch", "-"], input="\n".join(f"netns del {bare(row)}" for row in rows))


def test_two_bridges_of_both_families_without_icc_and_with_another_mtu(host: Host) -> None:
    words = ("--subnet", "10.71.0.0/16", "--subnet", "fd71::/64")
    wefted(host, "network", "create", "dual", *words)
    rows = attach(host, "dual", ROOM + 20)
    for version in (4, 6):
        assert exchange(host, pairs=some_pairs(rows, version)[:20])["unheard"] == []
    wefted(host, "network", "set", "dual", "--mtu", "1400")
    near, far = bare(rows[0]), bare(rows[-1])
    assert ping(host, near, address_of(rows[-1]), size=1372)
    assert ping(host, far, address_of(rows[0]), size=1372)
    assert ping(host, far, address_of(rows[0], 6))
    assert wefted(host, "plan")["changes"] == []


@pytest.fixture(scope="module")
def apart(host: Host) -> list[dict[str, Any]]:
    """A network whose containers do not reach each other, over two bridges."""
    wefted(host, "network", "create", "apart", "--subnet", "10.72.0.0/16", "-o", "icc=off")
    return attach(host, "apart", ROOM + 2)


def test_without_icc_containers_of_two_bridges_reach_the_gateway_alone(host: Host, apart: list[dict[str, Any]]) -> None:
    first, other, third = apart[0], apart[-1], apart[-2]
    assert (first["bridge"], other["bridge"], third["bridge"]) == (0, 1, 1)
    assert ping(host, bare(other), "10.72.0.1")
    assert ping(host, bare(first), "10.72.0.1")
    for a, b in ((first, other), (other, first), (other, third)):
        assert not ping(host, bare(a), address_of(b), deadline=1)


def test_a_joint_that_somebody_breaks_is_mended(host: Host, apart: list[dict[str, Any]]) -> None:
    name = bare(apart[-1])
    joints = [link for link in links(host) if link.startswith("jb-")]
    for words in (["nomaster"], ["down"]):
        for joint in joints:
            host.run(["ip", "link", "set", joint, *words])
        wait_for(lambda: ping(host, name, "10.72.0.1", deadline=1), 10, f"mended after {words}")
    for joint in joints:
        host.run(["ip", "link", "del", joint])
    wait_for(lambda: ping(host, name, "10.72.0.1", deadline=1), 10, "mended after its end")
    assert wefted(host, "plan")["changes"] == []


def test_publishing_moves_a_container_to_the_first_bridge(host: Host) -> None:
    wefted(host, "network", "create", "pub", "--subnet", "10.73.0.0/16")
    rows = attach(host, "pub", ROOM + 1)
    assert rows[-1]["bridge"] == 1
    row = wefted(host, "publish", rows[-1]["container"], "8099:80")
    assert row["bridge"] == 0
    assert ping(host, bare(rows[-1]), address_of(rows[0]))
    assert wefted(host, "plan")["changes"] == []


def test_neither_end_of_a_joint_speaks_ipv6(host: Host) -> None:
    found = json.loads(host.run(["ip", "-j", "-6", "addr"]).stdout)
    spoken = [link["ifname"] for link in found if link["ifname"][:3] in ("ja-", "jb-", "bx-")]
    assert spoken == []


def test_uninstall_takes_all_bridges(host: Host) -> None:
    wefted(host, "down")
    wefted(host, "uninstall", "--yes")
    assert not [link for link in links(host) if link[:3] in ("br-", "bx-", "ja-", "jb-", "ve-")]
