"""The JSON that docs/reference/json.md promises is what the commands can print as text."""

import json
import re
from pathlib import Path

import click
import pytest

from wefted.cli.root import root

TEXT = Path(__file__).parents[3].joinpath("docs/reference/json.md").read_text(encoding="utf-8")
SECTIONS = (section.split("\n", 1) for section in re.split(r"^## ", TEXT, flags=re.M)[1:])
EXAMPLES = {title: re.findall(r"```json\n(.*?)```", body, re.S) for title, body in SECTIONS}
ELSEWHERE = ("lab", "demo", "bench")


@pytest.mark.parametrize(
    ("words", "operation", "section"),
    [
        (["status"], "status", "status"),
        (["network", "ls"], "network.list", "network"),
        (["network", "inspect", "blue"], "network.inspect", "network"),
        (["ps"], "endpoint.list", "endpoints"),
        (["network", "connect", "blue", "netns:c1"], "network.connect", "endpoints"),
        (["host", "ls"], "host.list", "host"),
        (["host", "inspect", "h1"], "host.inspect", "host"),
        (["dns", "ls"], "dns.list", "dns"),
        (["doctor"], "doctor", "doctor"),
        (["plan"], "plan", "plan, apply, uninstall"),
    ],
)
def test_a_documented_example_can_be_printed(agent, run, words, operation, section):
    example = json.loads(EXAMPLES[section][0])
    agent.answers[operation] = example
    told = run(*words)
    assert told.exit_code == int(isinstance(example, dict) and not example.get("healthy", True)), told.output
    assert told.output
    assert json.loads(run(*words, "--json").output) == example


def commands(group, path="wefted"):
    for name in [n for n in group.commands if n not in ELSEWHERE]:
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif any("--json" in parameter.opts for parameter in command.params):
            yield f"{path} {name}"


@pytest.mark.parametrize("command", list(commands(root)))
def test_every_command_is_documented(command):
    words = " ".join(TEXT.split())
    assert re.search(rf"\b{command}\b[^`]*--json`", words) or f"`{command}`" in words
