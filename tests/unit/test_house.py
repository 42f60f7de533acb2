"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import wefted

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "wefted").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BANNED = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
ADRS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files_of_the_project() -> list[Path]:
    """Return what git would put into a commit, or, in an unpacked archive, everything."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [ROOT / path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_a_file_has_one_subject_and_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_a_module_begins_with_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_names_say_what_a_thing_is(path: Path) -> None:
    words = {part.removesuffix(".py") for part in path.relative_to(ROOT / "src").parts}
    assert not words & BANNED


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_left_for_later(path: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text())


def test_every_room_is_a_package() -> None:
    folders = {path.parent for path in SOURCES}
    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_root_folder_is_a_front_door() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in files_of_the_project()}
    assert len(entries) <= 15, sorted(entries)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in ADRS]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", ADRS, ids=name)
def test_a_decision_is_listed(path: Path) -> None:
    assert f"({path.name})" in (path.parent / "README.md").read_text()


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == wefted.__version__


def test_the_lock_names_no_host() -> None:
    assert "://" not in (ROOT / "uv.lock").read_text()


def links_of(page: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    return [target for target in targets if "://" not in target and not target.startswith("mailto:")]


PAGES = [path for path in files_of_the_project() if path.suffix == ".md"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    assert [target for target in links_of(page) if not (page.parent / target).exists()] == []
