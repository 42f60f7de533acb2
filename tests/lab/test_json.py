"""What docs/reference/json.md shows has the keys that the commands really print."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "json.md").read_text()
WEFTED = str(Path(sys.executable).with_name("wefted"))
FREE = {"options", "labels", "data", "missing", "unreadable", "machine"}
"""Keys whose values have keys that users, backends and kernels choose."""
NOW_AND_THEN = {"at"}

On = Callable[..., str]


def documented(title: str, number: int = 0) -> Any:
    section = re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]
    return json.loads(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[number])


def keys(value: Any, path: str = "") -> set[str]:
    """Return the path of every key; the members of a list are looked at together."""
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value))
    if not isinstance(value, dict):
        return set()
    found = {f"{path}.{key}" for key in value if key not in NOW_AND_THEN}
    return found.union(*(keys(item, f"{path}.{key}") for key, item in value.items() if key not in FREE))


@pytest.fixture(scope="module")
def on() -> Iterator[On]:
    """A lab of two hosts with one network and a container on each; call it with a host and a command line."""
    lab = f"json-{uuid.uuid4().hex[:6]}"

    def wefted(*words: str) -> str:
        done = subprocess.run([WEFTED, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(host: str, command: str) -> str:
        return wefted("lab", "exec", "--name", lab, host, "--", *command.split())

    try:
        wefted("lab", "up", "--name", lab, "--hosts", "2")
        run("h1", f"{WEFTED} network create blue --subnet 10.20.0.0/16 --backend vxlan --label team=web")
        for host in ("h1", "h2"):
            run(host, "ip netns add c1")
            run(host, f"{WEFTED} network connect blue netns:c1 --route 10.99.0.0/16 --alias db --publish 8080:80")
        yield run
    finally:
        wefted("lab", "down", "--name", lab)


@pytest.mark.parametrize(
    ("command", "title"),
    [("status", "status"), ("network ls", "network"), ("ps", "endpoints"), ("host ls", "host"), ("dns ls", "dns")],
)
def test_a_command_prints_the_documented_keys(on: On, command: str, title: str) -> None:
    printed = json.loads(on("h1", f"{WEFTED} {command} --json"))
    expected = documented(title)
    if title == "status":
        assert printed["failed"] == printed["unreachable"] == []
        expected["failed"] = expected["unreachable"] = []
    assert keys(printed) == keys(expected)


def test_ports_have_the_documented_keys(on: On) -> None:
    printed = json.loads(on("h1", f"{WEFTED} ps --ports --json"))
    assert [row["host"] for row in printed] == ["h1", "h2"]
    assert keys(printed) == keys(documented("endpoints", 1))
    assert printed[0]["reachable_from"] == documented("endpoints", 1)[0]["reachable_from"]


def test_inspect_shows_leases_and_endpoints(on: On) -> None:
    (network,) = json.loads(on("h1", f"{WEFTED} network inspect blue --json"))
    assert keys(network["leases"]) == keys([documented("network", 1)])
    assert keys(network["endpoints"]) == keys(documented("endpoints"))
    assert set(network) == {*documented("network")[0], "leases", "link"}
    (host,) = json.loads(on("h1", f"{WEFTED} host inspect h2 --json"))
    assert set(host) == {*documented("host")[0], "leases", "members"}
    assert keys(host["members"]) == keys(documented("endpoints"))


def test_a_lookup_tells_what_a_name_stands_for(on: On) -> None:
    expected = documented("dns", 1)
    assert keys(json.loads(on("h1", f"{WEFTED} dns lookup _80._tcp.c1 --json"))) == keys(expected)


def test_a_plan_lists_changes(on: On) -> None:
    on("h1", "ip -n c1 address flush dev eth0")
    on("h1", f"{WEFTED} apply --json")
    foreseen = json.loads(on("h1", f"{WEFTED} uninstall --plan --json"))
    assert keys(foreseen) == keys(documented("plan, apply, uninstall")) | {".paths", ".failures"}
    assert json.loads(on("h1", f"{WEFTED} plan --json")) == {"changes": []}


def test_lists_of_names(on: On) -> None:
    on("h1", f"{WEFTED} network create green --subnet 10.21.0.0/24")
    assert json.loads(on("h1", f"{WEFTED} network rm green --json")) == {"removed": ["green"]}
    assert json.loads(on("h2", f"{WEFTED} network disconnect blue netns:c1 --json")) == {"disconnected": ["netns:c1"]}
    (endpoint,) = json.loads(on("h2", f"{WEFTED} network connect blue netns:c1 --json"))
    assert keys(endpoint) == keys(documented("endpoints")[0]) - {
        ".routes[].destination",
        ".routes[].via",
        ".routes[].direct",
    } - {key for key in keys(documented("endpoints")[0]) if key.startswith(".ports[]")}
