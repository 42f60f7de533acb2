"""The runtimes of real engines keep the promises of `Runtime`: the contract runs once inside a virtual host that has them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wefted.lab.engines import ENGINES
from wefted.lab.lab import Lab

from . import engine_contracts
from .engines import lab_with

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

REPORT = "run/contract.xml"
CLASSES = ("TestDocker", "TestPodman", "TestContainerd", "TestLxc", "TestNspawn", "TestNspawnRegistered")
CASES = [(name, test) for name in CLASSES for test in sorted(dir(getattr(engine_contracts, name))) if test.startswith("test_")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from lab_with(*ENGINES, bare=True)


@pytest.fixture(scope="module")
def outcomes(lab: Lab) -> dict[tuple[str, str], str]:
    """Run the whole contract in the host; return what each test said, nothing where it passed."""
    h1 = lab.host("h1")
    words = [
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
        f"--junitxml=/{REPORT}",
        engine_contracts.__file__,
    ]
    done = h1.run([sys.executable, "-m", "pytest", "-q", *words], check=False, timeout=280, cwd=str(Path(__file__).parents[2]))
    assert (h1.root / REPORT).exists(), done.stdout + done.stderr
    cases = ElementTree.fromstring((h1.root / REPORT).read_text()).iter("testcase")
    return {(case.get("classname", "").rpartition(".")[2], case.get("name", "")): _said(case) for case in cases}


def _said(case: ElementTree.Element) -> str:
    return "\n".join(f"{child.tag}: {child.text}" for child in case if child.tag in ("failure", "error", "skipped"))


@pytest.mark.parametrize(("group", "test"), CASES)
def test_the_contract(outcomes: dict[tuple[str, str], str], group: str, test: str) -> None:
    assert (group, test) in outcomes
    assert not outcomes[group, test], outcomes[group, test]


def test_nothing_of_it_is_left_running(lab: Lab, outcomes: dict[tuple[str, str], str]) -> None:
    assert lab.host("h1").run(["docker", "ps", "-aq"]).stdout == ""
    assert lab.host("h1").run(["podman", "ps", "-aq"], stderr=subprocess.PIPE).stdout == ""
