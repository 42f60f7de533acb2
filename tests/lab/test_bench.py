"""The contenders of the benchmark leave what they should, and the look at it is not fooled."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from wefted.bench.peers import CNI
from wefted.bench.worker import Worker
from wefted.errors import WeftedError
from wefted.lab.lab import Lab


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Lab.up(f"test-bench-{secrets.token_hex(3)}", 1, bare=True) as lab, Worker(lab.host("h1")) as worker:
        yield worker


@pytest.mark.parametrize("name", ["cni", "cni-masquerade", "ip-batch", "ip-calls", "pipework-script", "pipework-arping"])
def test_a_peer_attaches(worker: Worker, name: str) -> None:
    missing = worker.ask("open", contender=name)["missing"]
    if missing:
        pytest.skip(missing)
    names = [f"{name}-a", f"{name}-b"]
    worker.ask("make", names=[*names, f"{name}-never"])
    assert worker.ask("empty", names=names) == names
    times = worker.ask("attach", contender=name, names=names, first=0)
    assert len(times) == 2
    assert min(times) > 0
    assert worker.ask("ready", contender=name, names=[*names, f"{name}-never"]) == names
    assert worker.ask("answered", names=[*names, f"{name}-never"]) == names
    assert worker.ask("empty", names=names) == []


def test_a_failing_peer_is_told_with_its_words(worker: Worker) -> None:
    if not CNI.is_dir():
        pytest.skip("no CNI plugins")
    worker.ask("open", contender="cni")
    with pytest.raises(WeftedError, match="failed with exit code"):
        worker.ask("attach", contender="cni", names=["is-not-there"], first=0)
    assert worker.ask("empty", names=["is-not-there"]) == ["is-not-there"]


def test_starts_are_measured_with_their_cpu_time(worker: Worker) -> None:
    wall, cpu = worker.ask("start", argv=worker.ask("command", words=["--version"]))
    assert wall > 0
    assert cpu > 0
    assert worker.ask("program", words=["is-not-there"]) == []
