"""What the README and the reference show exists: commands, targets, places where blocks are run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from wefted.cli.root import root
from wefted.testing.markdown import Block, blocks

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SHELL = [block for block in blocks(README) if block.language == "bash"]
PLACES = {"here", "here: collect only", "on: one", "on: h1", "on: h2"}


def line(block: Block) -> str:
    return f"line {block.line}"


def commands(text: str) -> list[list[str]]:
    """Return every `wefted ...` of a shell text as words, without what the shell adds around it."""
    found = re.findall(r"\bwefted ((?:[^\s|;&<>)]+ ?)+)", re.sub(r"<<END.*?^END$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [shlex.split(words) for words in found]


def resolve(words: list[str]) -> click.Command:
    command: click.Command = root
    context = click.Context(command)
    for word in words:
        if not isinstance(command, click.Group):
            break
        inner = command.get_command(context, word)
        assert inner is not None, f"there is no command {word!r} in {words}"
        command, context = inner, click.Context(inner, parent=context)
    return command


def test_it_has_blocks_to_run() -> None:
    assert len(SHELL) >= 8


@pytest.mark.parametrize("block", SHELL, ids=line)
def test_a_block_says_where_it_runs(block: Block) -> None:
    assert block.where in PLACES


@pytest.mark.parametrize("block", SHELL, ids=line)
def test_a_block_is_valid_shell(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert checked.stderr == ""


@pytest.mark.parametrize("block", SHELL, ids=line)
def test_the_commands_of_a_block_exist_with_their_flags(block: Block) -> None:
    for words in commands(block.text):
        command = resolve(words)
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        own = words[: words.index("--")] if "--" in words else words
        assert {word for word in own if re.match(r"--?[a-z]", word)} <= known | {"--help"}


def test_every_command_is_in_the_table() -> None:
    context = click.Context(root)
    visible = [name for name in root.list_commands(context) if (c := root.get_command(context, name)) and not c.hidden]
    table = README[README.index("## The commands") :]
    assert [
        name for name in visible if f"`{name}`" not in table and f"`wefted {name}" not in table and name != "completion"
    ] == []


def test_the_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    pages = README + (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"`make (\w+)|^make (\w+)", pages, re.MULTILINE))
    assert [t for pair in targets for t in pair if t and not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


def test_the_reference_is_what_the_commands_say(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        root.main(["reference"], prog_name="wefted")
    written = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert written == capsys.readouterr().out, "write it again: make docs"
