"""The page on `pipework` names tests that there are, and recipes that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "pipework.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)))
RECIPES = sorted(path.name for path in (ROOT / "recipes").glob("*.sh"))
TUTORIALS = "".join(path.read_text() for path in (ROOT / "docs" / "tutorial").glob("*.md"))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 25


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_a_named_test_is_there(file: str, function: str) -> None:
    places = [ROOT / "tests" / "lab" / file, ROOT / "tests" / "unit" / "compat" / file]
    assert any(f"\ndef {function}(" in path.read_text() for path in places if path.exists())


def test_every_row_names_its_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| form")]
    assert [row for row in rows if "::test_" not in row] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_shown_in_a_tutorial(recipe: str) -> None:
    assert f"(../../recipes/{recipe})" in TUTORIALS
