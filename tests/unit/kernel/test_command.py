"""Commands of the user's: run once, remembered when they ended well, and what they say when they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from wefted.kernel.command import CommandHandler
from wefted.kernel.fault import Fault
from wefted.kernel.netlink import Refused
from wefted.kernel.netns import Namespaces
from wefted.model.command import Command
from wefted.model.objects import HOST, Netns


class NoMessages:
    """A transaction with nothing to send."""

    def flush(self, ns: Netns) -> None:
        assert ns == HOST


NOTHING = cast(Any, NoMessages())


@pytest.fixture
def handler(tmp_path: Path) -> CommandHandler:
    return CommandHandler(tmp_path, Namespaces(HOST), Fault())


def command(tmp_path: Path, run: str) -> Command:
    return Command(
        network="web", subject="10.64.2.0/24", run=run, undo=f"echo gone $SUBNET >>{tmp_path}/log", stdin="a key",
        environment=(("SUBNET", "10.64.2.0/24"),),
    )  # fmt: skip


def test_it_finds_environment_and_input_in_a_shell_and_its_output_is_kept(handler: CommandHandler, tmp_path: Path) -> None:
    item = command(tmp_path, f'read -r key; echo "$SUBNET $key" >>{tmp_path}/log && echo done')
    handler.create(item, NOTHING)
    assert (tmp_path / "log").read_text() == "10.64.2.0/24 a key\n"
    (found,) = handler.read()
    assert (found, found.output) == (item, "done\n")
    handler.delete(found, NOTHING)
    handler.delete(found, NOTHING)
    assert (tmp_path / "log").read_text().endswith("a key\ngone 10.64.2.0/24\n")
    assert list(handler.read()) == []


def test_one_that_fails_is_told_and_not_remembered(handler: CommandHandler, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"the command for 10.64.2.0/24 ended with 3: no such road"):
        handler.create(command(tmp_path, "echo no such road >&2; exit 3"), NOTHING)
    assert list(handler.read()) == []


def test_one_whose_undoing_fails_is_still_there(handler: CommandHandler, tmp_path: Path) -> None:
    item = replace(command(tmp_path, "true"), undo="exit 1")
    handler.create(item, NOTHING)
    with pytest.raises(Refused, match="ended with 1"):
        handler.delete(item, NOTHING)
    assert list(handler.read()) == [item]


def test_another_command_takes_the_first_one_back(handler: CommandHandler, tmp_path: Path) -> None:
    before = command(tmp_path, "true")
    handler.create(before, NOTHING)
    after = replace(before, run=f"echo new >>{tmp_path}/log")
    handler.update(before, after, NOTHING)
    assert (tmp_path / "log").read_text() == "gone 10.64.2.0/24\nnew\n"
    assert list(handler.read()) == [after]


def test_a_record_that_nobody_can_read_is_forgotten(handler: CommandHandler, tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "abc").write_text("{")
    assert list(handler.read()) == []
    assert not (tmp_path / "commands" / "abc").exists()
