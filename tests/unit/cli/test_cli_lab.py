"""`wefted lab up`: which engines it asks the lab for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from wefted.cli.root import root
from wefted.errors import UsageError
from wefted.lab.lab import Lab
from wefted.lab.topology import Topology, simple


@pytest.mark.parametrize(
    ("words", "engines"),
    [
        ((), ()),
        (("--docker",), ("docker",)),
        (("--podman", "--containerd"), ("containerd", "podman")),
        (("--docker", "--podman", "--containerd"), ("containerd", "docker", "podman")),
    ],
)
def test_each_engine_has_a_flag(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], engines: tuple[str, ...]) -> None:
    asked: list[set[str]] = []

    def up(name: str, topology: Topology | int, **options: Any) -> None:
        asked.append(set(options["engines"]))
        raise UsageError("no lab today")

    monkeypatch.setattr(Lab, "up", up)
    result = CliRunner().invoke(root, ["lab", "up", *words])
    assert isinstance(result.exception, UsageError | SystemExit)
    assert asked == [set(engines)]


def test_engines_of_the_command_come_on_top_of_the_files(tmp_path: Path) -> None:
    from wefted.lab.document import read

    path = tmp_path / "lab.yaml"
    path.write_text("hosts: {h1: {engines: podman}, h2: }")
    topology = read(path, store=False).with_engines(["docker"])
    assert {m.name: m.engines for m in topology.machines} == {"h1": ("docker", "podman"), "h2": ("docker",)}


def test_routers_and_the_store_have_no_engines() -> None:
    topology = simple(1).with_engines(["docker"])
    assert {m.name: m.engines for m in topology.machines} == {"h1": ("docker",), "etcd": ()}
    assert Topology.from_json(topology.to_json()) == topology
