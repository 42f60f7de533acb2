"""The createRuntime hook: who is attached to what, who is left alone, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wefted.plugins import Answer, Call, oci_hook

from .fake_engine import Host

PID = 4194303
"""No process has it: it is the kernel's limit."""
NETNS = f"/proc/{PID}/ns/net"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(oci_hook, "DOCKER", tmp_path / "docker")
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


async def start() -> Host:
    host = await Host.start()
    host.make(NETNS)
    for number, name in enumerate(("net1", "net2"), 60):
        await host.engine.call("network.create", {"name": name, "subnets": [f"10.{number}.0.0/24"]})
    return host


async def hook(host: Host, state: Any) -> Answer:
    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    return await oci_hook.answer(host.engine, Call(input=text.decode("latin-1")))


def state(bundle: Path, annotations: Any = None, pid: Any = PID) -> dict[str, Any]:
    return {"ociVersion": "1.0.2", "id": "web1", "pid": pid, "bundle": str(bundle), "annotations": annotations}


async def test_annotations_of_the_state(bundle) -> None:
    host = await start()
    wishes = {"wefted.network": "net1, net2", "wefted.ip": "10.60.0.9", "wefted.alias": "db", "wefted.publish": "8080:80"}
    assert await hook(host, state(bundle, wishes)) == Answer()
    rows = await host.rows()
    assert [(r["network"], r["container"], r["ns"], r["ifname"]) for r in rows] == [
        ("net1", "oci:web1", NETNS, "eth0"),
        ("net2", "oci:web1", NETNS, "eth1"),
    ]
    assert (rows[0]["addresses"], rows[0]["aliases"], rows[0]["ports"][0]["host_port"]) == (["10.60.0.9/24"], ["db"], 8080)
    assert rows[1]["aliases"] == []


@pytest.mark.parametrize("place", ["annotations", "labels", "environment"])
async def test_what_the_bundle_says(bundle, place) -> None:
    host = await start()
    config: dict[str, Any] = {"process": {"env": ["PATH=/bin"]}}
    if place == "annotations":
        config["annotations"] = {"wefted.network": "net1"}
    elif place == "environment":
        config["process"]["env"].append("WEFTED_NETWORK=net1")
    else:
        (bundle.parent / "docker/web1").mkdir(parents=True)
        labels = {"Config": {"Labels": {"wefted.network": "net1"}}}
        (bundle.parent / "docker/web1/config.v2.json").write_text(json.dumps(labels))
    (bundle / "config.json").write_text(json.dumps(config))
    assert (await hook(host, state(bundle))).exit_code == 0
    assert [r["network"] for r in await host.rows()] == ["net1"]


async def test_a_container_that_says_nothing_is_left_alone(bundle) -> None:
    host = await start()
    assert await hook(host, state(bundle)) == Answer()
    assert await host.rows() == []


async def test_a_container_in_the_hosts_network_is_left_alone(bundle, monkeypatch) -> None:
    host = await start()
    monkeypatch.setattr(oci_hook, "is_own", lambda path: path == NETNS)
    assert await hook(host, state(bundle, {"wefted.network": "net1"})) == Answer()
    assert await host.rows() == []


async def test_all_of_its_networks_or_none(bundle) -> None:
    host = await start()
    answer = await hook(host, state(bundle, {"wefted.network": "net1,nosuch"}))
    assert (answer.exit_code, "nosuch" in answer.output["error"]) == (1, True)
    assert await host.rows() == []


async def test_a_container_that_starts_again(bundle) -> None:
    host = await start()
    await hook(host, state(bundle, {"wefted.network": "net1"}))
    host.remove(NETNS)
    host.make(NETNS)
    assert (await hook(host, state(bundle, {"wefted.network": "net1"}))).exit_code == 0
    assert len(await host.rows()) == 1


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff", b"{}", b'{"id": "x"}', b'{"id": 7, "pid": 1}', b'{"id": "x", "pid": -1}']
)
async def test_what_is_no_state(text) -> None:
    answer = await hook(await start(), text)
    assert (answer.exit_code, set(answer.output)) == (1, {"error", "hint"})


VALUES = st.none() | st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=3), max_size=2)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    fields=st.dictionaries(st.sampled_from(["id", "pid", "bundle", "annotations"]), VALUES),
    config=VALUES | st.dictionaries(st.sampled_from(["annotations", "process"]), VALUES),
)
async def test_whatever_comes_is_no_defect(bundle, fields, config) -> None:
    (bundle / "config.json").write_text(json.dumps(config))
    answer = await hook(await start(), {**state(bundle, {"wefted.network": "net1"}), **fields})
    assert answer.exit_code == 0 or "defect" not in answer.output["error"]
