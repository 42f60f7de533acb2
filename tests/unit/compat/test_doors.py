"""`pipework` by the agent: what the words become, and what is left to the process that was started."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wefted.compat import CLASSICS, DOORS, doors
from wefted.errors import NotFound
from wefted.plugins import Call

SYNTAX = "Syntax:\npipework <hostinterface> "


class Engine:
    """Remembers what it is asked for; a network that it has not been asked to make does not exist."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    async def call(self, operation: str, parameters: Any) -> Any:
        self.asked.append((operation, parameters))
        await asyncio.sleep(0)
        made = any(operation == "network.create" for operation, _ in self.asked)
        if operation == "network.connect" and not made:
            raise NotFound(f"there is no network {parameters['network']!r}")
        return []

    async def close(self) -> None:
        """Nothing is open."""


def answer(engine: Engine, *words: str) -> tuple[int, Any]:
    given = b"".join(word.encode() + b"\0" for word in words).decode("latin-1")
    got = asyncio.run(doors.ANSWERS["pipework"](engine, Call(input=given)))
    return got.exit_code, got.output


def test_each_door_is_a_classic() -> None:
    assert set(doors.ANSWERS) == DOORS <= set(CLASSICS)


def test_an_attach() -> None:
    engine = Engine()
    assert answer(engine, "brdoor", "netns:c1", "192.168.1.1/24") == (0, ["", ""])
    assert [operation for operation, _ in engine.asked] == ["network.connect", "network.create", "network.connect"]
    assert engine.asked[-1][1]["containers"] == ["netns:c1"]


def test_what_is_to_be_printed_comes_back() -> None:
    code, (out, error) = answer(Engine())
    assert (code, out.startswith(SYNTAX), error) == (1, True, "")
    code, (out, error) = answer(Engine(), "none0", "c1", "10.0.0.1/8")
    assert (code, out, error) == (1, "", "I do not know how to setup interface none0.\n")


def test_a_word_is_a_character_for_each_byte_and_so_is_the_answer() -> None:
    code, (_, error) = answer(Engine(), "nöne", "c1", "10.0.0.1/8")
    assert code == 1
    assert error.encode("latin-1").decode() == "I do not know how to setup interface nöne.\n"


@pytest.mark.parametrize("line", ["--wait", "--wait -i eth5 --timeout 2", "route c1 show", "tc c1 qdisc show", "rule c1 list"])
def test_what_only_the_process_itself_can_do_is_left_to_it(line: str) -> None:
    engine = Engine()
    assert answer(engine, *line.split()) == (-1, None)
    assert engine.asked == []
